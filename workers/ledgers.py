"""Two ledgers, each with accounts in a database that can prepare transactions: money moves all or not at all.

``LEDGER_A_DATABASE_URL`` and ``LEDGER_B_DATABASE_URL`` name PostgreSQL or MariaDB databases; SQLite can't take part.
Without them they are on the server that `make dev` starts (``ledger_server``), where its wheel is installed.
"""

from __future__ import annotations

import os

import msgspec
from celery.signals import worker_init
from sqlalchemy import CheckConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import String

from orchestrator import DefinitionError, Refused, Service
from workers.databases import prepare
from workers.ledger_server import default_url


def _url(ledger: str) -> str:
    variable = f"{ledger.upper()}_DATABASE_URL"
    url = os.environ.get(variable) or default_url(ledger)
    if url is None:
        raise DefinitionError(
            f"the saga transfer needs a PostgreSQL or MariaDB database for each of its ledgers: set {variable}, as in "
            f"postgresql+psycopg://postgres@localhost/{ledger}"
        )
    return url


ledger_a = Service("ledger-a", database=_url("ledger_a"), timeout=10, two_phase=True)
ledger_b = Service("ledger-b", database=_url("ledger_b"), timeout=10, two_phase=True)


class Tables(DeclarativeBase):
    """The tables of each ledger."""


class Account(Tables):
    """Somebody's money in one ledger."""

    __tablename__ = "ledger_account"
    __table_args__ = (CheckConstraint("balance_cents >= 0"),)

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    balance_cents: Mapped[int]


class Entry(msgspec.Struct, frozen=True):
    """What was booked."""

    owner: str
    amount_cents: int
    balance_cents: int


@ledger_a.participant
def debit(session: Session, owner: str, amount_cents: int) -> Entry:
    """Take money from an account of the first ledger."""
    return _book(session, owner, -amount_cents)


@debit.undo
def give_back(session: Session, entry: Entry) -> None:
    """Book it back, after the transfer was committed."""
    _book(session, entry.owner, -entry.amount_cents)


@ledger_b.participant
def credit(session: Session, owner: str, amount_cents: int) -> Entry:
    """Put money on an account of the second ledger."""
    return _book(session, owner, amount_cents)


@credit.undo
def take_back(session: Session, entry: Entry) -> None:
    """Book it back, after the transfer was committed."""
    _book(session, entry.owner, -entry.amount_cents)


def _book(session: Session, owner: str, amount_cents: int) -> Entry:
    account = session.get(Account, owner, with_for_update=True)
    if account is None:
        raise Refused(f"{owner} has no account here")
    if account.balance_cents + amount_cents < 0:
        missing = -(account.balance_cents + amount_cents)
        raise Refused(f"{owner} hasn't enough money", data={"missing_cents": missing})
    account.balance_cents += amount_cents
    session.flush()
    return Entry(owner, amount_cents, account.balance_cents)


FIRST_OWNERS = tuple(f"account-{number:03}" for number in range(1, 101))
FIRST_MONEY_CENTS = 1_000_000


@worker_init.connect
def prepare_database(**_signal: object) -> None:
    """Make the tables and open the accounts, before the first worker process starts."""
    for service in (ledger_a, ledger_b):
        assert service.database is not None
        url = service.database.url.render_as_string(hide_password=False)
        accounts = [Account(owner=owner, balance_cents=FIRST_MONEY_CENTS) for owner in FIRST_OWNERS]
        prepare(service.name, Tables, accounts, url)
