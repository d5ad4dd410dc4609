"""The processes under measurement: they end with this one, and their CPU time can be read."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_STOP_TIMEOUT_S = 20.0
_LOG_TAIL_LINES = 30
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """A Python process of ours, its output in a log."""

    def __init__(self, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **env},
                text=True,
                bufsize=1,
                # Two system calls, no lock taken: safe between fork and exec.
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Wait for a line of its standard output. Raises ``RuntimeError`` with its log if it ends instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process under measurement ended:\n{self.tail()}")
        return line.rstrip("\n")

    def cpu_s(self) -> float:
        """CPU seconds used so far by it and its living children, user and system."""
        parent = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def memory_bytes(self) -> int:
        """What the process alone holds in memory (USS)."""
        return int(psutil.Process(self.pid).memory_full_info().uss)

    def stop(self) -> None:
        """End it the orderly way; kill it if it doesn't go."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """End it and its children at once."""
        parent = psutil.Process(self.pid)
        for process in (parent, *parent.children(recursive=True)):
            process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close()

    def check(self) -> None:
        """Raise ``RuntimeError`` with the end of its log if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a process under measurement ended:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def _die_with_parent(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the line above
        os._exit(1)
