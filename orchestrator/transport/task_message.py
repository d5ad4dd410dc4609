"""Building the Celery message around a sealed envelope, cheaply.

Celery's own ``apply_async`` builds headers, reprs, signals and routes anew for every message. Here Celery is asked
once, for a prototype; per message only the id, the arguments and the time limit are filled in. Any Celery worker of
protocol 2 takes the result.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from celery import Celery

from orchestrator.transport.brokers.port import TaskMessage
from orchestrator.transport.celery_app import EXECUTE_TASK
from orchestrator.transport.messages import Work

KILL_GRACE_S = 5.0
"""A worker process is killed when a message takes this much longer than its longest command may."""


class TaskMessages:
    """Makes task messages the way this app's Celery does."""

    def __init__(self, app: Celery) -> None:
        prototype: Any = app.amqp.as_task_v2(
            "", EXECUTE_TASK, args=("",), argsrepr="", kwargsrepr="{}", ignore_result=True
        )
        self._headers = {
            key: value for key, value in prototype.headers.items() if value is not None
        }
        _, self._kwargs, self._embed = prototype.body

    def build(self, queue: str, sealed: str, work: Sequence[Work]) -> TaskMessage:
        """Return the message for ``queue`` that carries the sealed ``work``."""
        task_id = str(uuid.uuid4())
        limit_s = max(item.timeout_s for item in work) + KILL_GRACE_S
        headers = {
            **self._headers,
            "id": task_id,
            "root_id": task_id,
            # Every command of the message has passed its deadline by then; the process is freed for others.
            "timelimit": [limit_s, None],
            "argsrepr": f"({work[0].participant} x{len(work)})",
        }
        return TaskMessage(queue, task_id, headers, _encode(((sealed,), self._kwargs, self._embed)))


_encode = msgspec.json.Encoder().encode
