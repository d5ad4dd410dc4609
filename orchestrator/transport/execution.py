"""Handing work to an executor so that whatever happens, the sender hears of it.

Used by every transport that runs work: an executor's own defect becomes ``lost`` answers, because how far it came is
unknown.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence

from orchestrator.errors import TransportUnavailableError
from orchestrator.kernel.events import Failure
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Executor, WorkerTransport

logger = logging.getLogger(__name__)


def execute(executor: Executor, work: Sequence[Work], transport: WorkerTransport) -> None:
    """Have the work carried out; never raises an ``Exception``.

    Answers that can't be sent are given up: their commands' deadlines bring them back.
    """
    try:
        try:
            executor.execute(work, transport)
        except TransportUnavailableError:
            raise
        except Exception as error:
            logger.exception("the executor failed on %s", describe(work))
            transport.answer(
                lost(work, f"the executor failed: {type(error).__name__}: {error}", worker_name())
            )
    except Exception:
        logger.exception(
            "no answer could be sent for %s; their deadlines will tell", describe(work)
        )


def lost(work: Sequence[Work], reason: str, worker: str = "") -> tuple[Answer, ...]:
    """Return the answers for commands whose worker is gone: whether they took effect is unknown.

    ``worker``: the process that was at it, as ``worker_name`` has it.
    """
    failure = Failure(type="WorkerLost", message=reason)
    return tuple(
        Answer(
            run=item.run,
            shard=item.shard,
            epoch=item.epoch,
            step=item.step,
            kind=item.kind,
            attempt=item.attempt,
            outcome="lost",
            participant=item.participant,
            failure=failure,
            worker=worker,
        )
        for item in work
    )


def worker_name(pid: int | None = None) -> str:
    """Return a process of this machine, else this one, as answers name it: ``host:pid``."""
    return f"{_HOST}:{pid or os.getpid()}"


def describe(work: Sequence[Work]) -> str:
    """Return a line that names the commands, for logs."""
    if not work:
        return "no commands"
    first = work[0]
    more = f" and {len(work) - 1} more" if len(work) > 1 else ""
    return f"{first.participant} ({first.kind} of {first.run}:{first.step}){more}"


_HOST = socket.gethostname()
