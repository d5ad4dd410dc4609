"""A stack of processes exports the whole catalog, its logs say which run they are about, a run is one trace through all
of them; no secret in any of it, nor left at the broker.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.testclient import TestClient

from orchestrator import wiring
from orchestrator.cli.stack import Stack
from orchestrator.client import Client
from orchestrator.console.access import digest
from orchestrator.errors import Compensated
from orchestrator.settings import ConsoleSettings, Settings, TokenSettings
from orchestrator.telemetry.catalog import METRICS, Place
from tests.integration.test_cli_processes import ROOT, SAGA, environment
from tests.servers import Valkey
from tests.tables import make_tables
from tests.waiting import eventually

WAIT_S = 120.0
SECRET = "canary-4711-in-an-argument"
PASSWORD = "canary-4712-in-a-url"
TOKEN = "canary-4713-to-look"
KEY = "canary-4714-signs-every-message-of-this-stack"
APP = """
import logging
from typing import Annotated
from opentelemetry import trace
from orchestrator import Redacted, Retry, Service, saga

Secret = Annotated[str, Redacted]

log = logging.getLogger("clinic")
clinic = Service("clinic", timeout=5)

@clinic.participant(retry=Retry(attempts=2, initial=0.01))
def admit(patient: str, diagnosis: Secret) -> Secret:
    with trace.get_tracer("the clinic's own").start_as_current_span("take the temperature"):
        log.warning("admitting")
    return diagnosis

@admit.undo
def discharge(patient: str) -> None:
    log.warning("discharging")

@clinic.participant(retry=Retry(attempts=2, initial=0.01))
def insure(diagnosis: Secret) -> Secret:
    raise ValueError(f"not insured: {diagnosis}")

@insure.undo
def cancel(diagnosis: Secret) -> None:
    pass

@saga(version=1)
def stay(patient: str, diagnosis: Secret) -> Secret:
    return insure(admit(patient, diagnosis))
"""
SDK = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.path.join(os.environ["SPANS"], f"{os.getpid()}.jsonl"), "a") as file:
            file.writelines(span.to_json(indent=None) + "\\n" for span in spans)
        return SpanExportResult.SUCCESS

if "SPANS" in os.environ:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ToFile()))
    trace.set_tracer_provider(provider)
"""
"""What ``opentelemetry-instrument`` would do in each process of the stack."""


