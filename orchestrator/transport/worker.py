"""What a service's Celery worker needs: the task, the way back for answers, and word of what a dead process had.

app = make_celery(broker_url)
install(app, executor, namespace="production", keys=[key])
# celery -A mymodule:app worker -Q inventory
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from celery import Celery, Task
from celery.signals import worker_process_init, worker_ready, worker_shutdown
from celery.worker.request import Request
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from orchestrator.errors import EnvelopeError, TransportUnavailableError
from orchestrator.transport.brokers.opening import worker_link
from orchestrator.transport.brokers.port import WorkerLink
from orchestrator.transport.celery_app import EXECUTE_TASK
from orchestrator.transport.dropped import Dropped
from orchestrator.transport.envelope import LIMIT_BYTES, Envelopes
from orchestrator.transport.execution import describe, execute, lost, worker_name
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.parts import answers_by_shard
from orchestrator.transport.port import Executor, WorkerTransport
from orchestrator.transport.presence import answer_presence

logger = logging.getLogger(__name__)

ANSWER_FOR_S = 20.0
"""How long sending answers is tried. After that their commands' deadlines bring them back."""
SHUTDOWN_FOR_S = 5.0


def install(
    app: Celery,
    executor: Executor,
    *,
    namespace: str,
    keys: Sequence[bytes] = (),
    limit_bytes: int = LIMIT_BYTES,
    on_dropped: Callable[[EnvelopeError], None] | None = None,
) -> WorkerEnd:
    """Register the task that hands work to ``executor`` with an app made by ``make_celery``.

    ``namespace``, ``keys`` and ``limit_bytes`` are the coordinator's. If the executor has a ``dispose`` method it is
    called first in every forked worker process, to let go of connections that belong to the parent. If it has something
    to sweep, a thread of the parent process does so from time to time. ``on_dropped`` is told of every message that is
    thrown away.
    """
    envelopes = Envelopes(keys, limit_bytes=limit_bytes)
    end = WorkerEnd(executor, envelopes, app.conf.broker_url, namespace, on_dropped)
    app.register_task(_ExecuteTask(end))
    answer_presence()
    worker_process_init.connect(end.on_process_init, weak=False)
    worker_ready.connect(end.on_ready, weak=False)
    worker_shutdown.connect(end.on_shutdown, weak=False)
    return end


