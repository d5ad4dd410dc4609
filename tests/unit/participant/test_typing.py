"""What mypy and pyright make of participants: ``make types`` checks this file, pytest only that it imports.

An error that must be found is ignored by its code; an ignore that isn't needed is an error itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.definition.retry import Retry
from orchestrator.participant.call import Call
from orchestrator.participant.service import Service, remote


@dataclass
class Hold:
    """A result."""

    weight: int


inventory = Service("inventory", database="postgresql+psycopg://nowhere/inventory")
shipping = remote("shipping")


@inventory.participant(timeout=30, retry=Retry(attempts=5))
def reserve(session: Session, sku: str, quantity: int) -> Hold:
    return Hold(quantity)


@reserve.undo
def release(session: Session, hold: Hold) -> None: ...


@inventory.participant
async def reserve_async(session: AsyncSession, call: Call, sku: str, quantity: int = 3) -> Hold:
    return Hold(quantity)


@inventory.participant
async def plain_async(sku: str) -> Hold:
    return Hold(1)


@inventory.participant(read_only=True)
def nothing() -> Hold:
    return Hold(1)


@inventory.participant
def both(call: Call, session: Session, sku: str) -> Hold:
    return Hold(1)


@shipping.participant(undo=True)
def book(address: str) -> Hold:
    raise NotImplementedError


def right() -> None:
    assert_type(reserve("a", 1), Hold)
    assert_type(reserve.pivot(sku="a", quantity=1), Hold)
    assert_type(reserve.options(timeout=3)("a", 1), Hold)
    assert_type(reserve_async("a"), Hold)
    assert_type(plain_async("a"), Hold)
    assert_type(nothing(), Hold)
    assert_type(both("a"), Hold)
    assert_type(book("Lane 1"), Hold)
    assert_type(release(Session(), Hold(1)), None)


def wrong() -> None:
    reserve(1, 1)  # type: ignore[arg-type]
    reserve("a")  # type: ignore[call-arg]
    reserve_async(sku="a", quantity="x")  # type: ignore[arg-type]
    nothing(1)  # type: ignore[call-arg]
    book(7)  # type: ignore[arg-type]


def test_declared_as_typed() -> None:
    assert sorted(inventory.participants) == [
        "both",
        "nothing",
        "plain_async",
        "reserve",
        "reserve_async",
    ]
