"""Everything in one process on real databases: launch, complete, compensate, get stuck, repair."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from orchestrator import (
    AsyncClient,
    Call,
    Compensated,
    Ended,
    Refused,
    Retry,
    Saga,
    Service,
    Stuck,
    parallel,
    saga,
    wait_for,
    when,
)
from orchestrator.definition.action import Action
from orchestrator.definition.saga import Registry
from orchestrator.errors import (
    InvalidInputError,
    OperationRefusedError,
    PayloadTooLargeError,
    ResultTimeoutError,
)
from orchestrator.journal.port import RunFilter
from orchestrator.settings import Settings
from orchestrator.wiring import Definitions, Embedded, embedded
from tests.waiting import eventually


class Order(msgspec.Struct):
    """What is bought."""

    id: str
    amount: int
    refuse: bool = False
    gift: bool = False


class Shop(NamedTuple):
    """A running embedded orchestrator with one service."""

    it: Embedded
    place: Saga[[Order], str]
    approve: Saga[[Order], str]
    url: str
    switch: dict[str, bool]

    def balance(self) -> int:
        engine = create_engine(self.url)
        with engine.connect() as connection:
            total = connection.scalar(text("SELECT coalesce(sum(amount), 0) FROM charge"))
        engine.dispose()
        return int(total or 0)


class Participants(NamedTuple):
    """What the shop's sagas call."""

    service: Service
    charge: Action[[str, int], str]
    look: Action[[str], int]
    ship: Action[[Order, str], str]
    tell: Action[[Ended], None]


def participants(url: str, switch: dict[str, bool]) -> Participants:
    service = Service("shop", database=url)
    patience = Retry(attempts=2, initial=0.01, cap=0.02)

    @service.participant(timeout=10, retry=patience)
    def charge(session: Session, order_id: str, amount: int) -> str:
        session.execute(
            text("INSERT INTO charge VALUES (:id, :amount)"), {"id": order_id, "amount": amount}
        )
        return f"receipt {order_id}"

    @charge.undo(retry=patience)
    def refund(session: Session, receipt: str, order_id: str) -> None:
        if not switch["refund works"]:
            raise ConnectionError("the provider is away")
        session.execute(text("DELETE FROM charge WHERE id = :id"), {"id": order_id})

    @service.participant(read_only=True)
    def look(order_id: str) -> int:
        return len(order_id)

    @service.participant
    def ship(call: Call, order: Order, receipt: str) -> str:
        if order.refuse:
            raise Refused("can't be shipped")
        return f"{order.id} shipped under {call.idempotency_key[:4]}"

    @service.participant
    def tell(ended: Ended) -> None:
        switch["told"] = ended.status == "completed"

    return Participants(service, charge, look, ship, tell)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    url = f"sqlite:///{tmp_path}/shop.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE charge (id TEXT PRIMARY KEY, amount INTEGER)"))
    engine.dispose()
    switch = {"refund works": True, "told": False}
    service, charge, look, ship, tell = participants(url, switch)
    registry = Registry()

    @saga(version=1, registry=registry)
    def place(order: Order) -> str:
        with parallel():
            receipt = charge(order.id, order.amount)
            look(order.id)
        with when(order.gift):
            look("a gift")
        return ship(order, receipt)

    place.on_completed(tell)

    @saga(registry=registry)
    def approve(order: Order) -> str:
        charge(order.id, order.amount)
        said = wait_for("approval", bool, timeout=60)
        with when(said):
            look(order.id)
        return order.id

    settings = Settings(journal_url=f"sqlite:///{tmp_path}/journal.db", shards=2, poll_s=0.05)
    with embedded(Definitions({s.name: s for s in registry}, [service]), settings) as it:
        yield Shop(it, place, approve, url, switch)


def test_a_run_completes_and_its_end_is_told(shop: Shop) -> None:
    run = shop.it.client.launch(shop.place, Order("o1", 5, gift=True))
    assert run.result(timeout=20).startswith("o1 shipped")
    assert shop.balance() == 5


def test_a_refusal_is_compensated_and_the_money_is_back(shop: Shop) -> None:
    run = shop.it.client.launch(shop.place, Order("o1", 5, refuse=True))
    with pytest.raises(Compensated, match="can't be shipped"):
        run.result(timeout=20)
    assert shop.balance() == 0


