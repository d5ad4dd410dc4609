"""Which workers there are, and what each can do: asked of the workers themselves, by Celery's remote control.

A worker's parent process answers, so one whose processes are all busy does too. Workers of another namespace, and
Celery workers that aren't ours, are left out.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import msgspec
import redis
from celery import Celery
from celery.worker.control import inspect_command

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.brokers.address import parse_broker
from orchestrator.transport.brokers.amqp_session import ERRORS
from orchestrator.transport.celery_app import EXECUTE_TASK
from orchestrator.transport.safety import QueueState, queue_states

ASK = "saga_presence"
ANSWER_S = 1.5
"""How long workers are given to answer."""
_DISTRIBUTION = "saga-orchestrator"
_ASKING_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, *ERRORS)


class WorkerState(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    name: str
    """Celery's: ``celery@host`` unless it was started with another."""
    pid: int
    processes: int
    queues: tuple[str, ...]
    participants: tuple[str, ...]
    """What it has registered, as ``service.action``."""
    version: str
    """Of the orchestrator that it runs."""
    namespace: str


@runtime_checkable
class _Present(Protocol):
    """A worker's end of the transport."""

    namespace: str

    @property
    def participants(self) -> Collection[str]: ...


class AskedBroker:
    """What queues and workers of a namespace say when they are asked; see ``queue_states`` and ``worker_states``."""

    def __init__(self, app: Celery, namespace: str) -> None:
        self._app = app
        self._namespace = namespace

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        """How much waits in each of these queues, and how many workers read it."""
        return queue_states(self._app, names)

    def workers(self) -> list[WorkerState]:
        """The workers that answer."""
        return worker_states(self._app, self._namespace)


def worker_states(app: Celery, namespace: str) -> list[WorkerState]:
    """Return every worker of a namespace that answers, by name; takes ``ANSWER_S``.

    Raises ``TransportUnavailableError``.
    """
    try:
        told = app.control.broadcast(ASK, reply=True, timeout=ANSWER_S) or []
    except _ASKING_ERRORS as error:
        address = parse_broker(app.conf.broker_url).redacted
        raise TransportUnavailableError(
            f"the broker at {address} can't be reached: {error}"
        ) from error
    found = [read(answer) for answers in told for answer in answers.values()]
    ours = [state for state in found if state is not None and state.namespace == namespace]
    return sorted(ours, key=lambda state: (state.name, state.pid))


def read(answer: Any) -> WorkerState | None:
    """What a worker answered; None for what none of ours says, as an older release that doesn't know the question."""
    try:
        return msgspec.convert(answer, WorkerState)
    except msgspec.ValidationError:
        return None


def answer_presence() -> None:
    """Have the workers of this process answer; they are found by the task that ``install`` registers."""
    inspect_command(name=ASK)(present)


def present(state: Any) -> dict[str, Any] | None:
    """Answer, in a worker's parent process; ``state`` is Celery's."""
    task = state.app.tasks.get(EXECUTE_TASK)
    end = getattr(task, "end", None)
    if not isinstance(end, _Present):
        return None
    consumer = state.consumer
    made = WorkerState(
        name=state.hostname,
        pid=os.getpid(),
        processes=consumer.pool.num_processes,
        queues=tuple(sorted(queue.name for queue in consumer.task_consumer.queues)),
        participants=tuple(sorted(end.participants)),
        version=version(_DISTRIBUTION),
        namespace=end.namespace,
    )
    told: dict[str, Any] = msgspec.to_builtins(made)
    return told
