"""`saga` as a process, on real servers: what it refuses, how it stops, what the doctor sees."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from orchestrator.journal.sql import SqlJournal
from tests.servers import Valkey
from tests.tables import make_tables
from tests.waiting import eventually

SAGA = [sys.executable, "-m", "orchestrator.cli"]
ROOT = Path(__file__).parents[2]


def environment(tmp_path: Path, journal_url: str, broker_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "SAGA_JOURNAL_URL": journal_url,
        "SAGA_BROKER_URL": broker_url,
        "SAGA_LEASE_S": "60",
    }


def saga(env: dict[str, str], cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAGA, *args], env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    make_tables(url, 2)
    return url


def test_a_coordinator_refuses_an_evicting_broker(
    tmp_path: Path, journal_url: str, own_redis: Valkey
) -> None:
    with own_redis.database() as url:
        client = redis.Redis.from_url(url)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.close()
        env = environment(tmp_path, journal_url, url)
        refused = saga(env, tmp_path, "coordinator")
        examined = saga(env, tmp_path, "doctor", "--json")
    assert refused.returncode == 4
    assert "noeviction" in refused.stderr
    assert "Traceback" not in refused.stderr
    broker = next(f for f in json.loads(examined.stdout)["findings"] if f["check"] == "broker")
    assert broker["level"] == "problem"


def test_a_coordinator_without_a_schema_or_broker_says_what_to_do(
    tmp_path: Path, journal_url: str
) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    bare = saga(
        environment(tmp_path, f"sqlite:///{tmp_path / 'bare.db'}", nowhere), tmp_path, "coordinator"
    )
    assert (bare.returncode, "saga db upgrade" in bare.stderr) == (4, True)
    away = saga(environment(tmp_path, journal_url, nowhere), tmp_path, "coordinator")
    assert away.returncode == 5
    assert "Traceback" not in bare.stderr + away.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_hands_the_shards_over_at_once(
    tmp_path: Path, journal_url: str, redis_url: str, number: signal.Signals
) -> None:
    journal = SqlJournal(journal_url)
    env = environment(tmp_path, journal_url, redis_url)
    with subprocess.Popen([*SAGA, "coordinator"], env=env, cwd=tmp_path) as process:
        try:
            eventually(lambda: len(journal.leases()) == 2, 30, what="both shards held")
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert journal.leases() == []  # the lease of 60 s would still hold them
    journal.close()


def test_the_doctor_on_postgresql_and_valkey(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    make_tables(postgres_url, 2)
    found = saga(environment(tmp_path, postgres_url, redis_url), tmp_path, "doctor", "--json")
    levels = {f["check"]: (f["level"], f["what"]) for f in json.loads(found.stdout)["findings"]}
    assert levels["clock"][0] == "ok"
    assert "of the database's" in levels["clock"][1]
    assert levels["coordinators"] == ("problem", "none is running")
    assert found.returncode == 1


def test_a_command_does_not_hang_on_a_broker_that_is_away(tmp_path: Path, journal_url: str) -> None:
    env = environment(tmp_path, journal_url, "redis://127.0.0.1:1/0")
    began = time.monotonic()
    assert saga(env, tmp_path, "list", "--json").stdout.strip().startswith("{")
    assert saga(env, tmp_path, "show", "nothing").returncode == 3
    assert time.monotonic() - began < 30