def test_an_undo_that_keeps_failing_is_stuck_until_retried(shop: Shop) -> None:
    shop.switch["refund works"] = False
    run = shop.it.client.launch(shop.place, Order("o1", 5, refuse=True))
    with pytest.raises(Stuck, match="the provider is away"):
        run.result(timeout=20)
    assert shop.balance() == 5
    shop.switch["refund works"] = True
    shop.it.client.retry(run.id, reason="provider is back")
    eventually(lambda: run.summary().status == "compensated", timeout_s=20)
    assert shop.balance() == 0
    retried = [record for record in shop.it.client.history(run.id) if record.type == "StepRetried"]
    assert [record.actor for record in retried] == [Settings().actor]


def test_one_key_is_one_run(shop: Shop) -> None:
    first = shop.it.client.launch(shop.place, Order("o1", 5), key="k")
    again = shop.it.client.launch(shop.place, Order("o1", 5), key="k")
    assert (again.id, again.created) == (first.id, False)
    first.result(timeout=20)
    assert shop.balance() == 5


def test_many_runs_at_once(shop: Shop) -> None:
    orders = [(Order(f"o{number}", 1),) for number in range(100)]
    runs = shop.it.client.launch_many(shop.place, orders)
    for run in runs:
        run.result(timeout=60)
    assert shop.balance() == 100
    assert list(shop.it.journal.verify()) == []


def test_the_same_with_asyncio(shop: Shop) -> None:
    async def story() -> list[str]:
        client = AsyncClient(shop.it.client)
        first = await client.launch(shop.place, Order("o1", 5), key="one")
        again = await client.launch_named("place", {"order": {"id": "o1", "amount": 5}}, key="one")
        assert (again.id, again.created) == (first.id, False)
        many = await client.launch_many(shop.place, [(Order("o2", 1),), (Order("o3", 1),)])
        results = [await run.result(timeout=30) for run in (first, *many)]
        waiting = await client.launch(shop.approve, Order("o4", 7))
        await waiting.signal("approval", data=True)
        results.append(await waiting.result(timeout=30))
        cancelled = await client.launch(shop.approve, Order("o5", 7))
        await cancelled.cancel("no more")
        with pytest.raises(Compensated, match="no more"):
            await cancelled.result(timeout=30)
        listed = await client.list(RunFilter(status=("completed",)))
        assert {run.run_id for run in listed.runs} == {
            first.id,
            waiting.id,
            *(run.id for run in many),
        }
        assert "RunCompleted" in [record.type for record in await client.history(first.id)]
        with pytest.raises(OperationRefusedError):
            await client.retry(first.id)
        return results

    results = asyncio.run(story())
    assert [result[:2] for result in results] == ["o1", "o2", "o3", "o4"]
    assert shop.balance() == 14


def test_a_signal_lets_a_run_go_on(shop: Shop) -> None:
    run = shop.it.client.launch(shop.approve, Order("o1", 5))
    with pytest.raises(ResultTimeoutError):
        run.result(timeout=0.3)
    run.signal("approval", True)
    assert asyncio.run(run.result_async(timeout=20)) == "o1"


def test_cancelling_undoes(shop: Shop) -> None:
    run = shop.it.client.launch(shop.approve, Order("o1", 5))
    run.cancel("changed my mind")
    with pytest.raises(Compensated, match="changed my mind"):
        run.result(timeout=20)
    assert shop.balance() == 0
    with pytest.raises(OperationRefusedError):
        run.cancel()


def test_a_launch_in_the_callers_own_transaction(shop: Shop) -> None:
    engine = shop.it.journal.engine  # type: ignore[attr-defined]
    with Session(engine) as session:
        run = shop.it.client.launch(shop.place, Order("o1", 5), session=session)
        session.rollback()
    assert shop.it.client.list().runs == ()
    with Session(engine) as session:
        run = shop.it.client.launch(shop.place, Order("o1", 5), session=session)
        session.commit()
    assert run.result(timeout=20)


def test_bad_input_is_refused_at_launch(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="amount"):
        shop.it.client.launch_named("place", {"order": {"id": "o1", "amount": "five"}})
    with pytest.raises(PayloadTooLargeError):
        shop.it.client.launch(shop.place, Order("x" * 2_000_000, 5))
    assert shop.it.client.list().runs == ()
