"""The client: launch runs, wait for them, look at them, repair them.

Commands and queries are separate: a command is a row in the inbox, durable when the call returns; a query reads what
the coordinator has written. Nothing here needs a coordinator to be up.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple

import msgspec
from sqlalchemy import event
from sqlalchemy.orm import Session

from orchestrator.client.approvals import Approvals
from orchestrator.client.bulk import Bulks
from orchestrator.client.hold import Holds
from orchestrator.client.options import ClientOptions
from orchestrator.client.run import Run
from orchestrator.client.traced import sending, traced
from orchestrator.definition.saga import Saga
from orchestrator.definition.values import check_size, encode
from orchestrator.errors import RunNotFoundError, UnknownSagaError
from orchestrator.journal.audit import AuditPage, audit
from orchestrator.journal.incident import ClusterPage
from orchestrator.journal.port import (
    LaunchRequest,
    OperationFilter,
    Page,
    ReaderJournal,
    Recorded,
    RunFilter,
)
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.program import Program
from orchestrator.kernel.second import TwoPeople, possible, preview
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary
from orchestrator.telemetry.tracing import launching

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Client:
    """Commands and queries, synchronous. Safe to share between threads."""

    def __init__(
        self,
        journal: ReaderJournal,
        sagas: Mapping[str, Saga[..., Any]],
        poke: Callable[[int], None] = lambda _shard: None,
        options: ClientOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._sagas = sagas
        self._poke = poke
        self._options = options or ClientOptions()
        self._clock = clock

    def launch(
        self,
        saga: Callable[[*Ts], R],
        *args: *Ts,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        session: Session | None = None,
    ) -> Run[R]:
        """Start a run; durable when this returns, or when the caller's ``session`` commits.

        A ``key`` makes it idempotent: a second launch of the saga with it gives the first one's run.
        Raises ``InvalidInputError``, ``PayloadTooLargeError``, ``PlanConflictError``.
        """
        defined = _defined(saga)
        request = self._request(defined, defined.encode_input(*args), key, tags)
        (run,) = self._launch([request], session, defined)
        return run

    def launch_many(
        self,
        saga: Callable[[*Ts], R],
        arguments: Iterable[tuple[*Ts]],
        *,
        keys: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        session: Session | None = None,
    ) -> Sequence[Run[R]]:
        """Start many runs of a saga in one transaction. ``keys``, if given, has one key per run."""
        defined = _defined(saga)
        inputs = [defined.encode_input(*args) for args in arguments]
        names = [None] * len(inputs) if keys is None else list(keys)
        if len(names) != len(inputs):
            raise ValueError(f"{len(inputs)} runs but {len(names)} keys")
        requests = [
            self._request(defined, given, key, tags)
            for given, key in zip(inputs, names, strict=True)
        ]
        return self._launch(requests, session, defined)

    def launch_named(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run[Any]:
        """Start a run of the saga called ``name`` with its input as JSON values by parameter."""
        saga = self.saga(name)
        (run,) = self._launch(
            [self._request(saga, saga.encode_input(**given), key, tags)], None, saga
        )
        return run

    def launch_named_many(
        self,
        name: str,
        given: Sequence[Mapping[str, Any]],
        keys: Sequence[str | None],
        *,
        tags: Mapping[str, str] | None = None,
    ) -> Sequence[Run[Any]]:
        """As ``launch_named``, many in one transaction."""
        saga = self.saga(name)
        requests = [
            self._request(saga, saga.encode_input(**one), key, tags)
            for one, key in zip(given, keys, strict=True)
        ]
        return self._launch(requests, None, saga)

    def saga(self, name: str) -> Saga[..., Any]:
        """The definition of a saga. Raises ``UnknownSagaError``."""
        saga = self._sagas.get(name)
        if saga is None:
            known = ", ".join(sorted(self._sagas)) or "none; name modules with --app or in settings"
            raise UnknownSagaError(f"no saga is called {name!r}; known: {known}")
        return saga

    def run(self, run_id: str) -> Run[Any]:
        """A handle on a run by id, id prefix or key. Raises ``RunNotFoundError``, ``AmbiguousRunError``."""
        row = self._journal.find(run_id)
        return Run(self, row.run_id, self._sagas.get(row.saga))

    def get(self, run_id: str) -> RunSummary:
        """A run's row, by id, id prefix or key."""
        return self._journal.find(run_id)

    def list(
        self, where: RunFilter | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """A page of runs, newest first."""
        return self._journal.runs(where or RunFilter(), cursor, limit)

    def clusters(
        self, sagas: Sequence[str] = (), *, cursor: str | None = None, limit: int = 50
    ) -> ClusterPage:
        """A page of open incidents by their cause; ``list(RunFilter(cluster=...))`` has the runs of one."""
        return self._journal.clusters(sagas, cursor, limit)

    def history(self, run_id: str) -> Sequence[Recorded]:
        """A run's events, in order."""
        return self._journal.history(self._journal.find(run_id).run_id)

    def state(self, run_id: str, at: float | None = None) -> RunState:
        """A run's whole state, now or at a time in epoch seconds.

        Raises ``RunNotFoundError`` while no coordinator has taken it yet, or if it came later.
        """
        row = self._journal.find(run_id)
        events = [
            record.event
            for record in self._journal.history(row.run_id)
            if record.event is not None and (at is None or record.at <= at)
        ]
        if not events:
            raise RunNotFoundError(f"run {row.run_id} has no events yet: is a coordinator running?")
        return fold(Program(self._journal.plan(row.plan), row.plan), events)

    def signal(
        self,
        run_id: str,
        name: str,
        data: Any = None,
        *,
        signal_id: str | None = None,
        reason: str = "",
    ) -> None:
        """Send a signal to a run; kept until a step waits for it."""
        encoded = encode(data)
        check_size(msgspec.json.encode(encoded), self._options.payload_limit_bytes)
        self._send(
            run_id,
            msg.Signal(
                at=self._clock(),
                actor=self._options.actor,
                name=name,
                data=encoded,
                signal_id=signal_id or uuid.uuid4().hex,
                reason=reason,
            ),
        )

    def retry(
        self,
        run_id: str,
        step: str | None = None,
        *,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        """Try what is parked or backing off again now; ``args`` replaces arguments of one step.

        This and the following raise ``OperationRefusedError`` when the run's state doesn't allow it.
        """
        edited = None if args is None else encode(dict(args))
        self._operate(
            run_id,
            msg.Retry(at=self._clock(), actor=self._actor, step=step, args=edited, reason=reason),
        )

    def skip(self, run_id: str, step: str, result: Any = None, *, reason: str = "") -> None:
        """Go on past a step as if it had returned ``result``."""
        self._operate(
            run_id,
            msg.Skip(
                at=self._clock(), actor=self._actor, step=step, result=encode(result), reason=reason
            ),
        )

    def resolve(
        self, run_id: str, step: str, result: Any = None, *, undone: bool = False, reason: str = ""
    ) -> None:
        """State what a step really did: done with ``result``, or, with ``undone``, without effect."""
        self._operate(
            run_id,
            msg.Resolve(
                at=self._clock(),
                actor=self._actor,
                step=step,
                undone=undone,
                result=encode(result),
                reason=reason,
            ),
        )

    def forget(self, run_id: str, step: str, *, reason: str = "") -> None:
        """Close the file of a branch that went against its group's decision; it must have been resolved."""
        self._operate(
            run_id, msg.Forget(at=self._clock(), actor=self._actor, step=step, reason=reason)
        )

    def acknowledge(self, run_id: str, step: str | None = None, *, reason: str = "") -> None:
        """Take on the run's open incidents, or that of one step: nobody is told of them any more."""
        self._operate(
            run_id,
            msg.Acknowledge(at=self._clock(), actor=self._actor, step=step, reason=reason),
        )

    def compensate(self, run_id: str, *, reason: str = "") -> None:
        """Undo a run from where it is."""
        self._operate(run_id, msg.Compensate(at=self._clock(), actor=self._actor, reason=reason))

    def cancel(self, run_id: str, *, reason: str = "") -> None:
        """Stop a run and undo it."""
        self._operate(run_id, msg.Cancel(at=self._clock(), actor=self._actor, reason=reason))

    def pause(self, run_id: str, *, reason: str = "") -> None:
        """Have a run stand still: nothing new of it is sent, and no time passes for it."""
        self._operate(run_id, msg.Pause(at=self._clock(), actor=self._actor, reason=reason))

    def resume(self, run_id: str, *, reason: str = "") -> None:
        """Have a paused run go on."""
        self._operate(run_id, msg.Resume(at=self._clock(), actor=self._actor, reason=reason))

    def budget(self, run_id: str, step: str, attempts: int, *, reason: str = "") -> None:
        """Have a step tried up to so often in its present direction; one that was given up is tried again."""
        asked = msg.Budget(
            at=self._clock(), actor=self._actor, step=step, attempts=attempts, reason=reason
        )
        self._operate(run_id, asked)

    @property
    def _actor(self) -> str:
        return self._options.actor

    @property
    def two_people(self) -> TwoPeople:
        """What previews call an operation that takes two people."""
        return self._options.two_people

    def preview(self, run_id: str, operation: msg.Asked | msg.Signal) -> Preview:
        """What an operation would do now, found by the kernel on a copy of the run's state.

        Raises ``RunNotFoundError``, also while no coordinator has taken the run yet.
        """
        return preview(self.state(run_id), operation, self.two_people)

    def operate(self, run_id: str, operation: msg.Asked | msg.Signal) -> None:
        """Send an operation that was made, and perhaps previewed, as a message.

        Raises ``OperationRefusedError`` when the run's state doesn't allow it, ``PayloadTooLargeError``.
        """
        if isinstance(operation, msg.Signal):
            data = msgspec.json.encode(operation.data)
            check_size(data, self._options.payload_limit_bytes)
            self._send(run_id, operation)
        else:
            self._operate(run_id, operation)

    def audit(
        self, where: OperationFilter | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """Who did what to which run, newest first, with the state before and after, from the runs' own events."""
        return audit(self._journal, where, cursor, limit)

    @property
    def bulk(self) -> Bulks:
        """Operations on many runs that are records of their own."""
        return Bulks(self._journal, self._actor, self._clock, self._poke)

    @property
    def holds(self) -> Holds:
        """Sagas and services that are stopped as a whole."""
        return Holds(self._journal, self._actor, self._clock, self._poke)

    @property
    def approvals(self) -> Approvals:
        """What waits for a second person."""
        return Approvals(self._journal, self._actor, self._clock, self.operate)

    def _operate(self, run_id: str, operation: msg.Asked) -> None:
        row = self._journal.find(run_id)
        if row.status != "accepted":
            state = self.state(row.run_id)
            if not operation.request or operation.request not in state.requests:
                possible(state, operation)
        self._send(row.run_id, operation)

    def _send(self, run_id: str, message: msg.Inbound) -> None:
        row = self._journal.find(run_id)
        with sending(row.run_id, message) as sent:
            self._journal.send(row.run_id, sent)
        self._poke(row.shard)

    def _request(
        self,
        saga: Saga[..., Any],
        given: dict[str, Any],
        key: str | None,
        tags: Mapping[str, str] | None,
    ) -> LaunchRequest:
        check_size(msgspec.json.encode(given), self._options.payload_limit_bytes)
        plan = saga.plan
        message = msg.Launch(
            at=self._clock(),
            actor=self._actor,
            run_id=uuid.uuid4().hex,
            saga=saga.name,
            version=saga.version,
            plan=saga.plan_hash,
            input=given,
            key=key,
            tags=dict(tags or {}),
        )
        return LaunchRequest(message, plan)

    def _launch(
        self, requests: Sequence[LaunchRequest], session: Session | None, saga: Saga[..., R]
    ) -> Sequence[Run[R]]:
        with launching() as launches:
            launched = self._journal.launch(traced(requests, launches), session)
            launches.launched([run.run_id for run in launched])
        shards = {run.shard for run in launched if run.created}
        if session is None:
            self._poke_all(shards)
        else:
            event.listen(session, "after_commit", lambda _: self._poke_all(shards), once=True)
        return [Run(self, run.run_id, saga, created=run.created) for run in launched]

    def _poke_all(self, shards: Iterable[int]) -> None:
        for shard in shards:
            self._poke(shard)


def _defined(saga: Callable[..., R]) -> Saga[..., R]:
    if not isinstance(saga, Saga):
        raise UnknownSagaError(f"{saga!r} is not a saga: decorate it with @saga")
    return saga
