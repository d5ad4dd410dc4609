"""The services of a schedule: real ``Service`` objects with real barriers, whose business is one row in a ledger.

A participant with a ``Session`` writes to its service's SQLite database. One with a ``Call`` changes the outside world,
which knows effects by their idempotency keys. The world in front of a service without a database refuses a key that
has been cancelled; that of the service ``courier`` forgets it, as some do, so there an action that comes after its
undo takes effect, and only the epoch stands between. Its messages arrive at once or never: later is outside the
promise (docs/participants.md).
"""

from __future__ import annotations

import inspect
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from orchestrator.definition.plan import Call as Step
from orchestrator.errors import Refused
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.perform import WithDatabase, WithoutDatabase
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import DEFAULT_PAYLOAD_LIMIT, Service
from orchestrator.testing.simulation.dice import Dice
from orchestrator.testing.simulation.plans import FORGETFUL
from orchestrator.testing.simulation.ports import Killed

PROCESSES = 2
"""Worker processes of each service but ``courier``, which has one: what a process has heard dies with it."""

_TRY = "#try"
"""Behind the key of a try's own effect, which has to be gone at the end."""

Key = tuple[str, str]
"""Run and step."""


class Effect(NamedTuple):
    """What stands in the ledgers for one effect: how often it was done and undone."""

    run: str
    step: str
    key: str
    done: int
    undone: int

    @property
    def is_try(self) -> bool:
        """Whether it is what a branch of an atomic group holds until its group is decided."""
        return self.key.endswith(_TRY)


class Outside:
    """The world behind the services that call it: effects by idempotency key."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.owners: dict[str, Key] = {}
        self.done: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()

    def refuse(self, call: Call, *, anew: bool) -> None:
        """Raise ``Refused`` for a key that was refused or cancelled before, and for any other if ``anew``."""
        state = self.states.get(call.idempotency_key)
        if anew and state is None:
            state = self.states[call.idempotency_key] = "refused"
        if state in {"refused", "cancelled"}:
            raise Refused(f"this key was {state}")

    def do(self, call: Call, *, forgetful: bool, key: str = "") -> None:
        """Take effect once per key, which is the call's unless given."""
        key = key or call.idempotency_key
        state = self.states.get(key)
        if state == "done" or (state == "undone" and not forgetful):
            return
        self.owners[key] = (call.run_id, call.step)
        self.states[key] = "done"
        self.done[key] += 1

    def undo(self, call: Call, *, forgetful: bool, key: str = "") -> None:
        """Take back what there is; a careful world remembers that there was nothing."""
        key = key or call.idempotency_key
        if self.states.get(key) == "done":
            self.states[key] = "undone"
            self.undone[key] += 1
        elif not forgetful:
            self.states.setdefault(key, "cancelled")


class _Ledger:
    """One service's database. Made once, emptied for each schedule."""

    def __init__(self, owner: Shop) -> None:
        self.engine: Engine = create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"isolation_level": None, "check_same_thread": False},
        )
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE ledger (key TEXT, run TEXT, step TEXT, delta INTEGER)"
            )
        plain_commit = self.engine.dialect.do_commit

        def commit(connection: Any) -> None:
            fault = owner.dice and owner.dice.which(
                "participant's commit unknown, written", "participant's commit unknown, not written"
            )
            if fault == "participant's commit unknown, not written":
                connection.rollback()
            else:
                plain_commit(connection)
            if fault:
                raise sqlite3.OperationalError("the connection was lost in COMMIT")

        self.engine.dialect.do_commit = commit  # type: ignore[method-assign, assignment]

    def clear(self) -> None:
        with self.engine.begin() as connection:
            names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")
            for (name,) in names.fetchall():
                connection.exec_driver_sql(f"DELETE FROM {name}")  # noqa: S608 - our own tables

    def effects(self) -> list[Effect]:
        query = (
            "SELECT run, step, key, sum(delta > 0), sum(delta < 0) FROM ledger"
            " GROUP BY run, step, key"
        )
        with self.engine.connect() as connection:
            return [Effect(*row) for row in connection.exec_driver_sql(query)]


