"""The services of a schedule: real ``Service`` objects with real barriers, whose business is one row in a ledger.

A participant with a ``Session`` writes to its service's SQLite database. One with a ``Call`` changes the outside world,
which knows effects by their idempotency keys. The world in front of a service without a database refuses a key that
has been cancelled; that of the service ``courier`` forgets it, as some do, so there an action that comes after its
undo takes effect, and only the epoch stands between. Its messages arrive at once or never: later is outside the
promise (docs/participants.md).

Branches of atomic groups take part for real: prepared in the service's database, or as a try, which holds something
that its confirm makes final and its cancel gives back.

Asynchronous participants run on the event loop of the process, as in a worker.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.definition.plan import Call as Step
from orchestrator.errors import Refused
from orchestrator.participant.call import Call
from orchestrator.participant.database import Database
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.perform import WithDatabase, WithoutDatabase
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import DEFAULT_PAYLOAD_LIMIT, Service
from orchestrator.testing.simulation.dice import Dice
from orchestrator.testing.simulation.growth import FORGETFUL
from orchestrator.testing.simulation.ledger import (
    COMMIT_LOST,
    COMMIT_WRITTEN,
    TRY,
    Effect,
    Key,
    Ledger,
    Outside,
    Played,
)
from orchestrator.testing.simulation.ports import Killed
from orchestrator.transport.gid import Gid
from orchestrator.transport.port import WorkerTransport
from orchestrator.views.forgotten import Known

PROCESSES = 2
"""Worker processes of each service but ``courier``, which has one: what a process has heard dies with it."""

ASYNC = "async_"
"""What the names of asynchronous participants begin with."""


class Shop:
    """Services for a set of calls, in several worker processes. One at a time is in use: see ``open``."""

    def __init__(self, calls: Iterable[Step]) -> None:
        self.dice: Dice | None = None
        self.outside = Outside()
        self._pause: Callable[[], None] = _go_on
        self._results: dict[str, Any] = {}
        self._two_phase: set[str] = set()
        by_service: dict[str, dict[str, Step]] = {}
        for call in sorted(calls, key=lambda call: call.cancel is None):
            by_service.setdefault(call.service, {}).setdefault(call.participant, call)
            if call.branch == "database":
                self._two_phase.add(call.service)
        with_database = {
            name
            for name, known in by_service.items()
            if any(call.barrier for call in known.values())
        }
        self._ledgers = {service: Ledger(self._commit_fault) for service in sorted(with_database)}
        self._processes = [
            [self._service(name, known) for name, known in sorted(by_service.items())]
            for _ in range(PROCESSES)
        ]
        self._executors = [WorkExecutor(Registry.of(services)) for services in self._processes]
        self._bare = WorkExecutor(Registry.of([]))

    def open(
        self,
        dice: Dice,
        results: dict[str, Any],
        pause: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """Begin a schedule: nothing is known and nothing has happened. ``pause`` lets the world go on for a while."""
        self.dice = None
        self._pause = pause
        for ledger in self._ledgers.values():
            ledger.clear()
            ledger.branches.now = now
        self.dice = dice
        self.outside = Outside()
        self._results = results
        for process in range(PROCESSES):
            self._forget(process)

    def executor(self, service: str) -> tuple[int, WorkExecutor]:
        """A worker process of this service that takes the next message."""
        assert self.dice is not None
        if self.dice.happens("participant not registered"):
            return PROCESSES, self._bare
        process = 0 if service == FORGETFUL else self.dice.random.randrange(PROCESSES)
        return process, self._executors[process]

    def restart(self, process: int) -> None:
        """A new process in the place of one that died: it has heard of nothing yet."""
        if process < PROCESSES:
            self._forget(process, but=FORGETFUL)

    def effects(self) -> list[Effect]:
        """Everything in the ledgers and in the world outside."""
        found = [effect for ledger in self._ledgers.values() for effect in ledger.effects()]
        outside = self.outside
        for key, (run, step) in outside.owners.items():
            found.append(Effect(run, step, key, outside.done[key], outside.undone[key]))
        return found

    def done(self, run_id: str) -> set[str]:
        """Steps of a run whose effects are there now."""
        mine = (effect for effect in self.effects() if effect.run == run_id)
        return {one.step for one in mine if one.done > one.undone and not one.is_try}

    def known(self) -> Iterator[Known]:
        """What the services' barriers remember."""
        for service in self._processes[0]:
            if service.database is not None:
                for held in service.held():
                    yield Known(service.name, held.run, held.step, held.status)

    def booked(self) -> dict[Key, int]:
        """Net effects in the services' own databases."""
        net: dict[Key, int] = {}
        for ledger in self._ledgers.values():
            for effect in ledger.effects():
                key = (effect.run, effect.step)
                net[key] = net.get(key, 0) + effect.done - effect.undone
        return net

    def unfinished(self) -> list[str]:
        """Services whose database somebody left a transaction open in."""
        return [name for name, ledger in self._ledgers.items() if ledger.in_transaction()]

    def prepared(self) -> list[tuple[str, Gid]]:
        """The branches that wait for a decision, each with its service."""
        ledgers = self._ledgers.items()
        return [(name, gid) for name, ledger in ledgers for gid in ledger.branches.gids()]

    def heard_of(self, service: str, shard: int) -> int:
        """The newest epoch of a shard that a service's database has heard of."""
        [branches] = [one.branches for one in self._processes[0] if one.name == service]
        return 0 if branches is None else branches.heard_of().get(shard, 0)

    def sweep(self, transport: WorkerTransport) -> None:
        """Ask about the branches that have been in doubt for long."""
        self._executors[0].sweep(transport)

    def _commit_fault(self) -> str:
        return "" if self.dice is None else self.dice.which(COMMIT_WRITTEN, COMMIT_LOST)

    def _forget(self, process: int, but: str = "") -> None:
        for service in self._processes[process]:
            if service.database is not None:
                service.performer = self._performer(service.database, service.name)
            elif service.name != but:
                service.performer = WithoutDatabase(DEFAULT_PAYLOAD_LIMIT)

    def _performer(self, database: Database, service: str) -> WithDatabase:
        return WithDatabase(database, DEFAULT_PAYLOAD_LIMIT, two_phase=service in self._two_phase)

    def _service(self, name: str, calls: dict[str, Step]) -> Service:
        ledger = self._ledgers.get(name)
        service = Service(name, database=None if ledger is None else ledger.engine)
        if ledger is not None:
            service.database = Played(ledger)
            service.performer = self._performer(service.database, name)
            service.database.engine()  # makes the barrier's tables now: a schedule is to begin as all others do
        for participant, call in sorted(calls.items()):
            self._declare(
                service, participant, call, forgetful=ledger is not None or name == FORGETFUL
            )
        return service

    def _declare(self, service: Service, name: str, call: Step, *, forgetful: bool) -> None:
        """Attach one participant, with the parameters that its calls give it."""
        is_async = name.startswith(ASYNC)
        part = "" if call.cancel is None else TRY
        act, undo = (
            self._acting(part)
            if call.barrier
            else self._calling(part, forgetful=forgetful, may_pause=not (is_async or forgetful))
        )
        if call.read_only:
            act = self._looking()
        names = ["ended"] if name == "hear" else sorted(call.args)
        injected: dict[str, Any] = {"call": Call}
        if call.barrier:
            injected = {"session": AsyncSession if is_async else Session, "call": Call}
        dress = _asynchronous if is_async else _plain
        declared = service.participant(read_only=call.read_only, name=name)(
            _typed(dress(act), injected, names)
        )
        if call.undo is not None:
            declared.undo(_typed(dress(undo), injected, ["of_result"]))
        if call.cancel is not None:
            confirm, cancel = self._finishing()
            declared.confirm(_typed(dress(confirm), injected, ["of_result"]))
            declared.cancel(_typed(dress(cancel), injected, ["of_result"]))

    def _acting(self, part: str) -> tuple[Callable[..., Any], Callable[..., None]]:
        """Effects in the service's own database; a try's under a key of their own."""

        def act(session: Session, call: Call, **_: Any) -> Any:
            self._trouble_before("participant refuses", "participant fails")
            _book(session, call, 1, part)
            self._trouble_after()
            return self._result(call)

        def undo(session: Session, call: Call, **_: Any) -> None:
            self._trouble_before("", "undo fails")
            _book(session, call, -1)
            self._trouble_after()

        return act, undo

    def _calling(
        self, part: str, *, forgetful: bool, may_pause: bool
    ) -> tuple[Callable[..., Any], Callable[..., None]]:
        """Effects in the world outside; a try's under a key of their own."""

        def act(call: Call, **_: Any) -> Any:
            assert self.dice is not None
            if may_pause and self.dice.happens("worker paused before the effect"):
                self._pause()
            self.outside.refuse(call, anew=self.dice.happens("participant refuses"))
            self._trouble_before("", "participant fails")
            self.outside.do(call, forgetful=forgetful, part=part)
            self._trouble_after()
            return self._result(call)

        def undo(call: Call, **_: Any) -> None:
            self._trouble_before("", "undo fails")
            self.outside.undo(call, forgetful=forgetful)
            self._trouble_after()

        return act, undo

    def _finishing(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """What becomes of a try: what it holds is given back, and, if it is confirmed, the real effect happens."""

        def confirm(call: Call, session: Session | None = None, **_: Any) -> None:
            self._trouble_before("", "confirm or cancel fails")
            if session is None:
                self.outside.undo(call, forgetful=False, part=TRY)
                self.outside.do(call, forgetful=False)
            else:
                _book(session, call, -1, TRY)
                _book(session, call, 1)
            self._trouble_after()

        def cancel(call: Call, session: Session | None = None, **_: Any) -> None:
            self._trouble_before("", "confirm or cancel fails")
            if session is None:
                self.outside.undo(call, forgetful=False, part=TRY)
                self.outside.undo(call, forgetful=False)
            else:
                _book(session, call, -1, TRY)
            self._trouble_after()

        return confirm, cancel

    def _looking(self) -> Callable[..., Any]:
        def look(call: Call, **_: Any) -> Any:
            self._trouble_before("participant refuses", "participant fails")
            return self._result(call)

        return look

    def _result(self, call: Call) -> Any:
        name = call.step.partition("[")[0]
        return self._results.get(name, self._results.get(""))

    def _trouble_before(self, refuses: str, fails: str) -> None:
        assert self.dice is not None
        if refuses and self.dice.happens(refuses):
            raise Refused("sold out")
        if self.dice.happens(fails):
            raise OSError("the disk is full")
        if self.dice.happens("worker killed before the effect"):
            raise Killed

    def _trouble_after(self) -> None:
        assert self.dice is not None
        if self.dice.happens("participant fails after its effect"):
            raise OSError("the disk is full now")
        if self.dice.happens("participant times out"):
            raise TimeoutError("it took too long")
        if self.dice.happens("worker killed after the effect"):
            raise Killed


def _book(session: Session, call: Call, delta: int, part: str = "") -> None:
    session.connection().exec_driver_sql(
        "INSERT INTO ledger VALUES (?, ?, ?, ?)",
        (call.idempotency_key + part, call.run_id, call.step, delta),
    )


def _go_on() -> None:
    """Nothing to wait for."""


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def plain(**arguments: Any) -> Any:
        return function(**arguments)

    return plain


def _asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    async def asynchronous(**arguments: Any) -> Any:
        await asyncio.sleep(0)
        session = arguments.pop("session", None)
        if session is None:
            return function(**arguments)
        return await session.run_sync(lambda inner: function(session=inner, **arguments))

    return asynchronous


def _typed(
    function: Callable[..., Any], injected: dict[str, Any], names: list[str]
) -> Callable[..., Any]:
    """The function with the signature that a user would have written."""
    hints: dict[str, Any] = {**injected, **dict.fromkeys(names, Any)}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(name, kind, annotation=hint)
        if name in injected
        else inspect.Parameter(name, kind, annotation=hint, default=None)
        for name, hint in hints.items()
    ]

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = hints
    return function
