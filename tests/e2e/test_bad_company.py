"""Servers that are away, foreign and forged messages: what runs says so and goes on, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from orchestrator import wiring
from orchestrator.client import Run
from orchestrator.errors import JournalUnavailableError, OutcomeUnknownError
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.messages import Outcome
from orchestrator.transport.brokers.opening import worker_link
from orchestrator.transport.celery_app import EXECUTE_TASK
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.messages import Answer, Work
from tests.e2e import faulty
from tests.e2e.installation import KEY, Installation, ended
from tests.servers import Postgres, Valkey
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

STRANGER = b"a key that nobody here knows about"
QUEUES = ("saga.bank", "saga.outside")


@pytest.fixture(scope="module")
def broker() -> Iterator[Valkey]:
    server = Valkey.launch()
    yield server
    server.close()


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    server = Postgres.launch()
    yield server
    server.close()


@pytest.fixture(scope="module")
def running(
    broker: Valkey, database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The journal on PostgreSQL; a coordinator and a worker run."""
    folder = tmp_path_factory.mktemp("installation")
    with Installation(folder, broker.url, database.url) as it:
        it.coordinator()
        it.worker()
        yield it


def launch(running: Installation, order: str, *trouble: str) -> Run[Any]:
    return running.client.launch_named("hasty", {"order": order, "trouble": list(trouble)})


def test_what_cannot_be_trusted_changes_nothing_and_stops_nobody(running: Installation) -> None:
    """Sent to both ends while a run waits: work that was never ordered, answers that nobody gave."""
    run = launch(running, "trusted", "withdraw hangs")
    eventually((running.folder / "trusted hanging").exists, 60)
    work = Work(
        run=run.id, shard=run.summary().shard, epoch=1, step="withdraw", kind="undo", attempt=1,
        participant="bank.withdraw", args={"order": "trusted", "trouble": []}, timeout_s=30,
    )  # fmt: skip
    _send_work(running, work)
    _send_answers(running, work, "refused")
    faulty.mark("trusted", "go", running.folder)
    assert ended(run) == "completed"
    assert ended(launch(running, "afterwards")) == "completed"
    assert running.diary(run) == ["withdraw", "book", "settle"]
    assert running.effects(run) == (1, -10, 1)
    for reason in ("malformed", "forged", "unsigned", "oversized"):
        assert f"dropped answers ({reason}" in running.log("coordinator")
        assert f"dropped work ({reason}" in running.log("worker")


def test_a_broker_that_goes_away_in_the_middle(running: Installation, broker: Valkey) -> None:
    before = launch(running, "broker-before", "withdraw hangs")
    eventually((running.folder / "broker-before hanging").exists, 60)
    broker.kill()
    during = launch(running, "broker-during")  # durable all the same
    eventually(lambda: "waiting for a server: Redis" in running.log("coordinator"), 60)
    broker.start()
    faulty.mark("broker-before", "go", running.folder)
    for run in (before, during):
        assert ended(run) == "completed"
        assert running.effects(run) == (1, -10, 1)


def test_a_journal_that_goes_away_in_the_middle(running: Installation, database: Postgres) -> None:
    before = launch(running, "journal-before", "withdraw hangs")
    eventually((running.folder / "journal-before hanging").exists, 60)
    impatient = SqlJournal(running.settings.journal_url, retry_s=0.1)
    client = wiring.client(running.settings, impatient, {"hasty": faulty.hasty})
    given = {"order": "journal-during", "trouble": []}
    assert client.get(before.id).run_id == before.id
    database.kill()
    with pytest.raises((JournalUnavailableError, OutcomeUnknownError)) as error:
        client.launch_named("hasty", given, key="during")
    assert "postgres:***" in str(error.value) or "127.0.0.1" in str(error.value)
    faulty.mark("journal-before", "go", running.folder)  # its answer comes while nobody can write
    eventually(lambda: "waiting for a server: " in running.log("coordinator"), 60)
    database.restart()
    during = client.launch_named("hasty", given, key="during")
    for run in (before, during):
        assert ended(run) == "completed"
        assert running.effects(run) == (1, -10, 1)
    impatient.close()
    assert list(running.complaints()) == []


def _send_work(running: Installation, work: Work) -> None:
    """Everything that isn't work of ours, to both queues."""
    good = Envelopes([KEY.encode()]).seal_work([work])
    app = wiring.celery_app(running.settings)
    with redis.Redis.from_url(running.settings.broker_url) as client:
        for queue in QUEUES:
            client.lpush(queue, "no message of Celery's")
    for queue in QUEUES:
        for arguments in (
            ["no envelope"],
            [_edited(good, "kind", "do")],
            [Envelopes().seal_work([work])],
            [Envelopes([STRANGER]).seal_work([work])],
            ["x" * 5_000_000],
            [None],
            [],
        ):
            app.send_task(EXECUTE_TASK, args=arguments, queue=queue)


def _send_answers(running: Installation, work: Work, outcome: Outcome) -> None:
    """Everything that isn't an answer, to the run's shard; every one of them would be believed if it were."""
    answer = Answer(
        run=work.run, shard=work.shard, epoch=work.epoch, step=work.step, kind="do", attempt=1,
        outcome=outcome,
    )  # fmt: skip
    good = Envelopes([KEY.encode()]).seal_answers([answer])
    link = worker_link(running.settings.broker_url, running.settings.namespace)
    link.send(
        [
            (work.shard, bad)
            for bad in (
                "",
                "no envelope",
                _edited(good, "outcome", "failed"),
                Envelopes().seal_answers([answer]),
                Envelopes([STRANGER]).seal_answers([answer]),
                "x" * 5_000_000,
            )
        ]
    )
    link.close()


def _edited(sealed: str, field: str, value: str) -> str:
    """A sealed message of ours with one field changed."""
    envelope = json.loads(sealed)
    envelope["b"][0][field] = value
    return json.dumps(envelope)
