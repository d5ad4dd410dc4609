"""One server process that a test may stop, kill, freeze and start again on the same port and data.

Every server dies with the process that started it, however that ends: the kernel sends it SIGKILL
(PR_SET_PDEATHSIG). The kernel does so when the starting *thread* ends, so one thread, which lives as
long as the process, starts them all: a test may restart a server from any thread.
"""

import contextlib
import ctypes
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psutil

from tests.waiting import eventually

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 30
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-spawner")


class ServerMissingError(Exception):
    """The server's program is not installed on this machine."""


class ServerFailedError(Exception):
    """The server's program is there but did not come up."""


class Server(ABC):
    """A server on a fixed loopback port with data that survives `kill()` and `restart()`."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        # Short, because a UNIX socket's path must stay below 108 bytes; open to other users,
        # because PostgreSQL refuses to run as root and is run as another.
        self.folder = Path(tempfile.mkdtemp(prefix=f"saga-{self.name}-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client needs to connect."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command line that runs the server in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers a client; a refused connection is False, not an error."""

    def prepare(self) -> None:  # noqa: B027 - a server without preparation needs none
        """Make the data folder; runs once, before the first start."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment of the server."""
        return {}

    def user(self) -> int | None:
        """The user id that the server runs under, None for our own."""
        return None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Everything that the server printed, over all its starts."""
        return self.folder / "server.log"

    @classmethod
    def launch(cls) -> Self:
        """Return a new server, up and answering."""
        server = cls()
        try:
            server.prepare()
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    def start(self) -> None:
        """Start the server and wait until it answers."""
        assert not self.running, f"{self.name} is already running"
        self._process = self.spawn(self.command())
        try:
            eventually(self._up, START_TIMEOUT_S)
        except AssertionError:
            raise ServerFailedError(f"{self.name} did not start:\n{self._log_tail()}") from None

    def kill(self) -> None:
        """End the server and its children at once, as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._signal_tree(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End the server the orderly way; kill it if it does not go."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Stop the server if it runs, then start it on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers (SIGSTOP)."""
        self._signal_tree(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_tree(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command: Sequence[str | Path]) -> None:
        """Run a preparing command to its end, as the server's user."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [str(part) for part in command],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                user=self.user(),
                timeout=START_TIMEOUT_S,
            )
        if done.returncode:
            raise ServerFailedError(f"{self.name} could not be prepared:\n{self._log_tail()}")

    def spawn(self, command: Sequence[str | Path]) -> "subprocess.Popen[bytes]":
        """Start a process that ends with this one."""
        return _spawner.submit(self._popen, command).result()

    def _popen(self, command: Sequence[str | Path]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                user=self.user(),
                start_new_session=True,
                # Two system calls, no lock taken: safe between fork and exec.
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),  # noqa: PLW1509
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment()}

    def _up(self) -> bool:
        if not self.running:
            # A PostgreSQL killed a moment ago may still hold its shared memory: try again.
            self._process = self.spawn(self.command())
        return self.ready()

    def _signal_tree(self, number: signal.Signals) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _tree(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])


def program(name: str, *folders: str) -> Path:
    """Return the path of an installed program, or say that it is missing."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", *folders))
    found = shutil.which(name, path=path)
    if found is None:
        raise ServerMissingError(f"{name} is not installed on this machine")
    return Path(found)


def free_port() -> int:
    """Return a loopback port that is free now and that no outgoing connection will take.

    Below the kernel's range for outgoing connections: inside it, a client that retries while its
    server is down may be given the server's port as its own, and connect to itself.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailedError("no free port between 20000 and 32000")


def answers(port: int) -> bool:
    """Whether anything accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _die_with_parent(parent: int) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the line above
        os._exit(1)
