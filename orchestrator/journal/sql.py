"""The journal in PostgreSQL or SQLite.

What differs between the two is in ``postgresql``, ``sqlite`` and the launches; the rest is SQLAlchemy Core.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from orchestrator.definition.plan import Plan
from orchestrator.errors import InvalidInputError, RunNotFoundError, SchemaError
from orchestrator.journal import (
    archive_removal,
    clusters,
    launches,
    leases,
    listing,
    log,
    operations,
    postgresql,
    recent,
    sqlite,
    tally,
)
from orchestrator.journal.bulk_rows import SEND, SEND_POSTGRESQL, SqlBulks
from orchestrator.journal.database import Database, meaning
from orchestrator.journal.held_connection import HeldConnection
from orchestrator.journal.hold_rows import SqlHolds
from orchestrator.journal.incident import ClusterPage
from orchestrator.journal.plans import PlanStore
from orchestrator.journal.port import (
    Archived,
    Happened,
    InboxItem,
    Launched,
    LaunchRequest,
    LeaseState,
    OperationFilter,
    OperationPage,
    Page,
    Recent,
    Recorded,
    RunFilter,
    ShardWrite,
    Summarize,
    Tenure,
)
from orchestrator.journal.records import recorded, shard_of
from orchestrator.journal.schema import SHARD
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Inbound
from orchestrator.kernel.summary import RunSummary

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class SqlJournal(SqlBulks, SqlHolds):
    """A ``Journal`` in a database whose tables ``upgrade`` has made.

    ``source`` is a URL or an engine. A PostgreSQL engine is used as it is (and stays open after ``close``); of a
    SQLite engine only the URL is taken, because the journal's connections need settings of their own.
    ``retry_s`` is how long a read is tried again while the database can't be reached.
    """

    def __init__(self, source: str | URL | Engine, *, retry_s: float = 5.0) -> None:
        self._database = Database(source, retry_s)
        self._owns_engine = self._database.engine is not source
        self._plans = PlanStore(self._database)
        self._shards = 0
        self._held = HeldConnection(self._database.engine) if self._database.is_postgresql else None

    @property
    def database(self) -> Database:
        """For what else is kept in the journal's database."""
        return self._database

    @property
    def engine(self) -> Engine:
        """The engine the journal uses."""
        return self._database.engine

    def close(self) -> None:
        """Let go of connections; an engine that was handed in is left alone."""
        if self._held is not None:
            self._held.close()
        if self._owns_engine:
            self._database.close()

    def shards(self) -> int:
        """How many shards the journal has."""
        if not self._shards:
            query = select(func.count()).select_from(SHARD)
            self._shards = self._database.read(lambda connection: connection.scalar(query)) or 0
        if not self._shards:
            raise SchemaError("the journal has no shards: run `saga db upgrade`")
        return self._shards

    # What a coordinator does

    def take_leases(self, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
        """Renew this owner's leases, and take or give back some to hold ``wanted`` in all."""
        return self._database.write(
            lambda connection: leases.take(connection, owner, now, ttl_s, wanted)
        )

    def drop_leases(self, owner: str, shards: Sequence[int]) -> None:
        """Give leases back at once."""
        self._database.write(lambda connection: leases.drop(connection, owner, shards))

    def coordinators(self, now: float) -> list[str]:
        """Owners alive now."""
        return self._database.read(lambda connection: leases.alive(connection, now))

    def begin_tenure(self, shard: int, owner: str, at: float, beyond: int = 0) -> Tenure:
        """Become the shard's writer, fencing every earlier one."""
        return self._database.write(
            lambda connection: log.begin_tenure(connection, shard, owner, at, beyond)
        )

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """Write one turn, all or nothing; see the port."""
        if not writes:
            return []
        if self._held is not None:
            return postgresql.append(self._held, writes)
        return sqlite.append(self._database, writes)

    def inbox(self, shards: Sequence[int], after: dict[int, int], limit: int) -> list[InboxItem]:
        """Waiting messages; see the port."""
        held = self._held
        if not shards:
            return []
        if held is not None:
            return self._database.retried(lambda: postgresql.inbox(held, shards, after, limit))
        return self._database.read(lambda connection: log.inbox(connection, shards, after, limit))

    def open_runs(self, shard: int) -> list[str]:
        """Runs in the log that still need the coordinator, oldest first."""
        return self._database.read(lambda connection: listing.open_runs(connection, shard))

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        """The events of several runs, each in order."""
        return self._database.read(
            lambda connection: log.histories(self._database, connection, shard, run_ids)
        )

    # What clients do

    def launch(self, requests: Sequence[LaunchRequest], session: Any = None) -> list[Launched]:
        """Write launches to the inbox; see the port. ``session`` is a Session or a Connection."""
        if not requests:
            return []
        shards = self.shards()
        rows = launches.launch_rows(requests, shards)
        plans = launches.plans_of(requests, self._plans.known)
        if session is not None:
            return self._launch_within(_connection_of(session), rows, plans)
        for plan_hash, plan in plans.items():
            self._plans.store(plan_hash, plan)
        winners: dict[tuple[str, str | None], str] = {}
        if self._database.is_postgresql:
            new = self._database.write_single(
                lambda connection: launches.insert_postgresql(connection, rows)
            )
        else:
            new = self._database.write(lambda connection: launches.insert_sqlite(connection, rows))
        if len(new) < len(rows):
            winners = self._database.read(lambda connection: launches.winners_of(connection, rows))
        return launches.launched(rows, new, winners, shards)

    def send(self, run_id: str, message: Inbound) -> None:
        """Put a message for a run into its shard's inbox. Raises ``RunNotFoundError``, ``EncodingError``."""
        values = {"run_id": run_id, "message": encode_message(message).decode()}
        if self._database.is_postgresql:
            write, statement = self._database.write_single, SEND_POSTGRESQL
        else:
            write, statement = self._database.write, SEND
        if "\0" in run_id or not write(
            lambda connection: connection.execute(statement, values).rowcount
        ):
            raise RunNotFoundError(f"there is no run {run_id!r}")

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run by its id, a prefix of it, its key, or ``saga:key``."""
        return self._database.read(lambda connection: listing.find(connection, id_or_prefix))

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs, newest first. Raises ``InvalidInputError`` for a malformed cursor."""
        return self._database.read(
            lambda connection: listing.page(connection, where, cursor, limit)
        )

    def clusters(
        self,
        sagas: Sequence[str] = (),
        cursor: str | None = None,
        limit: int = 50,
        prefix: str = "",
    ) -> ClusterPage:
        """A page of clusters of open incidents; see the port. Raises ``InvalidInputError`` for a malformed cursor."""
        return self._database.read(
            lambda connection: clusters.page(connection, sagas, prefix, cursor, limit)
        )

    def noticed(self) -> dict[str, float]:
        """When people were last told of a cluster."""
        return self._database.read(clusters.noticed)

    def claim_notice(self, cluster: str, now: float, every_s: float) -> bool:
        """Whether it is the caller who tells people of a cluster now; see the port."""
        return self._database.write(
            lambda connection: clusters.claim(connection, cluster, now, every_s)
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Saga to status to number of runs."""
        return self._database.read(tally.counts)

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        return self.histories(shard_of(run_id, self.shards()), [run_id])[run_id]

    def feed(self, shard: int, after: int, limit: int) -> list[Recorded]:
        """The shard's log from ``after`` on, exclusive, without holes."""
        rows = self._database.read(
            lambda connection: log.rows_after(connection, shard, after, limit)
        )
        return [recorded(row) for row in rows]

    def recent(self, since: float, limit: int) -> Recent:
        """Every shard's records since a time; see the port."""
        shards = self.shards()
        return self._database.read(
            lambda connection: recent.recent(connection, shards, since, limit)
        )

    def happened(
        self, since: float, limit: int, types: Collection[str], sagas: Collection[str] = ()
    ) -> Happened:
        """How many records of these types each minute has; see the port."""
        shards = self.shards()
        return self._database.read(
            lambda connection: recent.happened(connection, shards, since, limit, types, sagas)
        )

    def operations(
        self, where: OperationFilter, cursor: str | None = None, limit: int = 50
    ) -> OperationPage:
        """A page of what was done to runs, newest first. Raises ``InvalidInputError``."""
        return self._database.read(
            lambda connection: operations.page(connection, where, cursor, limit)
        )

    def altered(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[int]]:
        """Events of these runs that the hash chain doesn't vouch for."""
        return self._database.read(
            lambda connection: operations.altered(connection, shard, run_ids)
        )

    def end(self, shard: int) -> int:
        """The offset of the shard's last record, to find out what a commit without an answer did."""
        return self._database.read(lambda connection: log.end_of(connection, shard))[0]

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan. Raises ``UnknownSagaError``."""
        return self._plans.plan(plan_hash)

    def plans(self) -> list[Plan]:
        """Every stored plan, by saga and version."""
        return self._plans.plans()

    def leases(self) -> list[LeaseState]:
        """Every lease that is held."""
        return self._database.read(leases.states)

    def archived(self, run_ids: Sequence[str]) -> dict[str, str]:
        """How those of the runs ended that were moved to an archive."""
        return self._database.read(lambda connection: listing.archived(connection, run_ids))

    def archives(self) -> Archived:
        """How much was archived."""
        return self._database.read(archive_removal.totals)

    def verify(self) -> Iterator[str]:
        """Walk every shard's log; one line per thing that is wrong."""
        return log.verify(self._database, self.shards())

    def miscounted(self) -> list[str]:
        """What ``counts`` has wrong; one line per thing."""
        return self._database.read(lambda connection: list(tally.miscounted(connection)))

    def rebuild(self, summarize: Summarize) -> int:
        """Make the read model anew, a shard at a time; returns the number of runs."""
        upsert = postgresql.upsert_runs if self._database.is_postgresql else sqlite.upsert_runs
        return sum(
            log.rebuild_shard(self._database, shard, self.plan, summarize, upsert)
            for shard in range(self.shards())
        )

    def transaction(self) -> AbstractContextManager[Session]:
        """A session in one transaction; commits at the end, rolls back on an exception."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        from sqlalchemy.orm import Session  # noqa: PLC0415 - a fifth of the start-up time of `saga`

        with Session(self.engine) as session, session.begin():
            yield session

    def _launch_within(
        self, connection: Connection, rows: list[launches.LaunchRow], plans: dict[str, Plan]
    ) -> list[Launched]:
        theirs, ours = connection.dialect.name, self.engine.dialect.name
        if theirs != ours:
            raise InvalidInputError(
                f"the session is connected to {theirs}, the journal is in {ours}:"
                " only a session of the journal's own database can take a launch along"
            )
        try:
            for plan_hash, plan in plans.items():
                self._plans.store_within(connection, plan_hash, plan)
            insert: Callable[[Connection, Sequence[launches.LaunchRow]], set[str]] = (
                launches.insert_postgresql
                if self._database.is_postgresql
                else launches.insert_sqlite
            )
            new = insert(connection, rows)
            winners = launches.winners_of(connection, rows) if len(new) < len(rows) else {}
        except DBAPIError as error:
            meant = meaning(error, connection.engine)
            if meant is error:
                raise
            raise meant from error
        return launches.launched(rows, new, winners, self.shards())


def _connection_of(session: Any) -> Connection:
    if isinstance(session, Connection):
        return session
    from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415 - as above

    if isinstance(session, Session | scoped_session):
        return session.connection()
    raise InvalidInputError(
        f"session is a {type(session).__name__}: pass a SQLAlchemy Session or Connection"
        " (of an AsyncSession: its sync_session, inside run_sync)"
    )
