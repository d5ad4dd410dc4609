"""``Cast``: the participants of a test, with the real executor and the real barrier around each.

A service's double is a real ``Service``: on the database that the test gives it, else on one in memory, where what
wants a ``Session`` is played by a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from sqlalchemy import URL, Engine, MetaData, create_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import StaticPool

from orchestrator.definition.plan import Call, Plan
from orchestrator.definition.saga import Saga
from orchestrator.errors import StagingError
from orchestrator.participant.declare import Participant
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import DEFAULT_PAYLOAD_LIMIT, RemoteService, Service
from orchestrator.participant.source_facts import participants_near
from orchestrator.testing.stage.hiding import hidden
from orchestrator.testing.stage.made_up import made_up
from orchestrator.testing.stage.playing import AnyParticipant, AnyService, Playing, Scene
from orchestrator.testing.stage.script import Rule
from orchestrator.transport.messages import Answer, Work

__tracebackhide__ = hidden

Tables = MetaData | type[DeclarativeBase]
Source = str | URL | Engine


class Performance(NamedTuple):
    """What came of one command; ``ran`` and ``how`` as in ``Scene``."""

    answer: Answer
    ran: bool
    how: str


class _Double(NamedTuple):
    executor: WorkExecutor
    is_real: bool
    """Whether it has the database that its participants expect."""


class _Box:
    """A ``WorkerTransport`` that keeps the answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answer(self, answers: Sequence[Answer]) -> None:
        self.answers += answers


