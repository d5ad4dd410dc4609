"""``Service``: a group of participants with one queue, one database and common defaults; and ``remote`` ones.

A service owns its database's engine and knows its participants; it registers nowhere else, so that what a worker
serves is what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import URL, Engine

from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError, SagaError
from orchestrator.participant.barrier import Held
from orchestrator.participant.database import Database
from orchestrator.participant.declare import NAME, Declare, Participant
from orchestrator.participant.handler import Handler
from orchestrator.participant.perform import WithDatabase, WithoutDatabase
from orchestrator.participant.two_phase.branches import Branches

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_PAYLOAD_LIMIT = 1_048_576
"""In bytes of JSON."""


class Service:
    """Participants that live together.

    ``database``: a URL, or an engine of yours, of the database that the participants' ``Session`` writes to; the
    barrier's two tables stand there too, and are made when they are missing unless ``create_barrier`` is False.
    ``queue``: the Celery queue, ``saga.<name>`` unless given. ``timeout`` (seconds or a timedelta) and ``retry`` are
    the participants' defaults. ``payload_limit``: the most bytes of JSON a result may have. ``two_phase``: participants
    that declare a ``Session`` may stand inside ``atomic()``: their work is prepared in the database, PostgreSQL or
    MariaDB, and committed or rolled back once the group has decided.

    Raises ``DefinitionError`` for what can't work; connects to nothing until a worker needs it.
    """

    def __init__(
        self,
        name: str,
        database: str | URL | Engine | None = None,
        *,
        queue: str | None = None,
        timeout: Duration = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        create_barrier: bool = True,
        payload_limit: int = DEFAULT_PAYLOAD_LIMIT,
        two_phase: bool = False,
    ) -> None:
        self.name, self.queue, self.timeout_s, self.retry = _defaults(name, queue, timeout, retry)
        self.is_remote = False
        self.two_phase = two_phase
        if payload_limit < 1:
            raise DefinitionError(f"service {name!r}: payload_limit is {payload_limit!r} bytes")
        self.payload_limit = payload_limit
        self.database = (
            None if database is None else Database(database, create_tables=create_barrier)
        )
        self.participants: dict[str, Participant[..., Any]] = {}
        """By name, undecorated."""
        self.performer: WithDatabase | WithoutDatabase = (
            WithoutDatabase(payload_limit)
            if self.database is None
            else WithDatabase(self.database, payload_limit, two_phase=two_phase)
        )
        if two_phase and self.database is None:
            raise DefinitionError(
                f"service {name!r}: two_phase=True prepares transactions of its database, and it has none: give it "
                "database=..., or declare a try with @action.confirm and @action.cancel, which needs no two_phase"
            )
        self.participant = Declare(self)
        """Decorates a function to make it a participant; takes options: see ``Declare``."""

    def __repr__(self) -> str:
        return f"<service {self.name}>"

    def check(self, handler: Handler) -> None:
        """Raise ``DefinitionError`` if the function wants a session that this service hasn't got."""
        if not handler.wants_session:
            return
        if self.database is None:
            raise DefinitionError(
                f"{handler.name} declares a Session, but service {self.name!r} has no database: give it "
                f"Service({self.name!r}, database=...), or declare a Call instead"
            )
        if "async session" in handler.injected and not self.database.is_async_capable:
            raise DefinitionError(
                f"{handler.name} declares an AsyncSession, which needs a URL whose driver works both ways, as "
                f"postgresql+psycopg does; service {self.name!r} has {self.database.url.drivername}: write it as a "
                "plain function with a Session"
            )

    def has_barrier(self, handler: Handler) -> bool:
        """Only what is written through a session is settled by the barrier row beside it."""
        return handler.wants_session

    def can_prepare(self, handler: Handler) -> bool:
        """What is written through a session of a two-phase service."""
        return self.two_phase and handler.wants_session

    @property
    def branches(self) -> Branches | None:
        """The branches of atomic groups in its database; None unless it is a two-phase service."""
        performer = self.performer
        return performer.branches if isinstance(performer, WithDatabase) else None

    def register(self, participant: Participant[..., Any]) -> None:
        """Take a participant in. Raises ``DefinitionError`` for a name that is taken."""
        name = participant.spec.name
        if name in self.participants:
            raise DefinitionError(
                f"service {self.name!r} has two participants named {name!r}; rename one, or give it name="
            )
        self.participants[name] = participant

    def create_tables(self) -> None:
        """Make the barrier's tables where they are missing; for deployments with ``create_barrier=False``."""
        self._own_database("no barrier").create_tables()

    def prune(self, older_than: timedelta) -> int:
        """Delete barrier rows older than this and return how many; see ``Barrier.prune`` for what is safe."""
        self._own_database("nothing to prune")
        assert isinstance(self.performer, WithDatabase)
        return self.performer.barrier.prune(older_than)

    def held(self) -> Iterator[Held]:
        """Every effect that this service's barrier remembers; ``DefinitionError`` without a database."""
        self._own_database("it remembers nothing")
        assert isinstance(self.performer, WithDatabase)
        return self.performer.barrier.held()

    def held_of(self, run: str) -> list[Held]:
        """The effects of one run that this service's barrier remembers; ``DefinitionError`` without a database."""
        self._own_database("it remembers nothing")
        assert isinstance(self.performer, WithDatabase)
        return self.performer.barrier.held_of(run)

    def dispose(self) -> None:
        """Let go of the database connections; they are made again when needed. A forked worker calls it first."""
        if self.database is not None:
            self.database.dispose()

    def _own_database(self, consequence: str) -> Database:
        if self.database is None:
            raise DefinitionError(f"service {self.name!r} has no database, so {consequence}")
        return self.database


