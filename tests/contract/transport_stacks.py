"""Whole transports to test: in this process, and on a real broker with a real Celery worker."""

import contextlib
import itertools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.brokers.opening import worker_link
from orchestrator.transport.celery_app import make_celery
from orchestrator.transport.celery_transport import CeleryTransport
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.local import LocalTransport
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle, CoordinatorTransport, Received
from tests.contract.transport_worker import ScriptedExecutor

QUEUE = "services.q"
KEY = b"0123456789abcdef0123456789abcdef"
LIMIT_BYTES = 100_000
_shards = itertools.count(1)


class Stack(Protocol):
    """Where transports for a test come from; they reach the same workers."""

    def transport(self) -> CoordinatorTransport: ...


class LocalStack:
    """Threads of this process."""

    def __init__(self) -> None:
        self._hub = LocalTransport(ScriptedExecutor(), threads=2, limit_bytes=LIMIT_BYTES)

    def transport(self) -> CoordinatorTransport:
        return self._hub.attach()

    def close(self) -> None:
        self._hub.close()


class CeleryStack:
    """A broker, and a worker with two processes in a process of its own."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.namespace = f"test-{uuid.uuid4().hex[:8]}"
        self.app = make_celery(url)
        self.envelopes = Envelopes([KEY], limit_bytes=LIMIT_BYTES)
        self._log = log
        self._opened: list[CeleryTransport] = []
        self._worker: subprocess.Popen[bytes] | None = None

    def transport(self, keys: Sequence[bytes] = (KEY,)) -> CeleryTransport:
        transport = CeleryTransport(
            self.app, namespace=self.namespace, keys=keys, limit_bytes=LIMIT_BYTES
        )
        self._opened.append(transport)
        return transport

    def send_reply(self, shard: int, data: str) -> None:
        """Put anything at all onto a shard's stream of replies."""
        link = worker_link(self.url, self.namespace)
        link.send([(shard, data)])
        link.close()

    @property
    def worker_pid(self) -> int:
        assert self._worker is not None
        return self._worker.pid

    def start_worker(self) -> None:
        environment = {
            **os.environ,
            "TEST_BROKER_URL": self.url,
            "TEST_NAMESPACE": self.namespace,
            "TEST_KEYS": KEY.decode(),
        }
        command = [
            *(sys.executable, "-m", "celery", "-A", "tests.contract.transport_worker", "worker"),
            *("-Q", QUEUE, "-c", "2", "-l", "info"),
        ]
        with self._log.open("ab") as log:
            self._worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait_for_worker(self, timeout_s: float = 20) -> int:
        """Wait for the worker to end by itself."""
        assert self._worker is not None
        return self._worker.wait(timeout_s)

    @property
    def worker_log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop_worker(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()
            try:
                self._worker.wait(40)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()

    def close(self) -> None:
        for transport in self._opened:
            transport.close()
        self.stop_worker()


@contextmanager
def celery_stack(url: str, log: Path) -> Iterator[CeleryStack]:
    """Lend a stack whose worker is starting."""
    stack = CeleryStack(url, log)
    stack.start_worker()
    try:
        yield stack
    finally:
        stack.close()


def new_shard() -> int:
    """Return a shard that no other test has."""
    return next(_shards)


def command(shard: int, *, timeout_s: float = 30, **args: Any) -> Work:
    """Return a command that does what its arguments say."""
    return Work(
        run=uuid.uuid4().hex,
        shard=shard,
        epoch=1,
        step="step",
        kind="do",
        attempt=1,
        participant="service.action",
        args=args,
        timeout_s=timeout_s,
    )


def dispatch(transport: CoordinatorTransport, *commands: Work) -> None:
    """Send commands in one message; it must be taken."""
    assert transport.dispatch([Bundle(QUEUE, commands)]) == [None]


def receive(
    transport: CoordinatorTransport, shard: int, answers: int, timeout_s: float = 20
) -> list[Received]:
    """Receive until there are so many answers; fails when there are not in time."""
    received: list[Received] = []
    deadline = time.monotonic() + timeout_s
    while (got := len(answers_in(received))) < answers:
        remaining_s = deadline - time.monotonic()
        assert remaining_s > 0, f"{got} of {answers} answers within {timeout_s:g} s"
        received += transport.receive([shard], min(remaining_s, 1.0))
    assert got == answers
    return received


def receive_all(
    transport: CoordinatorTransport, shard: int, commands: Sequence[Work], timeout_s: float = 20
) -> list[Received]:
    """Receive until each of these commands has an answer, or two; over the failures of a broker that is coming back."""
    received: list[Received] = []
    deadline = time.monotonic() + timeout_s
    while missing := set(runs(commands)) - set(runs(answers_in(received))):
        remaining_s = deadline - time.monotonic()
        assert remaining_s > 0, f"{len(missing)} of {len(commands)} unanswered in {timeout_s:g} s"
        with contextlib.suppress(TransportUnavailableError):
            received += transport.receive([shard], min(remaining_s, 1.0))
    return received


def answers_in(received: Sequence[Received]) -> list[Answer]:
    """Return all answers of these messages."""
    return [answer for item in received for answer in item.answers]


def runs(items: Sequence[Answer] | Sequence[Work]) -> list[str]:
    """Return the runs of commands or answers, sorted."""
    return sorted(item.run for item in items)