class WorkerEnd:
    """A worker's end of the transport: takes messages, sends answers. Usable from several threads."""

    def __init__(
        self,
        executor: Executor,
        envelopes: Envelopes,
        broker_url: str,
        namespace: str,
        on_dropped: Callable[[EnvelopeError], None] | None = None,
    ) -> None:
        self._on_dropped = on_dropped
        self._executor = executor
        self._envelopes = envelopes
        self._broker_url = broker_url
        self.namespace = namespace
        self._dropped = Dropped("work", logger)
        self._process = _Process(worker_link(broker_url, namespace))
        self._losses = _Losses(self)
        self._stopping = threading.Event()

    @property
    def participants(self) -> Collection[str]:
        """What its executor can carry out, for whoever asks who there is (``presence``)."""
        return self._executor.participants if isinstance(self._executor, _Registering) else ()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many messages this process has thrown away, by reason."""
        return self._dropped.counts

    def answer(self, answers: Sequence[Answer]) -> None:
        """Send answers to the streams of their shards; see the port."""
        replies = answers_by_shard(self._envelopes, answers)
        try:
            self._link().send(replies)
        except TransportUnavailableError:
            self._answer_later(replies)

    def _answer_later(self, replies: Sequence[tuple[int, str]]) -> None:
        """Try again for a while; apart from the first try, which needs no machinery."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransportUnavailableError),
            stop=stop_after_delay(ANSWER_FOR_S),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            reraise=True,
        )
        retrying(self._link().send, replies)

    def take(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        """Carry out a message. One that can't be read is counted and dropped: never raised, never run again."""
        try:
            work = self._open(arguments, keywords)
        except EnvelopeError as error:
            self._dropped.add(error.reason, str(error))
            if self._on_dropped is not None:
                self._on_dropped(error)
            return
        execute(self._executor, work, self)

    def report_lost(self, arguments: Sequence[Any], pid: int | None, reason: str) -> None:
        """Answer ``lost`` for all commands of a message whose process is gone; returns at once."""
        try:
            work = self._open(arguments, {})
        except EnvelopeError:
            return  # the process that took it has counted it, or would have
        logger.warning("lost %s: %s", describe(work), reason)
        self._losses.put(lost(work, reason, worker_name(pid)))

    def on_process_init(self, **_: Any) -> None:
        """Leave the parent's connections to the parent; Celery calls it in every forked process."""
        if isinstance(self._executor, _Disposable):
            self._executor.dispose()

    def on_ready(self, **_: Any) -> None:
        """Begin to sweep, if there is something to; Celery calls it in the parent, once its processes are there."""
        executor = self._executor
        if isinstance(executor, _Sweeping) and executor.sweeps:
            arguments = (executor,)
            threading.Thread(
                target=self._sweep, args=arguments, name="saga-sweep", daemon=True
            ).start()

    def _sweep(self, executor: _Sweeping) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                pause_s = executor.sweep(self)
            except TransportUnavailableError as error:
                logger.warning("the sweep can't ask: %s", error)
                pause_s = ANSWER_FOR_S

    def on_shutdown(self, **_: Any) -> None:
        """Send what is still to be said; Celery calls it in the parent."""
        self._stopping.set()
        self._losses.flush(SHUTDOWN_FOR_S)

    def _open(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Work, ...]:
        if len(arguments) != 1 or keywords:
            raise EnvelopeError(f"a task takes one envelope, not {len(arguments)} arguments")
        return self._envelopes.open_work(arguments[0])

    def _link(self) -> WorkerLink:
        """This process's own connection: one that was opened before a fork belongs to the parent."""
        process = self._process
        if process.pid != os.getpid():
            self._process = process = _Process(worker_link(self._broker_url, self.namespace))
        return process.link


@runtime_checkable
class _Disposable(Protocol):
    def dispose(self) -> None: ...


@runtime_checkable
class _Registering(Protocol):
    @property
    def participants(self) -> Collection[str]: ...


@runtime_checkable
class _Sweeping(Protocol):
    @property
    def sweeps(self) -> bool: ...

    def sweep(self, transport: WorkerTransport) -> float: ...


class _Process:
    """A link and the process it belongs to."""

    def __init__(self, link: WorkerLink) -> None:
        self.pid = os.getpid()
        self.link = link


class _Losses:
    """Sends ``lost`` answers from the worker's parent process, on a thread: its event loop must not wait for I/O."""

    def __init__(self, end: WorkerEnd) -> None:
        self._end = end
        self._queue: queue.Queue[tuple[Answer, ...]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._unsent = 0

    def put(self, answers: tuple[Answer, ...]) -> None:
        with self._lock:
            self._unsent += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="saga-losses", daemon=True)
                self._thread.start()
        self._queue.put(answers)

    def flush(self, timeout_s: float) -> None:
        with self._lock:
            self._idle.wait_for(lambda: self._unsent == 0, timeout_s)

    def _send(self) -> None:
        while True:
            answers = self._queue.get()
            try:
                self._end.answer(answers)
            except TransportUnavailableError as error:
                logger.error("lost answers could not be sent; deadlines will tell: %s", error)  # noqa: TRY400
            finally:
                with self._lock:
                    self._unsent -= 1
                    self._idle.notify_all()


class WorkRequest(Request):
    """A message under way, as the worker's parent process sees it."""

    task: Any  # an _ExecuteTask

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        """A process has begun. What was delivered before is acknowledged now instead of at its end.

        Otherwise a message that brings down the whole worker would be given to it again and again.
        """
        super().on_accepted(pid, time_accepted)
        if self.delivery_info.get("redelivered"):
            self.acknowledge()

    def on_failure(self, exc_info: Any, *arguments: Any, **options: Any) -> None:
        """The process died, was killed, or exited: the task itself raises nothing."""
        error = exc_info.exception
        error = getattr(error, "exc", error)  # without the parent's own traceback
        self._report(f"{type(error).__name__}: {error}")
        super().on_failure(exc_info, *arguments, **options)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001
        """The message has taken too long; its process is killed."""
        if not soft:
            self._report(f"killed after {timeout:g} s")
        super().on_timeout(soft, timeout)

    def _report(self, reason: str) -> None:
        if not getattr(self, "_reported", False):  # a time limit is told twice
            self._reported = True
            self.task.end.report_lost(self.args, self.worker_pid, reason)


class _ExecuteTask(Task):  # type: ignore[type-arg] # at run time it takes none
    """The one task there is."""

    name = EXECUTE_TASK
    Request = f"{__name__}:WorkRequest"
    acks_late = True
    reject_on_worker_lost = False
    ignore_result = True
    track_started = False

    def __init__(self, end: WorkerEnd) -> None:
        self.end = end

    def run(self, *arguments: Any, **keywords: Any) -> None:
        self.end.take(arguments, keywords)
