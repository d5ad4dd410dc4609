"""`saga worker` and `saga dev`: what their options change in the processes they start."""

from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from orchestrator import wiring
from orchestrator.cli import stack
from orchestrator.cli.app import app
from orchestrator.cli.serving import commands_shown

MODULE = """
from orchestrator import Service, saga
one = Service("one")
two = Service("two")
@one.participant
def act(n: int) -> int:
    return n
@act.undo
def unact(n: int) -> None: ...
@two.participant
def other(n: int) -> int:
    return n
@saga()
def {name}(n: int) -> int:
    return other(act(n))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own module, under a name of its own: modules are imported once a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    name = f"app_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(name=f"saga_{name}"))
    return name


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of the Celery workers that would have been started."""
    calls: list[list[str]] = []

    class Worker:
        def worker_main(self, arguments: list[str]) -> None:
            calls.append(arguments)

    monkeypatch.setattr(wiring, "worker_app", lambda settings: Worker())
    return calls


def test_worker_serves_all_queues_or_those_named(module: str, started: list[list[str]]) -> None:
    CliRunner().invoke(app, ["worker", "--app", module])
    CliRunner().invoke(app, ["worker", "--app", module, "--queues", "saga.two", "--processes", "3"])
    assert "--queues=saga.one,saga.two" in started[0]
    assert not any(argument.startswith("--concurrency") for argument in started[0])
    assert "--queues=saga.two" in started[1]
    assert "--concurrency=3" in started[1]


def test_a_queue_that_no_participant_is_on_is_refused(
    module: str, started: list[list[str]]
) -> None:
    result = CliRunner().invoke(app, ["worker", "--app", module, "--queues", "odd"])
    assert result.exit_code == 2
    assert "odd" in result.output
    assert started == []


def test_dev_hands_its_options_to_the_stack_and_says_where_things_are(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Fake(ModuleType):
        def __init__(self, folder: Path, settings: Any, **options: Any) -> None:
            seen.update(options, folder=folder)
            self.folder, self.settings = folder, settings
            self.config_file = folder / "saga.toml"

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            seen["stopped"] = True

        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(stack, "Stack", Fake)
    where = str(tmp_path / "own")
    args = ["dev", "--app", module, "--folder", where, "--processes", "3"]
    args += ["--also", "web=python -m http.server '8 0'"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    assert (str(seen["folder"]), seen["worker_processes"], seen["stopped"]) == (where, 3, True)
    assert seen["also"] == {"web": ["python", "-m", "http.server", "8 0"]}
    assert f"saga_{module}" in result.output
    assert "saga.toml" in result.output


@pytest.mark.parametrize("wrong", ["web", "web=", "=true", "a/b=true", "web='"])
def test_a_further_command_needs_a_name_and_words(module: str, wrong: str) -> None:
    result = CliRunner().invoke(app, ["dev", "--app", module, "--also", wrong])
    assert result.exit_code == 2
    assert "--also" in result.output


def test_commands_to_copy_stand_beside_their_remarks_and_are_never_broken() -> None:
    todo = [("saga list", "the runs"), ("saga launch order '{...}'", "a run")]
    wide = [line.plain for line in commands_shown(todo, 80)]
    assert wide == [
        "  saga list                  the runs",
        "  saga launch order '{...}'  a run",
    ]
    narrow = [line.plain for line in commands_shown(todo, 36)]
    assert narrow[:2] == ["  # the runs", "  saga list"]
    assert narrow[3] == "  saga launch order '{...}'"