class Cast:
    """Who plays what. ``folder`` gives a place for files; ``shard`` is what participants take the shard for: a number
    that no other test has, as a database that outlives the test remembers the newest epoch of each shard.
    """

    def __init__(self, folder: Callable[[], Path], shard: int) -> None:
        self.outlives = False
        """Whether some database may hold what earlier tests left in it."""
        self._folder = folder
        self._shard = shard
        self._playing = Playing()
        self._known: dict[str, AnyParticipant] = {}
        self._homes: dict[str, AnyService] = {}
        self._doubles: dict[str, _Double] = {}
        self._engines: list[Engine] = []

    # -- who is there

    def learn(self, saga: Saga[..., Any], is_given: Callable[[str], bool]) -> None:
        """Find the participants of a saga.

        Raises ``StagingError`` for one that isn't to be found, and for a stand-in whose result can neither be made up
        nor ``is_given``.
        """
        near = participants_near(saga.function)
        for qualified in sorted(_called(saga.plan)):
            participant = self._known.get(qualified) or near.get(qualified)
            if participant is None:
                service = qualified.partition(".")[0]
                raise StagingError(
                    f"{saga.name} calls {qualified}, which isn't to be seen from the saga's module: say "
                    f"sagas.use(<the service {service!r}>) before it runs"
                )
            self._know(participant)
            if self._is_stand_in(participant) and not is_given(qualified):
                made_up(participant.handler.returns, qualified)

    def use(self, things: Iterable[AnyService | AnyParticipant]) -> list[AnyParticipant]:
        """Make services' participants known. Raises ``StagingError``."""
        found: list[AnyParticipant] = []
        for thing in things:
            if isinstance(thing, Participant):
                found.append(thing)
            elif isinstance(thing, Service | RemoteService):
                found += thing.participants.values()
            else:
                raise StagingError(f"{thing!r} is neither a service nor a participant")
        for participant in found:
            self._know(participant)
        return found

    def stand_in(self, things: Iterable[AnyService | AnyParticipant]) -> None:
        """From now on the functions of these aren't run."""
        found = self.use(things)
        self._playing.stand_ins.update(participant.spec.qualified for participant in found)

    def database(self, service: Service, source: Source | None, tables: Tables | None) -> Engine:
        """Have a service's participants run for real, on this database.

        Raises ``StagingError``, and ``DefinitionError`` for a database that can't be used.
        """
        if not isinstance(service, Service):
            raise StagingError(
                f"{service!r} isn't a service of this process that could have a database"
            )
        if service.database is None:
            raise StagingError(f"service {service.name!r} was declared without a database")
        if service.name in self._doubles:
            raise StagingError(f"say sagas.database({service.name}) once, before the first run")
        self.outlives = self.outlives or source is not None
        given = source or f"sqlite:///{self._folder() / service.name}.db"
        self._double(service, given)
        engine = given if isinstance(given, Engine) else self._own(create_engine(given))
        if tables is not None:
            metadata = tables if isinstance(tables, MetaData) else tables.metadata
            metadata.create_all(engine)
        return engine

    def close(self) -> None:
        """Let go of every connection."""
        for double in self._doubles.values():
            double.executor.dispose()
        for engine in self._engines:
            engine.dispose()

    # -- what they do

    def participant(self, qualified: str) -> AnyParticipant:
        """A participant that is known. Raises ``StagingError``."""
        if qualified not in self._known:
            raise StagingError(
                f"a run calls {qualified}, which this test doesn't know: launch it with sagas.start or sagas.client, "
                "or say sagas.use(<its service>)"
            )
        return self._known[qualified]

    def is_guarded(self, work: Work) -> bool:
        """Whether a barrier stands before its participant: then a copy waits for the one that runs."""
        participant = self.participant(work.participant)
        return _has_database(_home(participant)) and not participant.read_only

    def is_cut_off(self, work: Work, takes_s: float) -> bool:
        """Whether the function that carries it out is cancelled when its time is over, as asynchronous ones are."""
        participant = self.participant(work.participant)
        undo = participant.undo_handler
        handler = undo.handler if work.kind == "undo" and undo else participant.handler
        return handler.is_async and takes_s >= work.timeout_s

    def perform(self, work: Work, rule: Rule | None, *, cancelled: bool) -> Performance:
        """Carry out one command. Raises an ``AssertionError`` of the test's own stand-in."""
        home = _home(self.participant(work.participant))
        double = self._doubles.get(home.name) or self._double(home, None)
        scene = self._playing.scene = Scene(work, rule, cancelled=cancelled)
        box = _Box()
        double.executor.execute([replace(work, shard=self._shard)], box)
        if scene.failed is not None:
            raise scene.failed
        [answer] = box.answers
        # How long it really took is left out: the coordinator would bundle by it, and no two tests be the same.
        staged = replace(answer, shard=work.shard, took_s=0.0, worker="")
        return Performance(staged, scene.ran, scene.how)

    def _know(self, participant: AnyParticipant) -> None:
        home = _home(participant)
        if self._homes.setdefault(home.name, home) is not home:
            raise StagingError(
                f"two services are named {home.name!r}, and {participant.spec.qualified} is of the second: was its "
                "module imported anew? Use the service that the saga's own module sees"
            )
        self._known[participant.spec.qualified] = participant

    def _double(self, home: AnyService, source: Source | None) -> _Double:
        database = source
        if source is None and _has_database(home):
            memory = {"isolation_level": None, "check_same_thread": False}
            database = self._own(
                create_engine("sqlite://", poolclass=StaticPool, connect_args=memory)
            )
        limit = DEFAULT_PAYLOAD_LIMIT if isinstance(home, RemoteService) else home.payload_limit
        service = Service(home.name, database, queue=home.queue, payload_limit=limit)
        is_real = source is not None or not _has_database(home)
        for participant in home.participants.values():
            self._playing.play(participant, service, is_real=is_real)
        double = _Double(WorkExecutor(Registry.of([service])), is_real)
        self._doubles[home.name] = double
        return double

    def _own(self, engine: Engine) -> Engine:
        self._engines.append(engine)
        return engine

    def _is_stand_in(self, participant: AnyParticipant) -> bool:
        if participant.is_remote or participant.spec.qualified in self._playing.stand_ins:
            return True
        double = self._doubles.get(_home(participant).name)
        return participant.handler.wants_session and (double is None or not double.is_real)


def _called(plan: Plan) -> set[str]:
    calls = [step for step, _ in plan.steps() if isinstance(step, Call)]
    calls += [call for told in plan.callbacks.values() for call in told]
    return {f"{call.service}.{call.participant}" for call in calls}


def _home(participant: AnyParticipant) -> AnyService:
    home = participant.home
    assert isinstance(home, Service | RemoteService)
    return home


def _has_database(home: AnyService) -> bool:
    return home.barrier if isinstance(home, RemoteService) else home.database is not None
