"""One supervised process: how it ended, how long to wait, and that nothing of its group is left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.cli.child import FIRST_PAUSE_S, LONGEST_PAUSE_S, Child
from orchestrator.errors import StackError
from tests.waiting import eventually

FAMILY = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"


def _child(tmp_path: Path, *command: str) -> Child:
    return Child("it", command, tmp_path / "it.log")


@pytest.mark.parametrize(
    ("command", "how"), [("exit 3", "exit code 3"), ("kill -9 $$", "was killed (SIGKILL)")]
)
def test_how_it_ended_is_said(tmp_path: Path, command: str, how: str) -> None:
    child = _child(tmp_path, "sh", "-c", command)
    child.start()
    eventually(lambda: not child.running)
    assert how in child.how_it_ended()


def test_pauses_grow_up_to_a_cap(tmp_path: Path) -> None:
    child = _child(tmp_path, "true")
    child.start()
    pauses = [child.pause_s() for _ in range(10)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    child.kill()


def test_its_output_is_in_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "sh", "-c", "echo out; echo err >&2")
    child.start()
    eventually(lambda: not child.running)
    assert child.tail() == "out\nerr"


def test_stopping_it_leaves_nothing_of_its_group(tmp_path: Path) -> None:
    child = _child(tmp_path, sys.executable, "-c", FAMILY)
    child.start()
    eventually(lambda: child.tail() == "up")
    (below,) = psutil.Process(child.pid).children()
    assert child.stop(grace_s=5)
    eventually(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE)


def test_what_ignores_the_request_is_killed(tmp_path: Path) -> None:
    child = _child(
        tmp_path, "sh", "-c", "trap '' TERM; echo up; while :; do read x </dev/null; done"
    )
    child.start()
    eventually(lambda: child.tail() == "up")
    assert not child.stop(grace_s=0.2)
    assert not child.running
    assert child.how_it_ended() == "was killed (SIGKILL)"


def test_a_child_that_was_killed_can_start_again(tmp_path: Path) -> None:
    child = _child(tmp_path, "sleep", "60")
    child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not child.running)
    child.start()
    assert child.pid != first
    assert child.starts == 2
    child.kill()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"it can't be started.*no-such-program"):
        _child(tmp_path, "no-such-program").start()
