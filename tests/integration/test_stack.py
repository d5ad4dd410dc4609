"""The stack with its real processes: up, working, mended when one is killed, and gone when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from orchestrator import wiring
from orchestrator.cli.stack import Stack
from orchestrator.client import Client
from orchestrator.errors import StackError
from orchestrator.settings import Settings
from tests.waiting import eventually

WAIT_S = 60.0
GREETING = """
from orchestrator import Service, saga

friends = Service("friends", timeout=5)

@friends.participant
def greet(name: str) -> str:
    return f"hello {name}"

@saga()
def greeting(name: str) -> str:
    return greet.pivot(name)
"""
OWNER = """
import signal
from pathlib import Path
from orchestrator.cli.stack import Stack
from orchestrator.settings import Settings

stack = Stack(Path("stack"), Settings(lease_s=2), ["greetings"])
with stack:
    print(*(child.pid for child in stack.children), flush=True)
    {end}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with a saga of its own, as the working folder."""
    (tmp_path / "greetings.py").write_text(GREETING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    for name in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    sys.modules.pop("greetings", None)


def _client(stack: Stack) -> Client:
    sagas = wiring.definitions(["greetings"]).sagas
    return wiring.client(stack.settings, stack.journal, sagas)


def _greet(stack: Stack, name: str) -> str:
    run = _client(stack).launch_named("greeting", {"name": name})
    return str(run.result(WAIT_S))


@pytest.mark.timeout(180)
def test_killed_processes_are_started_again_and_the_work_goes_on(project: Path) -> None:
    said: list[str] = []
    settings = Settings(lease_s=2)
    with Stack(project / "stack", settings, ["greetings"], 1, say=said.append) as stack:
        assert _greet(stack, "ada") == "hello ada"
        for child in stack.children:
            before = child.pid
            os.killpg(before, signal.SIGKILL)
            eventually(lambda c=child, b=before: c.running and c.pid != b, WAIT_S)  # type: ignore[misc]
            assert f"{child.name} was killed (SIGKILL); it is started again in" in said[-1]
            assert _greet(stack, child.name) == f"hello {child.name}"
        pids = [child.pid for child in stack.children]
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert len(said) == 3


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("end", "how"),
    [("signal.pause()", signal.SIGKILL), ("stack.wait()", signal.SIGTERM), ("stack.wait()", signal.SIGINT)],
)  # fmt: skip
def test_nothing_outlives_its_owner(project: Path, end: str, how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER.replace("{end}", end)],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        family = [psutil.Process(pid) for pid in pids]
        family += [below for process in family for below in process.children(recursive=True)]
        owner.send_signal(how)
        owner.wait(WAIT_S)
    eventually(lambda: not any(_alive(process) for process in family), WAIT_S)


def test_what_does_not_come_up_is_named_with_the_end_of_its_log(project: Path) -> None:
    (project / "broken.py").write_text("raise RuntimeError('no such luck')")
    stack = Stack(project / "stack", Settings(), ["broken"])
    with pytest.raises(StackError, match=r"(?s)worker ended with exit code 1.*no such luck"):
        stack.start()
    assert not any(child.running for child in stack.children)


def test_settings_are_kept_where_other_terminals_find_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    keys = (SecretStr('16 bytes, "or" more'), SecretStr("ключ-из-букв"))
    given = Settings(broker_url=redis_url, signing_keys=keys, window=7)
    with Stack(project / "stack", given, ["greetings"], 1) as stack:
        assert [child.name for child in stack.children] == ["worker", "coordinator"]
        assert stack.config_file.stat().st_mode & 0o077 == 0
        monkeypatch.setenv("SAGA_CONFIG", str(stack.config_file))
        assert Settings() == stack.settings
        assert stack.settings.broker_url == redis_url
        assert _greet(stack, "signed") == "hello signed"


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