class RemoteService:
    """Contracts of participants that live in another repository: typed, called in sagas, never run here."""

    def __init__(
        self,
        name: str,
        *,
        queue: str | None,
        barrier: bool,
        two_phase: bool,
        timeout: Duration,
        retry: Retry | None,
    ) -> None:
        self.name, self.queue, self.timeout_s, self.retry = _defaults(name, queue, timeout, retry)
        if two_phase and not barrier:
            raise DefinitionError(
                f"remote service {name!r}: two_phase=True is for a database with a barrier"
            )
        self.is_remote = True
        self.barrier = barrier
        self.two_phase = two_phase
        self.participants: dict[str, Participant[..., Any]] = {}
        self.participant = Declare(self)
        """As a service's; ``undo=True`` says that the participant has an undo."""

    def __repr__(self) -> str:
        return f"<remote service {self.name}>"

    def check(self, handler: Handler) -> None:
        """Raise ``DefinitionError``: a contract has only what travels."""
        if handler.injected:
            injected = ", ".join(handler.injected.values())
            raise DefinitionError(
                f"{handler.name} is a remote contract: leave out {injected}, which only its own worker injects"
            )

    def has_barrier(self, handler: Handler) -> bool:
        """What the contract was declared with."""
        del handler
        return self.barrier

    def can_prepare(self, handler: Handler) -> bool:
        """What the contract was declared with."""
        del handler
        return self.two_phase

    def register(self, participant: Participant[..., Any]) -> None:
        """Take a contract in, and see to it that its body is never run."""
        name = participant.spec.name
        if name in self.participants:
            raise DefinitionError(
                f"remote service {self.name!r} has two participants named {name!r}"
            )
        self.participants[name] = participant
        qualified = participant.spec.qualified

        def elsewhere(*_args: object, **_kwargs: object) -> None:
            raise SagaError(f"{qualified} lives in another repository and can't be run here")

        participant.function = elsewhere


def remote(
    name: str,
    queue: str | None = None,
    *,
    barrier: bool = True,
    two_phase: bool = False,
    timeout: Duration = DEFAULT_TIMEOUT_S,
    retry: Retry | None = None,
) -> RemoteService:
    """A service of another repository.

    ``barrier``: its participants write through a ``Session`` of theirs, so that their barrier settles whether an
    action took effect; say False for those that only call the outside world. ``two_phase``: its own ``Service`` says
    so, and they may stand inside ``atomic()``. The other arguments are as in
    ``Service``. Raises ``DefinitionError``.
    """
    return RemoteService(
        name, queue=queue, barrier=barrier, two_phase=two_phase, timeout=timeout, retry=retry
    )


def _defaults(
    name: str, queue: str | None, timeout: Duration, retry: Retry | None
) -> tuple[str, str, float, Retry]:
    if not NAME.fullmatch(name):
        raise DefinitionError(f"{name!r} is no name for a service; letters, digits, _ and - only")
    if queue is not None and not queue.strip():
        raise DefinitionError(f"service {name!r}: the queue has no name")
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(f"service {name!r}: retry takes a Retry, not {retry!r}")
    timeout_s = seconds(timeout, f"service {name!r}, timeout")
    return name, queue or f"saga.{name}", timeout_s, retry or Retry()
