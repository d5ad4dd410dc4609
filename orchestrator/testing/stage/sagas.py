"""``Sagas``: what the fixture of this name is: sagas run in this process, on virtual time, as the test says."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, TypeVarTuple

from sqlalchemy import URL, Engine, MetaData
from sqlalchemy.orm import DeclarativeBase

from orchestrator.client.client import Client
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.saga import Saga
from orchestrator.errors import StagingError
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel.messages import Launch
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import RemoteService, Service
from orchestrator.testing import proof
from orchestrator.testing.stage.cast import Cast
from orchestrator.testing.stage.hiding import hidden
from orchestrator.testing.stage.run import SagaRun
from orchestrator.testing.stage.script import (
    Rule,
    Script,
    When,
    WhenUndoing,
    check_participant,
    check_undo,
)
from orchestrator.testing.stage.world import World

__tracebackhide__ = hidden

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Rule)
Ts = TypeVarTuple("Ts")

Thing = Service | RemoteService | Participant[..., Any]


class Sagas:
    """Runs sagas for one test. Without pytest: ``with Sagas() as sagas``, which checks and closes at its end.

    Participants run for real, but for those that declare a ``Session`` of a service to which ``database`` gives none,
    those of other repositories, and those of which ``stand_in`` or a rule says otherwise: these are stand-ins.
    ``name`` makes the runs' ids, so that a test is the same each time; ``folder`` gives a place for databases.
    """

    def __init__(self, name: str = "", folder: Callable[[], Path] | None = None) -> None:
        self._name = name
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._script = Script()
        self._cast = Cast(folder or self._own_folder, secrets.randbelow(2**31))
        self._world = World(self._cast, self._script)
        self._sagas: dict[str, Saga[..., Any]] = {}
        self._launched = 0

    def __repr__(self) -> str:
        return f"<sagas of {self._name or 'a test'}: {len(self._world.stories)} runs>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None:
            self.check()

    # -- what is to happen

    def when(
        self, participant: Participant[P, R], *, step: str | None = None, optional: bool = False
    ) -> When[P, R]:
        """Say what happens when this participant's action is to be carried out: ``when(charge).refuses("no money")``.

        ``step`` limits it to one step (with its place, as in ``book[1]``, to one item of a ``.map()``). What is never
        reached fails the test, unless ``optional``. Raises ``StagingError``.
        """
        check_participant(participant, "when")
        return self._said(When(participant, "when", step, optional=optional))

    def when_undoing(
        self, participant: Participant[..., Any], *, step: str | None = None, optional: bool = False
    ) -> WhenUndoing:
        """The same for this participant's undo: ``when_undoing(charge).fails(times=2)``."""
        check_participant(participant, "when_undoing")
        check_undo(participant)
        return self._said(WhenUndoing(participant, "when_undoing", step, optional=optional))

    def stand_in(self, *things: Thing) -> None:
        """Don't run the functions of these services or participants: each returns what ``when(...).returns`` says, or
        a plain value of its type.
        """
        self._cast.stand_in(things)

    def use(self, *things: Thing) -> None:
        """Name services whose participants can't be seen from the module of the saga that calls them."""
        self._cast.use(things)

    def database(
        self,
        service: Service,
        source: str | URL | Engine | None = None,
        *,
        tables: MetaData | type[DeclarativeBase] | None = None,
    ) -> Engine:
        """Run this service's participants for real, on a new SQLite file or the database given; gives its engine.

        ``tables`` are made in it, as are the barrier's. Say it before the first run. Raises ``StagingError``, and
        ``DefinitionError`` for a database that can't be used.
        """
        return self._cast.database(service, source, tables)

    # -- running

    def run(
        self,
        saga: Callable[[*Ts], R],
        *args: *Ts,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> SagaRun[R]:
        """Run a saga until it has ended, is stuck, or only a signal could make it go on. Time passes as it needs.

        Raises ``InvalidInputError``, ``StagingError``.
        """
        return self.start(saga, *args, key=key, tags=tags).finish()

    def start(
        self,
        saga: Callable[[*Ts], R],
        *args: *Ts,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> SagaRun[R]:
        """Launch a saga and do what can be done at once; for the rest, ``advance`` or ``run.finish()``."""
        defined = self._learned(saga)
        message = Launch(
            at=self._world.now,
            actor="test",
            run_id=self._run_id(),
            saga=defined.name,
            version=defined.version,
            plan=defined.plan_hash,
            input=defined.encode_input(*args),
            key=key,
            tags=dict(tags or {}),
        )
        [launched] = self._world.journal.launch([LaunchRequest(message, defined.plan)])
        self._world.happen()
        return SagaRun(self._world, launched.run_id, defined)

    def advance(
        self,
        duration: Duration = 0.0,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Let so much time pass, in seconds or as a timedelta; everything that is due meanwhile happens."""
        given = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        more = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        self._world.pass_time(self._world.now + _checked_s(given + more))

    @property
    def now(self) -> datetime:
        """What time it is: every test begins on 1 January 2030."""
        return datetime.fromtimestamp(self._world.now, UTC)

    def client(self, *sagas: Saga[..., Any]) -> Client:
        """A client, for code under test that launches these sagas. What it sends is done at once, as by ``start``."""
        self._world.sagas.update((saga.name, self._learned(saga)) for saga in sagas)
        return self._world.client

    @property
    def runs(self) -> list[SagaRun[Any]]:
        """Every run of this test, in the order of their launches."""
        return [
            SagaRun(self._world, run_id, self._sagas[story.program.plan.saga])
            for run_id, story in self._world.stories.items()
        ]

    # -- proving

    def verify(
        self,
        saga: Saga[..., Any],
        *,
        faults: int = proof.FAULTS,
        careless: bool = False,
        worlds_max: int = proof.WORLDS_MAX,
    ) -> proof.Report:
        """Explore everything that can go wrong with a saga, as ``saga verify`` does.

        Raises ``InvariantViolated`` with the shortest counterexample, ``AssertionError`` where a bound cut it short.
        """
        __tracebackhide__ = True
        report = proof.verify(saga, faults=faults, careless=careless, worlds_max=worlds_max)
        if (shown := report.counterexample) is not None:
            raise proof.InvariantViolated(
                f"{proof.told(shown)}\n\nA test that reproduces it:\n\n{shown.test}"
            )
        if report.cut:
            raise AssertionError(
                f"{saga.name}: not everything was seen: {'; '.join(report.cut)}. Say fewer faults= or more worlds_max="
            )
        return report

    # -- the end of a test

    def check(self) -> None:
        """Raise ``AssertionError`` if something that was said of a participant never came about."""
        if vain := self.in_vain():
            raise AssertionError("\n".join(vain))

    def in_vain(self) -> list[str]:
        """What was said of participants and never came about, a line for each."""
        return [self._vain(rule, said) for rule, said in self._script.unreached()]

    def report(self) -> str:
        """Every run told, for a test that failed."""
        return "\n\n".join(run.timeline for run in self.runs)

    def close(self) -> None:
        """Let go of databases."""
        self._cast.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- how it is done

    def _said(self, rule: S) -> S:
        self._script.add(rule)
        self._cast.use([rule.participant])
        return rule

    def _learned(self, saga: Callable[..., R]) -> Saga[..., R]:
        if not isinstance(saga, Saga):
            raise StagingError(f"{saga!r} is not a saga: decorate it with @saga")
        self._cast.learn(saga, self._script.replaces)
        self._sagas[saga.name] = saga
        return saga

    def _run_id(self) -> str:
        self._launched += 1
        if self._cast.outlives:  # the barrier there may know the ids of earlier tests
            return uuid.uuid4().hex
        return hashlib.sha256(f"{self._name}:{self._launched}".encode()).hexdigest()[:32]

    def _own_folder(self) -> Path:
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sagas-")
        return Path(self._temporary.name)

    def _vain(self, rule: Rule, said: str) -> str:
        name = rule.participant.spec.qualified
        called = {one.participant for run in self.runs for one in run.calls()}
        if not self.runs:
            why = "no saga was run"
        elif name not in called:
            why = f"no run called {name}; called were {', '.join(sorted(called)) or 'none'}"
        else:
            why = f"{name} was called, but that never came about"
        return (
            f"{rule!r} ({rule.where}): {said} was never reached: {why}. Take it out, or write "
            f"sagas.when({name}, optional=True)"
        )


def _checked_s(duration: timedelta) -> float:
    return seconds(duration, "sagas.advance()", zero=True)
