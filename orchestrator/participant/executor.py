"""``WorkExecutor``: what a worker does with a message: carry out each command by itself, and answer.

Answers go back together at the end, or as soon as the oldest has waited ``hold_s``, so that a slow command doesn't
hold back a fast one that came in the same message.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy.exc import DBAPIError

from orchestrator.participant.barrier import Settled
from orchestrator.participant.failures import failure_of
from orchestrator.participant.metering import WorkerCounts
from orchestrator.participant.outbox import Outbox
from orchestrator.participant.perform import Action, Performer, gid_of
from orchestrator.participant.registry import Registry
from orchestrator.participant.two_phase.sweep import Sweep, SweepOptions
from orchestrator.telemetry.bound import Subject, bind, unbind
from orchestrator.telemetry.tracing import TRACER
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import WorkerTransport

logger = logging.getLogger(__name__)

HOLD_S = 0.02
_NOT_YET = (None, 0.0)
"""What came of a command that hasn't been carried out, and how long it took."""


class WorkExecutor:
    """Carries out commands for the participants of a registry; implements ``transport.port.Executor``.

    ``hold_s``: how long an answer may wait for others of its message to go with.
    """

    def __init__(
        self,
        registry: Registry,
        sweep: SweepOptions | None = None,
        counts: WorkerCounts | None = None,
        *,
        hold_s: float = HOLD_S,
    ) -> None:
        self._registry = registry
        self._hold_s = hold_s
        self._counts = counts
        self._host = socket.gethostname()
        self._sweep = sweep or SweepOptions()
        self._sweeps = [
            Sweep(service.name, service.queue, service.branches, self._sweep)
            for service in registry
            if service.branches is not None
        ]

    @property
    def participants(self) -> tuple[str, ...]:
        """What it can carry out, as ``service.action``."""
        return self._registry.names

    def execute(self, work: Sequence[Work], transport: WorkerTransport) -> None:
        """Carry out every command, independently of one another, and answer each.

        Raises ``TransportUnavailableError`` when answers can't be sent. ``SystemExit`` and its like pass through, after
        the answers there are have been sent: the command they hit has no answer, so its outcome is unknown.
        """
        with Outbox(transport, self._hold_s) as outbox:
            last = len(work) - 1
            ahead = self._committed_together(work)
            for index, command in enumerate(work):
                answer = self._answer(command, *ahead.get(index, _NOT_YET))
                if self._counts is not None:
                    self._counts.done(answer)
                outbox.add(answer, more_to_come=index < last)

    def _committed_together(self, work: Sequence[Work]) -> dict[int, tuple[Settled | None, float]]:
        """Which commands of a message were commits that are done now, and each one's share of the time in seconds.

        One that is traced is left for its own span.
        """
        started = time.perf_counter()
        commits: dict[Performer, list[tuple[Action, Work]]] = {}
        for command in work:
            if command.kind != "commit" or command.trace:
                continue
            if (found := self._registry.find(command.participant)) is not None:
                service, participant = found
                commits.setdefault(service.performer, []).append((participant, command))
        settled: dict[Gid, Settled] = {}
        for performer, together in commits.items():
            settled.update(performer.commit_together(together))
        share_s = (time.perf_counter() - started) / max(1, len(settled))
        return {
            index: (settled[gid], share_s)
            for index, command in enumerate(work)
            if command.kind == "commit" and (gid := gid_of(command)) in settled
        }

    def _answer(self, work: Work, known: Settled | None = None, took_s: float = 0.0) -> Answer:
        """Carry out a command, unless it is known what came of it, and how long that took."""
        subject = Subject(work.run, work.saga, work.step, work.kind, work.attempt, work.participant)
        started = time.perf_counter()
        token = bind(subject)
        try:
            settled = known or (self._traced(work) if work.trace else self._settled(work))
        except Exception as error:  # noqa: BLE001 - the participant's, told to the coordinator
            settled = Settled("failed", failure=failure_of(error))
        finally:
            unbind(token)
        return Answer(
            run=work.run,
            shard=work.shard,
            epoch=work.epoch,
            step=work.step,
            kind=work.kind,
            attempt=work.attempt,
            outcome=settled.outcome,
            participant=work.participant,
            result=None if settled.reply is None else msgspec.json.decode(settled.reply),
            failure=settled.failure,
            took_s=took_s + time.perf_counter() - started,
            worker=f"{self._host}:{os.getpid()}",
            duplicate=settled.duplicate,
            vote=settled.vote,
        )

    def _traced(self, work: Work) -> Settled:
        attributes: dict[str, str | int] = {
            "saga.run": work.run,
            "saga.name": work.saga,
            "saga.step": work.step,
            "saga.kind": work.kind,
            "saga.attempt": work.attempt,
        }
        name = f"{work.kind} {work.participant} in its worker"
        with TRACER.performing(work.trace, name, attributes) as span:
            try:
                settled = self._settled(work)
            except Exception as error:
                span.fail(type(error).__name__)
                raise
            span.note({"saga.outcome": settled.outcome, "saga.duplicate": settled.duplicate})
            if settled.failure is not None and settled.outcome != "refused":
                span.fail(settled.failure.type)
        return settled

    def _settled(self, work: Work) -> Settled:
        found = self._registry.find(work.participant)
        if found is None:
            return self._ended(work)
        service, participant = found
        return service.performer.perform(participant, work)

    def _ended(self, work: Work) -> Settled:
        """What comes of a command that names no participant: only the end of a branch may name the service alone."""
        service = self._registry.service(work.participant.removesuffix("."))
        if service is None or work.kind not in {"commit", "abort"}:
            return Settled("unregistered")
        return service.performer.end(work)

    @property
    def prepared(self) -> dict[str, tuple[int, float]]:
        """By service: how many prepared branches the last sweep found, and the oldest's age in seconds."""
        return {sweep.service: sweep.prepared for sweep in self._sweeps}

    @property
    def sweeps(self) -> bool:
        """Whether any service has prepared branches to look after."""
        return bool(self._sweeps)

    def sweep(self, transport: WorkerTransport) -> float:
        """Ask about branches that have been in doubt for too long; returns after how many seconds to do it again.

        A database that can't be reached is looked at the next time. Raises ``TransportUnavailableError``.
        """
        for sweep in self._sweeps:
            try:
                inquiries = sweep.inquiries()
            except DBAPIError:
                logger.warning("the sweep couldn't look for branches in doubt", exc_info=True)
                continue
            if inquiries:
                transport.answer(inquiries)
        return self._sweep.every_s

    def dispose(self) -> None:
        """Let go of database connections; to be called first in a forked worker process."""
        self._registry.dispose()
