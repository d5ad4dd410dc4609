"""Asynchronous participants with an ``AsyncSession``: the same barrier, on the process's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.errors import Refused
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.transport.messages import Answer, Work
from tests.contract.barrier_shop import Kept, closing_engine


class AsyncShop:
    """A service whose participants are all asynchronous."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loops: set[int] = set()
        self.service = Service("shop", database=url)
        with closing_engine(url) as engine, engine.begin() as connection:
            connection.execute(text("CREATE TABLE stock (left_over INTEGER)"))
            connection.execute(text("INSERT INTO stock VALUES (100)"))

        @self.service.participant
        async def reserve(session: AsyncSession, quantity: int) -> int:
            self.loops.add(id(asyncio.get_running_loop()))
            await take(session, quantity)
            if quantity == 13:
                raise Refused("unlucky")
            if quantity == 60:
                await asyncio.Event().wait()
            return quantity

        @reserve.undo
        async def release(session: AsyncSession, done: int) -> None:
            await take(session, -done)

        self.executor = WorkExecutor(Registry.of([self.service]))

    @property
    def stock(self) -> int:
        with closing_engine(self.url) as engine, engine.connect() as connection:
            left: int = connection.execute(text("SELECT left_over FROM stock")).scalar_one()
            return left

    def one(self, quantity: int, **changes: object) -> Answer:
        fields = {"run": "r", "kind": "do", "attempt": 1, "timeout_s": 30.0} | changes
        work = Work(
            shard=0,
            epoch=1,
            step="reserve",
            participant="shop.reserve",
            args={"quantity": quantity},
            **fields,  # type: ignore[arg-type] # the test's own fields
        )
        kept = Kept()
        self.executor.execute([work], kept)
        (answer,) = kept.answers
        return answer


async def take(session: AsyncSession, quantity: int) -> None:
    await session.execute(text("UPDATE stock SET left_over = left_over - :q"), {"q": quantity})


@pytest.fixture
def shop(postgres_url: str) -> Iterator[AsyncShop]:
    shop = AsyncShop(postgres_url)
    yield shop
    shop.executor.dispose()


def test_do_duplicate_and_undo(shop: AsyncShop) -> None:
    assert [shop.one(5).duplicate for _ in range(2)] == [False, True]
    assert shop.stock == 95
    assert shop.one(5, kind="undo").outcome == "succeeded"
    assert shop.one(5).outcome == "rejected"
    assert shop.stock == 100
    assert len(shop.loops) == 1


def test_refused_is_rolled_back(shop: AsyncShop) -> None:
    assert [shop.one(13).outcome for _ in range(2)] == ["refused", "refused"]
    assert shop.stock == 100


def test_too_slow_is_cancelled_and_rolled_back(shop: AsyncShop) -> None:
    answer = shop.one(60, timeout_s=0.2)
    assert answer.outcome == "failed"
    assert answer.failure is not None
    assert "builtins.TimeoutError" in answer.failure.kinds
    assert shop.stock == 100
    assert shop.one(1, attempt=2).outcome == "succeeded"