class Shop:
    """Services for a set of calls, in several worker processes. One at a time is in use: see ``open``."""

    def __init__(self, calls: Iterable[Step]) -> None:
        self.dice: Dice | None = None
        self.outside = Outside()
        self._results: dict[str, Any] = {}
        by_service: dict[str, dict[str, Step]] = {}
        for call in calls:
            by_service.setdefault(call.service, {}).setdefault(call.participant, call)
        with_database = {
            name
            for name, known in by_service.items()
            if any(call.barrier for call in known.values())
        }
        self._ledgers = {service: _Ledger(self) for service in sorted(with_database)}
        self._processes = [
            [self._service(name, known) for name, known in sorted(by_service.items())]
            for _ in range(PROCESSES)
        ]
        self._executors = [WorkExecutor(Registry.of(services)) for services in self._processes]
        self._bare = WorkExecutor(Registry.of([]))

    def open(self, dice: Dice, results: dict[str, Any]) -> None:
        """Begin a schedule: nothing is known and nothing has happened."""
        self.dice = None
        for ledger in self._ledgers.values():
            ledger.clear()
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

    def _forget(self, process: int, but: str = "") -> None:
        for service in self._processes[process]:
            if service.database is not None:
                service.performer = WithDatabase(service.database, DEFAULT_PAYLOAD_LIMIT)
            elif service.name != but:
                service.performer = WithoutDatabase(DEFAULT_PAYLOAD_LIMIT)

    def _service(self, name: str, calls: dict[str, Step]) -> Service:
        ledger = self._ledgers.get(name)
        service = Service(name, database=None if ledger is None else ledger.engine)
        if service.database is not None:
            service.database.engine()  # makes the barrier's tables now: a schedule is to begin as all others do
        for participant, call in sorted(calls.items()):
            self._declare(
                service, participant, call, forgetful=ledger is not None or name == FORGETFUL
            )
        return service

    def _declare(self, service: Service, name: str, call: Step, *, forgetful: bool) -> None:
        """Attach one participant, with the parameters that its calls give it."""
        session = call.barrier
        tried = _TRY if call.cancel is not None or call.branch == "database" else ""
        act, undo = self._acting(tried) if session else self._calling(tried, forgetful=forgetful)
        if call.read_only:
            act = self._looking()
        names = ["ended"] if name == "hear" else sorted(call.args)
        injected: dict[str, Any] = {"session": Session, "call": Call} if session else {"call": Call}
        declared = service.participant(read_only=call.read_only, name=name)(
            _typed(act, injected, names)
        )
        if call.undo is not None:
            declared.undo(_typed(undo, injected, ["of_result"]))
        if call.cancel is not None or call.branch == "database":
            # SQLite can't prepare, so a prepared transaction is played by a try with a barrier.
            confirm, cancel = self._finishing()
            declared.confirm(_typed(confirm, injected, ["of_result"]))
            declared.cancel(_typed(cancel, injected, ["of_result"]))

    def _acting(self, tried: str) -> tuple[Callable[..., Any], Callable[..., None]]:
        """Effects in the service's own database; those of a try under a key of their own."""

        def act(session: Session, call: Call, **_: Any) -> Any:
            self._trouble_before("participant refuses", "participant fails")
            _book(session, call, 1, tried)
            self._trouble_after()
            return self._result(call)

        def undo(session: Session, call: Call, **_: Any) -> None:
            self._trouble_before("", "undo fails")
            _book(session, call, -1)
            self._trouble_after()

        return act, undo

    def _calling(
        self, tried: str, *, forgetful: bool
    ) -> tuple[Callable[..., Any], Callable[..., None]]:
        """Effects in the world outside; those of a try under a key of their own."""

        def act(call: Call, **_: Any) -> Any:
            assert self.dice is not None
            self.outside.refuse(call, anew=self.dice.happens("participant refuses"))
            self._trouble_before("", "participant fails")
            self.outside.do(call, forgetful=forgetful, key=call.idempotency_key + tried)
            self._trouble_after()
            return self._result(call)

        def undo(call: Call, **_: Any) -> None:
            self._trouble_before("", "undo fails")
            self.outside.undo(call, forgetful=forgetful)
            self._trouble_after()

        return act, undo

    def _finishing(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """What becomes of a try: its own effect is taken back, and, confirmed, the real one happens."""

        def confirm(call: Call, session: Session | None = None, **_: Any) -> None:
            self._trouble_before("", "confirm or cancel fails")
            if session is None:
                self.outside.undo(call, forgetful=False, key=call.idempotency_key + _TRY)
                self.outside.do(call, forgetful=False)
            else:
                _book(session, call, -1, _TRY)
                _book(session, call, 1)
            self._trouble_after()

        def cancel(call: Call, session: Session | None = None, **_: Any) -> None:
            self._trouble_before("", "confirm or cancel fails")
            if session is None:
                self.outside.undo(call, forgetful=False, key=call.idempotency_key + _TRY)
                self.outside.states.setdefault(call.idempotency_key, "cancelled")
            else:
                _book(session, call, -1, _TRY)
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


def _book(session: Session, call: Call, delta: int, suffix: str = "") -> None:
    session.connection().exec_driver_sql(
        "INSERT INTO ledger VALUES (?, ?, ?, ?)",
        (call.idempotency_key + suffix, call.run_id, call.step, delta),
    )


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

    def typed(**arguments: Any) -> Any:
        return function(**arguments)

    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    typed.__annotations__ = hints
    return typed
