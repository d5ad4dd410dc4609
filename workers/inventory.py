"""The warehouse: a count of every article, and what is held of it for orders."""

from __future__ import annotations

import msgspec
from celery.signals import worker_init
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Refused, Retry, Service
from workers.databases import database_url, prepare

inventory = Service(
    "inventory", database=database_url("inventory"), timeout=60, retry=Retry(attempts=5)
)


class Tables(DeclarativeBase):
    """The tables of this service."""


class Article(Tables):
    """What is on the shelf. ``stock`` never goes below 0."""

    __tablename__ = "article"

    sku: Mapped[str] = mapped_column(primary_key=True)
    weight_g: Mapped[int]
    stock: Mapped[int]


class Held(Tables):
    """What was taken from the shelf for an order."""

    __tablename__ = "held"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    quantity: Mapped[int]
    released: Mapped[bool] = mapped_column(default=False)


class Hold(msgspec.Struct, frozen=True):
    """The promise that an order's articles are there."""

    id: int
    weight_g: int


@inventory.participant
def reserve(session: Session, sku: str, quantity: int) -> Hold:
    """Take articles from the shelf."""
    article = session.get(Article, sku, with_for_update=True)
    if article is None:
        raise Refused(f"there is no article {sku}")
    if article.stock < quantity:
        raise Refused(f"out of stock: {sku}", data={"stock": article.stock})
    article.stock -= quantity
    held = Held(sku=sku, quantity=quantity)
    session.add(held)
    session.flush()
    return Hold(held.id, article.weight_g * quantity)


@reserve.undo
def release(session: Session, hold: Hold) -> None:
    """Put them back."""
    held = session.get_one(Held, hold.id)
    article = session.get_one(Article, held.sku, with_for_update=True)
    article.stock += held.quantity
    held.released = True


FIRST_STOCK = {
    "apple": (150, 400),
    "blanket": (900, 300),
    "candle": (300, 300),
    "kettle": (1_100, 200),
    "lantern": (700, 10),
    "rope": (1_500, 200),
}
"""Article to weight in grams and count. Lanterns are scarce."""


@worker_init.connect
def prepare_database(**_signal: object) -> None:
    """Make the tables and fill the shelves, before the first worker process starts."""
    articles = [Article(sku=sku, weight_g=w, stock=n) for sku, (w, n) in FIRST_STOCK.items()]
    prepare("inventory", Tables, articles)
