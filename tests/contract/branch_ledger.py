"""A service with accounts whose bookings take part in atomic groups, in each way there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.errors import Refused
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.participant.two_phase.branches import Branches
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer, Work
from tests.contract.barrier_shop import Kept, closing_engine

PREPARED = ("postgres", "postgres async", "mariadb")
"""Branches that are prepared transactions."""
TRIES = ("try sqlite", "try postgres", "try postgres async", "try mariadb")
"""Branches that are tries with a barrier."""
OUTSIDE = "try outside"
"""A try without a database."""

TAKE = text("UPDATE account SET balance = balance - :amount WHERE name = :name")
HOLD = text("UPDATE account SET held = held + :amount WHERE name = :name")
START = 100


class Booking(msgspec.Struct, frozen=True):
    """What a booking returns."""

    amount: int
    name: str = "ann"


class Ledger:
    """One account, ``ann``, with 100 on it; ``ledger.debit`` takes some, as a branch of a group."""

    def __init__(self, kind: str, url: str | None, *, fresh: bool = True) -> None:
        self.kind = kind
        self.url = url
        self.calls: list[str] = []
        self.before_vote: Callable[[Session], None] = lambda _session: None
        self.in_confirm: Callable[[], None] = lambda: None
        self.service = Service("ledger", database=url, two_phase=kind in PREPARED)
        self.outside: Counter[str] = Counter()
        self._declare()
        self.executor = WorkExecutor(Registry.of([self.service]))
        if url is not None and fresh:
            self.prepare_database()

    def prepare_database(self) -> None:
        with self.session() as session:
            session.execute(
                text(
                    "CREATE TABLE IF NOT EXISTS account"
                    " (name VARCHAR(20) PRIMARY KEY, balance INTEGER, held INTEGER)"
                )
            )
            if not session.execute(text("SELECT count(*) FROM account")).scalar_one():
                session.execute(
                    text(f"INSERT INTO account VALUES ('ann', {START}, 0), ('bob', {START}, 0)")
                )
            session.commit()

    # -- what the tests look at

    @property
    def engine(self) -> Engine:
        assert self.service.database is not None
        return self.service.database.engine()

    @property
    def branches(self) -> Branches:
        assert self.service.branches is not None
        return self.service.branches

    def session(self) -> Session:
        return Session(self.engine)

    @property
    def balance(self) -> int:
        """What ann has for good."""
        if self.url is None:
            return START - self.outside["confirmed"]
        with self.session() as session:
            return int(
                session.execute(text("SELECT balance FROM account WHERE name = 'ann'")).scalar_one()
            )

    @property
    def pending(self) -> int:
        """How much is neither taken nor given back: held by tries, or 1 for each prepared transaction."""
        if self.url is None:
            return self.outside["held"]
        if self.kind in PREPARED:
            return len(self.branches.found())
        with self.session() as session:
            return int(session.execute(text("SELECT sum(held) FROM account")).scalar_one())

    @property
    def rows(self) -> dict[str, str]:
        with self.session() as session:
            found = session.execute(text("SELECT effect_key, status FROM saga_barrier"))
            return {row.effect_key: row.status for row in found}

    # -- what the tests send

    def one(self, work: Work) -> Answer:
        kept = Kept()
        self.executor.execute([work], kept)
        (answer,) = kept.answers
        return answer

    # -- the participants

    def _declare(self) -> None:
        if self.kind == OUTSIDE:
            self._declare_outside()
        elif self.kind == "try postgres async":
            self._declare_async_try()
        elif self.kind in TRIES:
            self._declare_try()
        elif self.kind == "postgres async":
            self._declare_async()
        else:
            self._declare_debit()
        if self.kind in PREPARED:
            self._declare_others()

    def _declare_debit(self) -> None:
        @self.service.participant
        def debit(session: Session, amount: int, name: str = "ann") -> Booking:
            self.calls.append("debit")
            session.execute(TAKE, {"amount": amount, "name": name})
            _say(amount)
            self.before_vote(session)
            return Booking(amount, name)

        @debit.undo
        def give_back(session: Session, booking: Booking) -> None:
            self.calls.append("give back")
            session.execute(TAKE, {"amount": -booking.amount, "name": booking.name})

    def _declare_async(self) -> None:
        @self.service.participant
        async def debit(session: AsyncSession, amount: int, name: str = "ann") -> Booking:
            self.calls.append("debit")
            await session.execute(TAKE, {"amount": amount, "name": name})
            _say(amount)
            await session.run_sync(self.before_vote)
            return Booking(amount, name)

        @debit.undo
        async def give_back(session: AsyncSession, booking: Booking) -> None:
            self.calls.append("give back")
            await session.execute(TAKE, {"amount": -booking.amount, "name": booking.name})

    def _declare_try(self) -> None:
        @self.service.participant
        def debit(session: Session, amount: int, name: str = "ann") -> Booking:
            self.calls.append("debit")
            session.execute(HOLD, {"amount": amount, "name": name})
            _say(amount)
            self.before_vote(session)
            return Booking(amount, name)

        @debit.confirm
        def settle(session: Session, booking: Booking) -> None:
            self.calls.append("confirm")
            self.in_confirm()
            session.execute(HOLD, {"amount": -booking.amount, "name": booking.name})
            session.execute(TAKE, {"amount": booking.amount, "name": booking.name})

        @debit.cancel
        def free(session: Session, booking: Booking) -> None:
            self.calls.append("cancel")
            session.execute(HOLD, {"amount": -booking.amount, "name": booking.name})

        @debit.undo
        def give_back(session: Session, booking: Booking) -> None:
            self.calls.append("give back")
            session.execute(TAKE, {"amount": -booking.amount, "name": booking.name})

    def _declare_async_try(self) -> None:
        @self.service.participant
        async def debit(session: AsyncSession, amount: int, name: str = "ann") -> Booking:
            self.calls.append("debit")
            await session.execute(HOLD, {"amount": amount, "name": name})
            _say(amount)
            return Booking(amount, name)

        @debit.confirm
        async def settle(session: AsyncSession, booking: Booking) -> None:
            self.calls.append("confirm")
            self.in_confirm()
            await session.execute(HOLD, {"amount": -booking.amount, "name": booking.name})
            await session.execute(TAKE, {"amount": booking.amount, "name": booking.name})

        @debit.cancel
        async def free(session: AsyncSession, booking: Booking) -> None:
            self.calls.append("cancel")
            await session.execute(HOLD, {"amount": -booking.amount, "name": booking.name})

        @debit.undo
        async def give_back(session: AsyncSession, booking: Booking) -> None:
            self.calls.append("give back")
            await session.execute(TAKE, {"amount": -booking.amount, "name": booking.name})

    def _declare_outside(self) -> None:
        @self.service.participant
        def debit(call: Call, amount: int, name: str = "ann") -> Booking:
            self.calls.append("debit")
            _say(amount)
            self._set(call, held=amount)
            return Booking(amount, name)

        @debit.confirm
        def settle(call: Call, booking: Booking) -> None:
            self.calls.append("confirm")
            self.in_confirm()
            self._set(call, confirmed=booking.amount)

        @debit.cancel
        def free(call: Call, booking: Booking | None) -> None:
            self.calls.append("cancel")
            self._set(call)

    def _set(self, call: Call, **state: int) -> None:
        """The other side, which knows one effect by its key."""
        assert call.idempotency_key.startswith("r1:")
        self.outside = Counter(state)

    def _declare_others(self) -> None:
        @self.service.participant
        def look(session: Session) -> int:
            return int(
                session.execute(text("SELECT balance FROM account WHERE name = 'ann'")).scalar_one()
            )

        @self.service.participant
        def run(session: Session, statement: str) -> None:
            session.execute(TAKE, {"amount": 1, "name": "bob"})
            session.execute(text(statement))

        @self.service.participant(read_only=True)
        def promised(session: Session) -> int:
            return int(
                session.execute(text("SELECT balance FROM account WHERE name = 'ann'")).scalar_one()
            )


def _say(amount: int) -> None:
    if amount == 13:
        raise Refused("unlucky", data={"amount": amount})
    if amount == 14:
        raise ValueError("boom")


def prepare(amount: int = 30, **changes: Any) -> Work:
    work = Work(
        run="r1",
        shard=3,
        epoch=5,
        step="debit",
        kind="prepare",
        attempt=1,
        participant="ledger.debit",
        args={"amount": amount},
        timeout_s=10,
        saga="transfer",
    )
    return replace(work, **changes)


def commit(**changes: Any) -> Work:
    """As the coordinator sends it: with the result that came with the vote."""
    told = {"amount": 30, "name": "ann"}
    return prepare(**{"kind": "commit", "attempt": 2, "result": told, **changes})


def abort(**changes: Any) -> Work:
    return prepare(**{"kind": "abort", "attempt": 2, **changes})


GID = Gid(3, 0, "r1", "debit")
"""The branch of all three."""


@contextmanager
def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Ledger]:
    """Open a ledger of a kind."""
    database = kind.removeprefix("try ").removesuffix(" async")
    url = None if database == "outside" else f"sqlite:///{folder}/ledger.db"
    if database in {"postgres", "mariadb"}:
        url = str(request.getfixturevalue(f"{database}_url"))
    ledger = Ledger(kind, url)
    try:
        yield ledger
    finally:
        ledger.executor.dispose()


def by_hand(url: str, statement: str) -> list[Any]:
    """What a database administrator does, in a session of theirs."""
    with (
        closing_engine(url) as engine,
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        result = connection.exec_driver_sql(statement)
        return list(result.all()) if result.returns_rows else []


def ended_by_hand(ledger: Ledger, ending: str) -> None:
    """A database administrator ends the prepared branch: ``COMMIT`` or ``ROLLBACK``."""
    assert ledger.url is not None
    if ledger.url.startswith("postgresql"):
        by_hand(ledger.url, f"{ending} PREPARED '{GID}'")
        return
    ((xid,),) = [row[3:] for row in by_hand(ledger.url, "XA RECOVER FORMAT='SQL'")]
    by_hand(ledger.url, f"XA {ending} {xid}")
