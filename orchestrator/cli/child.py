"""One process of a stack: in a process group of its own, its output in a log, started again when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import StackError

LOG_TAIL_LINES = 15
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0
"""After this long a process counts as healthy, and its next end as its first."""


class Child:
    """A command that is kept running."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.starts = 0
        """How often it was started."""
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    @property
    def pid(self) -> int:
        """The process, which is also its group. Raises ``RuntimeError`` before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C in the terminal is the stack's to handle.

        Raises ``StackError`` if there is no such program.
        """
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if self._env is None else dict(self._env),
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{self.name} can't be started: {error}") from error
        self._started_at = time.monotonic()
        self.starts += 1

    def how_it_ended(self) -> str:
        """In words: killed by which signal, or the exit code."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "still runs"
        if code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        return f"ended with exit code {code}"

    def pause_s(self) -> float:
        """Seconds to wait before it is started again: more each time, unless it had run for long."""
        if time.monotonic() - self._started_at > STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def stop(self, grace_s: float) -> bool:
        """Ask it to end and wait; whatever of its group is left after ``grace_s`` seconds is killed.

        Says whether it ended by itself.
        """
        if self._process is None:
            return True
        by_itself = True
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                by_itself = False
        self.kill()
        return by_itself

    def kill(self) -> None:
        """End what there is of its group at once: a dead parent's children too."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])
