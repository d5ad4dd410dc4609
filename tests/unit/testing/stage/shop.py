"""Services of every kind, and sagas that use them, for the tests of the ``sagas`` fixture."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import (
    Call,
    Ended,
    Refused,
    Retry,
    Service,
    parallel,
    remote,
    saga,
    sleep,
    wait_for,
    when,
)

stock = Service("stock", database="sqlite:///not/to/be/opened.db", timeout=60)
bank = Service("bank", timeout=30, retry=Retry(attempts=3))
post = Service("post", timeout=10)
courier = remote("courier")
scribe = Service("scribe", payload_limit=100)

HEARD: list[str] = []
"""What the world outside was asked for; emptied by the tests' fixture."""


class Tables(DeclarativeBase):
    """Of ``stock``."""


class Article(Tables):
    """What is on the shelf."""

    __tablename__ = "article"

    sku: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


@dataclass(frozen=True)
class Hold:
    """What is held."""

    sku: str
    weight: int


@dataclass(frozen=True)
class Approval:
    """What a person said."""

    granted: bool


@stock.participant
def reserve(session: Session, sku: str, quantity: int = 1) -> Hold:
    article = session.get(Article, sku)
    if article is None or article.left < quantity:
        raise Refused("out of stock", data={"sku": sku})
    article.left -= quantity
    return Hold(sku, 100 * quantity)


@reserve.undo
def release(session: Session, hold: Hold) -> None:
    session.get_one(Article, hold.sku).left += 1


@stock.participant(read_only=True)
def weigh(session: Session, sku: str) -> int:
    return len(sku)


@bank.participant
def charge(call: Call, customer: str, cents: int) -> str:
    HEARD.append(f"charge {call.attempt} {call.idempotency_key == f'{call.run_id}:{call.step}'}")
    if cents > 1_000:
        raise Refused("no money", data={"missing": cents - 1_000})
    return f"{customer} paid {cents}"


@charge.undo
def refund(call: Call, payment: str | None) -> None:
    HEARD.append(f"refund {payment}")


@bank.participant
def audit() -> None:
    HEARD.append("audit")


@post.participant(retry=Retry(attempts=None, budget=timedelta(days=1)))
async def announce(call: Call, text: str) -> str:
    await asyncio.sleep(0)
    HEARD.append(f"announce {text}")
    return text.upper()


@announce.undo
async def take_back(call: Call, text: str) -> None:
    HEARD.append(f"take back {text}")


@post.participant
def listen(call: Call, ended: Ended) -> None:
    HEARD.append(f"heard: {ended.status}")


@scribe.participant
def letter() -> str:
    return "dear"


@courier.participant(undo=True)
def fetch(weight: int) -> str:
    raise NotImplementedError


@saga()
def order(sku: str, cents: int) -> str:
    """Reserve, then charge and announce at once, then have it fetched."""
    hold = reserve(sku)
    with parallel():
        paid = charge("ada", cents)
        announce(sku)
    fetch(hold.weight)
    return paid


order.on_completed(listen)


@saga(timeout=timedelta(days=30))
def approved(sku: str) -> str:
    """Wait for a person, then for a day."""
    reserve(sku)
    approval = wait_for("approval", Approval, timeout=timedelta(days=2))
    with when(approval.granted):
        sleep(timedelta(days=1))
        announce(sku)
    return sku


@saga()
def slow_reader(sku: str) -> str:
    """Wait for a person for as long as it takes."""
    wait_for("go", str)
    return announce(sku)


@saga()
def many(skus: list[str]) -> list[Hold]:
    """Reserve each."""
    holds = reserve.map(skus)
    audit()
    return holds


@saga()
def correspond() -> str:
    """Write a letter."""
    return letter()


@saga()
def both(sku: str) -> None:
    """Audit, and wait for a person at the same time, with no way back."""
    announce.pivot(sku)
    with parallel():
        audit()
        wait_for("go", str, timeout=timedelta(days=2))
