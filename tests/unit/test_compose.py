"""docker-compose.yml against the code: every command and every variable in it is one that exists."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from sqlalchemy import make_url
from typer.testing import CliRunner

from orchestrator import wiring
from orchestrator.cli.app import app
from orchestrator.console.access import digest
from orchestrator.settings import CONFIG_VARIABLE, ConsoleSettings, Settings, load
from orchestrator.transport.brokers.address import parse_broker
from workers import booking_server
from workers.databases import database_url

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SERVERS = {"postgres", "redis"}


def _commands(program: str) -> list[list[str]]:
    return [service["command"] for service in OURS.values() if service["command"][0] == program]


def _environment() -> dict[str, str]:
    (environment,) = {tuple(sorted(service["environment"].items())) for service in OURS.values()}
    return dict(environment)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as the containers see them."""
    for name, value in _environment().items():
        monkeypatch.setenv(name, value.replace("/app/", f"{ROOT}/"))
    return load()


def _typed() -> list[list[str]]:
    """The commands that the comment at the top tells to type, as the container sees them."""
    lines = re.findall(r"#   docker compose exec coordinator (.+)", FILE.read_text())
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("command", [*_commands("saga"), *_typed()], ids=" ".join)
def test_every_saga_command_is_one(command: list[str]) -> None:
    answer = CliRunner().invoke(app, [*command[1:], "--help"])  # parses everything, runs nothing
    assert answer.exit_code == 0, answer.output
    assert command[1] in answer.output


def test_a_command_that_is_none_would_be_seen() -> None:
    for wrong in (["db", "upgrad"], ["worker", "--queue", "x"], ["coordinators"]):
        assert CliRunner().invoke(app, [*wrong, "--help"]).exit_code == 2


def test_every_python_command_is_a_module_of_ours() -> None:
    for command in _commands("python"):
        assert command[1] == "-m"
        assert callable(importlib.import_module(command[2]).main)


def test_every_variable_is_read_by_somebody(settings: Settings) -> None:
    read = {f"SAGA_{name.upper()}" for name in Settings.model_fields} | {CONFIG_VARIABLE}
    read |= {f"SAGA_CONSOLE__{name.upper()}" for name in ConsoleSettings.model_fields}
    read |= {
        f"{name.upper()}_DATABASE_URL" for name in ("inventory", "mail", "payments", "shipping")
    }
    assert set(_environment()) <= read | {"BOOKING_URL"}
    assert settings.journal_url == _environment()["SAGA_JOURNAL_URL"]
    assert database_url("mail") == _environment()["MAIL_DATABASE_URL"]


def test_every_url_is_of_a_server_in_the_file(settings: Settings) -> None:
    created = re.findall(r"CREATE DATABASE (\w+);", COMPOSE["configs"]["databases"]["content"])
    owner = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    for name, value in _environment().items():
        if "postgresql" in value:
            url = make_url(value)
            assert (url.host, url.username) == ("postgres", owner), name
            assert url.database in {*created, owner}, name
    assert settings.broker_url == "redis://redis:6379/0"
    assert parse_broker(settings.broker_url).kind == "redis"
    assert _environment()["BOOKING_URL"] == f"http://bookings:{booking_server.PORT}"


def test_redis_loses_nothing() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_two_coordinators_share_the_work() -> None:
    (coordinator,) = [one for one in OURS.values() if one["command"] == ["saga", "coordinator"]]
    assert coordinator["deploy"]["replicas"] == 2


def test_the_console_lets_in_who_has_the_token_that_the_file_tells(settings: Settings) -> None:
    (console,) = [one for one in OURS.values() if one["command"][:2] == ["saga", "console"]]
    assert console["ports"] == [f"127.0.0.1:{settings.console.port}:{settings.console.port}"]
    assert f"127.0.0.1:{settings.console.port}/health" in console["healthcheck"]["test"][-1]
    wiring.console_options(settings).check()
    told = re.search(r"the token to sign in with is (\S+)\.\n", FILE.read_text())
    assert told is not None
    [token] = settings.console.tokens
    assert (token.sha256, token.role) == (digest(told[1]), "admin")
    dockerfile = (ROOT / COMPOSE["x-role"]["build"]["dockerfile"]).read_text()
    assert "[console,postgres]" in dockerfile


def test_every_queue_has_a_worker(settings: Settings) -> None:
    served = [
        command[command.index("--queues") + 1]
        for command in _commands("saga")
        if "worker" in command
    ]
    assert sorted(served) == wiring.queues(wiring.definitions(settings.apps).services)


def test_nothing_starts_before_what_it_needs() -> None:
    for name, service in OURS.items():
        command = service["command"]
        needs = service.get("depends_on", {})
        assert set(needs) <= set(SERVICES), name
        if command[:2] in (["saga", "coordinator"], ["saga", "worker"]):
            assert needs["upgrade"] == {"condition": "service_completed_successfully"}, name
            assert needs["prepare"] == {"condition": "service_completed_successfully"}, name
    for server in SERVERS:
        assert "healthcheck" in SERVICES[server]


def test_the_image_has_everything_it_runs() -> None:
    dockerfile = (ROOT / COMPOSE["x-role"]["build"]["dockerfile"]).read_text()
    copied = set(re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert {"orchestrator", "sagas", "workers", "config", "requirements.lock"} <= names
    ignored = (
        (ROOT / f"{COMPOSE['x-role']['build']['dockerfile']}.dockerignore").read_text().splitlines()
    )
    assert {f"!{name}" for name in names} <= set(ignored)
    assert all((ROOT / name).exists() for name in names)
