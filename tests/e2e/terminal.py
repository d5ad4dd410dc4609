"""Typing commands as a user does: in a terminal with the environment activated, and in a second one meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import eventually

WAIT_S = 60.0


def typed(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Type something and wait for its end."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S * 2,
    )


def _environment() -> dict[str, str]:
    """A terminal with the environment activated, and nothing of this test's settings."""
    others = {name: v for name, v in os.environ.items() if not name.startswith(("SAGA_", "PYTHON"))}
    return others | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def terminal(
    folder: Path, command: str, output: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Something that runs while something else is typed elsewhere; ended by Ctrl-C. What it says goes to a file."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=_environment() | dict(environment or {}),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: "everything is up" in output.read_text(), WAIT_S, what=command)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)
