"""Mail: the receipts that went out. Some mail servers turn down the first attempt ("greylisting")."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from celery.signals import worker_init
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Call, Retry, Service
from workers.databases import database_url, prepare
from workers.payments import Payment
from workers.shipping import Parcel

mail = Service("mail", database=database_url("mail"), timeout=60)


class Tables(DeclarativeBase):
    """The tables of this service."""


class Letter(Tables):
    """A receipt that was sent."""

    __tablename__ = "letter"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    tracking: Mapped[str]
    total_cents: Mapped[int]


class Notice(Tables):
    """Word of money that came in."""

    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount_cents: Mapped[int]


class Greylisting(Tables):
    """A customer whose mail server wants everything twice."""

    __tablename__ = "greylisting"

    customer: Mapped[str] = mapped_column(primary_key=True)


class Receipt(msgspec.Struct, frozen=True):
    """What the customer gets for the money."""

    number: int
    tracking: str
    total_cents: int


class TryAgainLaterError(Exception):
    """The customer's mail server didn't take it yet."""


@mail.participant(retry=Retry(attempts=None, budget=timedelta(hours=1)))
def send_receipt(
    session: Session, call: Call, customer: str, payment: Payment, parcel: Parcel
) -> Receipt:
    """Tell the customer. Stands behind the pivot, so it is tried until it works."""
    if call.attempt == 1 and session.get(Greylisting, customer) is not None:
        raise TryAgainLaterError(f"451 greylisted, try again later: {customer}")
    letter = Letter(customer=customer, tracking=parcel.tracking, total_cents=payment.amount_cents)
    session.add(letter)
    session.flush()
    return Receipt(letter.id, parcel.tracking, payment.amount_cents)


@mail.participant(retry=Retry(attempts=None, budget=timedelta(hours=1)))
def tell(session: Session, customer: str, amount_cents: int) -> int:
    """Tell a customer that money has come in; returns the notice's number."""
    notice = Notice(customer=customer, amount_cents=amount_cents)
    session.add(notice)
    session.flush()
    return notice.id


FIRST_GREYLISTING = ("north-07", "north-19")


@worker_init.connect
def prepare_database(**_signal: object) -> None:
    """Make the tables, before the first worker process starts."""
    prepare("mail", Tables, [Greylisting(customer=name) for name in FIRST_GREYLISTING])
