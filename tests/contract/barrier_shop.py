"""A service with stock in its database, for the suites about the barrier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from orchestrator.errors import Refused
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.transport.messages import Answer, Work
from tests.waiting import POLL_EVERY_S, eventually

DATABASES = ("sqlite", "postgres", "mariadb")


@dataclass
class Hold:
    """What a reservation returns."""

    sku: str
    quantity: int


class Kept:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answer(self, answers: Sequence[Answer]) -> None:
        self.answers.extend(answers)


class Shop:
    """A service with stock in its database, and levers for the tests to pull."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[str] = []
        self.before_commit: Callable[[], None] = lambda: None
        self.before_undo: Callable[[], None] = lambda: None
        self.service = Service("shop", database=url)
        self.declare()
        self.executor = WorkExecutor(Registry.of([self.service]))
        with self.session() as session:
            session.execute(
                text("CREATE TABLE stock (sku VARCHAR(20) PRIMARY KEY, left_over INTEGER)")
            )
            session.execute(text("INSERT INTO stock VALUES ('apple', 100)"))
            session.commit()

    def session(self) -> Session:
        assert self.service.database is not None
        return Session(self.service.database.engine())

    @property
    def stock(self) -> int:
        with self.session() as session:
            left: int = session.execute(text("SELECT left_over FROM stock")).scalar_one()
            return left

    @property
    def rows(self) -> dict[str, str]:
        with self.session() as session:
            found = session.execute(text("SELECT effect_key, status FROM saga_barrier"))
            return {row.effect_key: row.status for row in found}

    def send(self, *work: Work) -> list[Answer]:
        kept = Kept()
        self.executor.execute(work, kept)
        return kept.answers

    def one(self, work: Work) -> Answer:
        (answer,) = self.send(work)
        return answer

    def declare(self) -> None:
        self._declare_inside()
        self._declare_others()
        self._declare_outside()

    def _declare_inside(self) -> None:
        @self.service.participant
        def reserve(session: Session, sku: str, quantity: int) -> Hold:
            self.calls.append("reserve")
            take(session, quantity)
            if quantity == 13:
                raise Refused("unlucky", data={"quantity": quantity})
            if quantity == 14:
                raise ValueError("boom")
            self.before_commit()
            return Hold(sku, quantity)

        @reserve.undo
        def release(session: Session, hold: Hold, sku: str) -> None:
            self.calls.append(f"release {hold.quantity} {sku}")
            self.before_undo()
            take(session, -hold.quantity)

        @self.service.participant
        def burn(session: Session, quantity: int) -> None:
            take(session, quantity)

    def _declare_others(self) -> None:
        @self.service.participant(read_only=True)
        def look(session: Session) -> int:
            left: int = session.execute(text("SELECT left_over FROM stock")).scalar_one()
            return left

        @self.service.participant(read_only=True)
        def cheat(session: Session) -> None:
            take(session, 1)

        @self.service.participant
        def careless(session: Session, statement: str) -> None:
            take(session, 1)
            try:
                session.execute(text(statement))
            except Exception:  # noqa: BLE001 - what a careless participant does
                self.calls.append("caught")

        @self.service.participant
        def ends_itself(session: Session, how: str) -> None:
            take(session, 1)
            getattr(session, how)()

    def _declare_outside(self) -> None:
        @self.service.participant
        def charge(call: Call, amount: int) -> str:
            self.calls.append(f"charge {call.idempotency_key}")
            if amount == 14:
                raise ValueError("boom")
            if amount == 15:
                raise TimeoutError("no answer from the bank")
            if amount == 13:
                raise Refused("no money")
            return f"paid {amount}"

        @charge.undo
        def refund(call: Call, payment: str | None) -> None:
            self.calls.append(f"refund {call.idempotency_key} {payment}")


def take(session: Session, quantity: int) -> None:
    session.execute(text("UPDATE stock SET left_over = left_over - :q"), {"q": quantity})


def do(quantity: int = 2, **changes: Any) -> Work:
    work = Work(
        run="r1",
        shard=3,
        epoch=5,
        step="reserve",
        kind="do",
        attempt=1,
        participant="shop.reserve",
        args={"sku": "apple", "quantity": quantity},
        timeout_s=30,
        saga="order",
    )
    return replace(work, **changes)


def undo(quantity: int = 2, **changes: Any) -> Work:
    return do(quantity, kind="undo", **changes)


def charge(amount: int = 5, **changes: Any) -> Work:
    return do(step="charge", participant="shop.charge", args={"amount": amount}, **changes)


@contextmanager
def opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shop]:
    """Open a shop on the database that the fixture's parameter names."""
    url = f"sqlite:///{folder}/shop.db"
    if request.param != "sqlite":
        url = str(request.getfixturevalue(f"{request.param}_url"))
    shop = Shop(url)
    yield shop
    shop.executor.dispose()


def another_process(shop: Shop, heard: int) -> Shop:
    """The same service as another process has it, which has last heard of epoch ``heard``."""
    other = Shop.__new__(Shop)
    other.url = shop.url
    other.calls = []
    other.before_commit = other.before_undo = lambda: None
    other.service = Service("shop", database=shop.url)
    other.declare()
    other.executor = WorkExecutor(Registry.of([other.service]))
    other.service.performer.barrier._epochs[3] = heard  # type: ignore[union-attr] # has a database
    return other


def somebody_waits(url: str) -> bool:
    """Whether a transaction waits for another one's lock."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
        if url.startswith("postgresql")
        else "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    )
    with closing_engine(url) as engine, engine.connect() as connection:
        return bool(connection.execute(text(statement)).scalar_one())


def until_somebody_waits(url: str, *, what: str) -> None:
    """Wait until a transaction waits for another one's lock.

    InnoDB answers from a copy of its transactions, and renews the copy only when nobody has asked for
    it for 0.1 s: who polls faster than that sees the first answer for ever.
    """
    every_s = POLL_EVERY_S if url.startswith("postgresql") else 0.15
    eventually(lambda: somebody_waits(url), what=what, every_s=every_s)


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    """Open an engine of the test's own."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
