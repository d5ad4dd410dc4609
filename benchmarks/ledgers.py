"""What moves money in the measurements of atomic groups: two ledgers, each a PostgreSQL database of its own.

The same booking is what the group, the saga with undos and the bare loop do.
"""

from __future__ import annotations

import os

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator import Retry, Service, atomic, saga

SOURCE_VARIABLE, TARGET_VARIABLE = "BENCH_LEDGER_SOURCE", "BENCH_LEDGER_TARGET"
"""URLs of the two databases."""
ACCOUNTS = 10_000
FIRST_CENTS = 1_000_000
TABLE = (
    "CREATE TABLE account (number int PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0));"
    f" INSERT INTO account SELECT n, {FIRST_CENTS} FROM generate_series(1, {ACCOUNTS}) n"
)
BOOK = "UPDATE account SET cents = cents + :cents WHERE number = :number RETURNING cents"
_UNSET = "postgresql+psycopg:///bench"

source = Service(
    "source", database=os.environ.get(SOURCE_VARIABLE, _UNSET), timeout=120, two_phase=True
)
target = Service(
    "target", database=os.environ.get(TARGET_VARIABLE, _UNSET), timeout=120, two_phase=True
)


@source.participant
def debit(session: Session, number: int, cents: int) -> int:
    """Take money from an account."""
    return book(session, number, -cents)


@debit.undo
def give_back(session: Session, number: int, cents: int) -> None:
    """Book it back."""
    book(session, number, cents)


@target.participant
def credit(session: Session, number: int, cents: int) -> int:
    """Put money on an account."""
    return book(session, number, cents)


@credit.undo
def take_back(session: Session, number: int, cents: int) -> None:
    """Book it back."""
    book(session, number, -cents)


def book(session: Session, number: int, cents: int) -> int:
    """One update of one account; returns what it holds then."""
    found = session.scalar(text(BOOK), {"number": number, "cents": cents})
    if found is None:
        raise LookupError(f"no account {number}")
    return int(found)


@saga(version=1)
def transfer_together(debited: int, credited: int, cents: int) -> None:
    """Both bookings commit together."""
    with atomic(timeout=30, retry=Retry(attempts=20, initial=0.05, cap=1)):
        debit(debited, cents)
        credit(credited, cents)


@saga(version=1)
def transfer_in_turn(debited: int, credited: int, cents: int) -> None:
    """The same two bookings, one after the other, each with its undo."""
    debit(debited, cents)
    credit(credited, cents)