class Served:
    """The stack, and where its processes serve metrics."""

    def __init__(self, folder: Path) -> None:
        self.ports = {place: _free_port() for place in ("coordinator", "worker")}
        env = {
            "SAGA_LOG_FORMAT": "json",
            "SAGA_LOG_LEVEL": "INFO",
            "SPANS": str(folder),
            **{f"SAGA_METRICS__{place.upper()}_PORT": str(p) for place, p in self.ports.items()},
        }
        settings = Settings(lease_s=2, signing_keys=(SecretStr(KEY),))
        self.stack = Stack(folder / "stack", settings, ["clinics"], 2, env=env)

    def client(self) -> Client:
        """Of the stack."""
        sagas = wiring.definitions(["clinics"]).sagas
        return wiring.client(self.stack.settings, self.stack.journal, sagas)

    def text(self, place: str) -> str:
        """What a process exports."""
        return httpx.get(f"http://127.0.0.1:{self.ports[place]}/metrics").text

    def log(self, name: str) -> list[dict[str, Any]]:
        """A process's log."""
        lines = (self.stack.folder / "logs" / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def spans(self) -> list[dict[str, Any]]:
        """What the stack's processes have traced, each with the process that did."""
        return [
            json.loads(line) | {"process": path.stem}
            for path in self.stack.folder.parent.glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]

    def broker(self) -> str:
        """Everything that the broker keeps."""
        with redis.Redis.from_url(self.stack.settings.broker_url, decode_responses=True) as asked:
            reads: dict[str, Callable[[str], Any]] = {
                "string": asked.get,
                "list": lambda key: asked.lrange(key, 0, -1),
                "set": asked.smembers,
                "zset": lambda key: asked.zrange(key, 0, -1, withscores=True),
                "hash": asked.hgetall,
                "stream": asked.xrange,
            }
            kept = {key: reads[str(asked.type(key))](key) for key in asked.scan_iter()}
        return str(kept)

    def console(self) -> TestClient:
        """The console, for somebody who sees values, but not those that are marked."""
        token = TokenSettings(name="v", sha256=digest(TOKEN), role="operator")
        given = self.stack.settings.model_copy(update={"console": ConsoleSettings(tokens=(token,))})
        app = wiring.console_app(given, self.stack.journal, {}, poke=lambda _: None)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return TestClient(app, base_url="http://localhost", headers=headers)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with a module of participants."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "clinics.py").write_text(APP)
    return folder


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    (tmp_path / "clinics.py").write_text(APP)
    (tmp_path / "sitecustomize.py").write_text(SDK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    for name in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(name)
    made = Served(tmp_path)
    with made.stack:
        yield made
    sys.modules.pop("clinics", None)


def _exports_its_part(text: str, place: Place) -> None:
    wanted = {metric.name: metric for metric in METRICS if metric.place == place}
    types: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        types[name] = family.type
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(wanted[name].labels)
    assert types == {name: metric.kind for name, metric in wanted.items()}


@pytest.mark.timeout(180)
def test_a_stack_tells_everything_but_its_secrets(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as traced:
        traced.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
        with trace.get_tracer("a program").start_as_current_span("a request") as request:
            run = served.client().launch_named("stay", {"patient": "ann", "diagnosis": SECRET})
    with pytest.raises(Compensated):
        run.result(WAIT_S)
    texts = {place: served.text(place) for place in served.ports}
    _exports_its_part(texts["coordinator"], "coordinator")
    _exports_its_part(texts["worker"], "worker")
    for line in (
        'saga_worker_commands_total{kind="do",outcome="failed",participant="insure",service="clinic"} 2.0',
        'saga_worker_commands_total{kind="undo",outcome="succeeded",participant="admit",service="clinic"} 1.0',
        'saga_worker_command_seconds_count{kind="do",participant="insure",service="clinic"} 2.0',
        'saga_worker_dropped_messages_total{reason="forged"} 0.0',
    ):
        assert line in texts["worker"].splitlines()
    with served.console() as console:
        page = console.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        assert 'saga_journal_runs{saga="stay",status="compensated"} 1.0' in page.text
        _exports_its_part(page.text, "console")
        stranger = console.get("/metrics", headers={"Authorization": "Bearer nobody's"})
        assert stranger.status_code == 401
    _every_record_says_what_it_is_about(served, run.id)
    _a_run_is_one_trace(served, request.get_span_context().trace_id)
    _no_secret_is_told(served, run.id, [*texts.values(), page.text])


def _every_record_says_what_it_is_about(served: Served, run_id: str) -> None:
    said = [line for line in served.log("worker") if line["logger"] == "clinic"]
    assert [(line["message"], line["step"], line["kind"]) for line in said] == [
        ("admitting", "admit", "do"),
        ("discharging", "admit", "undo"),
    ]
    for line in said:
        assert (line["run"], line["saga"], line["attempt"]) == (run_id, "stay", 1)
        assert line["participant"] == "clinic.admit"
    others = [line for line in served.log("coordinator") if "run" not in line]
    assert any("writing shard" in line["message"] for line in others)


def _a_run_is_one_trace(served: Served, trace_id: int) -> None:
    eventually(lambda: "run stay" in {span["name"] for span in served.spans()})
    spans = served.spans()
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{trace_id:032x}"}
    named = {span["name"]: span for span in spans}
    own, worked, commanded = (
        named[name]
        for name in ("take the temperature", "do clinic.admit in its worker", "do clinic.admit")
    )
    assert own["parent_id"] == worked["context"]["span_id"]
    assert worked["parent_id"] == commanded["context"]["span_id"]
    assert own["process"] == worked["process"] != commanded["process"]
    assert {span["name"] for span in spans if span["process"] == commanded["process"]} == {
        *("run stay", "do clinic.admit", "do clinic.insure", "undo clinic.admit"),
        "undo clinic.insure",
    }


def _no_secret_is_told(served: Served, run_id: str, texts: list[str]) -> None:
    with served.console() as console:
        for path in ("", "/events"):
            answer = console.get(f"/api/v1/runs/{run_id}{path}")
            assert answer.status_code == 200
            texts.append(answer.text)
        for path in ("/", "/runs", f"/runs/{run_id}"):
            page = console.get(path)
            assert page.status_code == 200
            texts.append(page.text)
    texts += [path.read_text() for path in (served.stack.folder / "logs").glob("*.log")]
    texts += [path.read_text() for path in served.stack.folder.parent.glob("*.jsonl")]
    eventually(lambda: SECRET not in served.broker())  # read, acknowledged and removed
    kept = served.broker()
    assert "saga:replies:" in kept
    texts.append(kept)
    assert len(texts) > 10
    for secret in (SECRET, TOKEN, KEY):
        assert not any(secret in text for text in texts)
    history = served.stack.journal.history(run_id)
    assert any(SECRET in str(record.event) for record in history)  # where it has to be


def _heard(folder: Path, env: dict[str, str], command: str, sign: str) -> str:
    """What a process says until it says ``sign``, or ends."""
    log = folder / f"{command}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*SAGA, command], env=env, cwd=folder, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            eventually(lambda: process.poll() is not None or sign in log.read_text(), WAIT_S)
        finally:
            process.kill()
            process.wait()
    assert sign in log.read_text()
    return log.read_text()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("command", "sign"), [("coordinator", "refused"), ("worker", "Cannot")])
def test_no_password_of_a_server_that_is_away_is_told(
    command: str, sign: str, tmp_path: Path, app: Path
) -> None:
    broker = f"redis://:{PASSWORD}@127.0.0.1:{_free_port()}/0"
    journal = f"postgresql+psycopg://saga:{PASSWORD}@127.0.0.1:{_free_port()}/saga"
    env = {**environment(tmp_path, journal, broker), "SAGA_LOG_LEVEL": "DEBUG"}
    env |= {"SAGA_APPS": "clinics", "PYTHONPATH": f"{app}:{ROOT}"}
    assert PASSWORD not in _heard(tmp_path, env, command, sign)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("command", "sign"), [("coordinator", "writing shard"), ("worker", "ready.")]
)
def test_no_password_of_a_broker_is_told_by_who_uses_it(
    command: str, sign: str, tmp_path: Path, app: Path, own_redis: Valkey
) -> None:
    with own_redis.database() as url:
        admin = redis.Redis.from_url(url)
        admin.config_set("requirepass", PASSWORD)
        journal = f"sqlite:///{tmp_path / 'journal.db'}"
        make_tables(journal, 2)
        env = environment(tmp_path, journal, url.replace("://", f"://:{PASSWORD}@"))
        env |= {"SAGA_APPS": "clinics", "PYTHONPATH": f"{app}:{ROOT}"}
        assert PASSWORD not in _heard(tmp_path, env, command, sign)
        admin.config_set("requirepass", "")
        admin.close()
