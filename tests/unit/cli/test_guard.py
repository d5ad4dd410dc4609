"""The guard: which process groups it is left with, and that it ends them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator.cli import guard

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as started:
        yield started
        started.kill()


def test_a_group_that_is_taken_back_is_left_alone() -> None:
    assert guard.groups_left(["+10\n", "+11\n", "-10\n", "+12\n"]) == {11, 12}


def test_a_group_is_ended(process: subprocess.Popen[bytes]) -> None:
    guard.end_groups({process.pid}, grace_s=0.2)
    assert process.wait(5) < 0


def test_a_group_that_ignores_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True
    ) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        guard.end_groups({stubborn.pid}, grace_s=0.2)
        assert stubborn.wait(5) == -9


def test_a_group_that_is_gone_costs_no_time() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as ended:
        ended.wait()
    began = time.monotonic()
    guard.end_groups({ended.pid})
    assert time.monotonic() - began < 1


def test_the_script_acts_when_its_pipe_ends(process: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True
    ) as script:
        assert script.stdin is not None
        script.stdin.write(f"+{process.pid}\n")
        script.stdin.close()
        assert process.wait(10) < 0
        # nobody reaps the process for the guard here but the line above
        assert script.wait(10) == 0
