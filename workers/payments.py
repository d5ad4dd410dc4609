"""Payments: what customers have, what they were charged, and the banks behind their cards.

The banks are played by a table, so that what real banks do can be seen: one doesn't answer the first calls, one takes
no refunds until its line is mended (``python -m workers.payments mend westbank``).
"""

from __future__ import annotations

import argparse

import msgspec
from celery.signals import worker_init
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Call, Refused, Retry, Service
from workers.databases import database_url, prepare

payments = Service(
    "payments", database=database_url("payments"), timeout=60, retry=Retry(attempts=5)
)


class Tables(DeclarativeBase):
    """The tables of this service."""


class Bank(Tables):
    """How a bank behaves."""

    __tablename__ = "bank"

    name: Mapped[str] = mapped_column(primary_key=True)
    unanswered: Mapped[int] = mapped_column(default=0)
    """How many calls for a charge it leaves unanswered before it answers."""
    refunds: Mapped[bool] = mapped_column(default=True)
    """Whether its line for refunds is up."""


class Account(Tables):
    """A customer's money. ``balance_cents`` never goes below 0."""

    __tablename__ = "account"

    customer: Mapped[str] = mapped_column(primary_key=True)
    bank: Mapped[str]
    balance_cents: Mapped[int]


class Charge(Tables):
    """Money that went from a customer to the shop."""

    __tablename__ = "charge"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount_cents: Mapped[int]
    refunded: Mapped[bool] = mapped_column(default=False)


class Payment(msgspec.Struct, frozen=True):
    """The proof of a charge."""

    id: int
    amount_cents: int


class BankUnreachableError(Exception):
    """The bank gave no answer. Nothing was booked: trying again is right."""


@payments.participant
def charge(session: Session, call: Call, customer: str, amount_cents: int) -> Payment:
    """Take money from a customer."""
    account = session.get(Account, customer, with_for_update=True)
    if account is None:
        raise Refused(f"{customer} has no account")
    if call.attempt <= session.get_one(Bank, account.bank).unanswered:
        raise BankUnreachableError(f"{account.bank} doesn't answer")
    if account.balance_cents < amount_cents:
        raise Refused("card declined", data={"missing_cents": amount_cents - account.balance_cents})
    account.balance_cents -= amount_cents
    made = Charge(customer=customer, amount_cents=amount_cents)
    session.add(made)
    session.flush()
    return Payment(made.id, amount_cents)


@charge.undo(retry=Retry(attempts=5, initial=0.3, cap=60))
def refund(session: Session, payment: Payment) -> None:
    """Give it back."""
    made = session.get_one(Charge, payment.id)
    account = session.get_one(Account, made.customer, with_for_update=True)
    if not session.get_one(Bank, account.bank).refunds:
        raise BankUnreachableError(f"{account.bank} takes no refunds: its line is down")
    account.balance_cents += made.amount_cents
    made.refunded = True


FIRST_BANKS = {"northbank": (0, True), "eastbank": (2, True), "westbank": (0, False)}
"""Bank to calls it leaves unanswered, and whether it takes refunds."""
FIRST_MONEY_CENTS = 2_000_000
FIRST_CUSTOMERS = {
    **{f"north-{number:02}": ("northbank", FIRST_MONEY_CENTS) for number in range(1, 25)},
    **{f"east-{number:02}": ("eastbank", FIRST_MONEY_CENTS) for number in range(1, 7)},
    "west-01": ("westbank", FIRST_MONEY_CENTS),
    "penniless": ("northbank", 0),
}
"""Customer to bank and balance in cents."""


@worker_init.connect
def prepare_database(**_signal: object) -> None:
    """Make the tables and open the accounts, before the first worker process starts."""
    banks = [Bank(name=name, unanswered=n, refunds=up) for name, (n, up) in FIRST_BANKS.items()]
    accounts = [
        Account(customer=customer, bank=bank, balance_cents=cents)
        for customer, (bank, cents) in FIRST_CUSTOMERS.items()
    ]
    prepare("payments", Tables, [*banks, *accounts])


def mend(bank: str) -> None:
    """Bring a bank's line for refunds up again."""
    engine = create_engine(database_url("payments"))
    with Session(engine) as session, session.begin():
        session.get_one(Bank, bank).refunds = True
    engine.dispose()


def main() -> None:
    """``python -m workers.payments mend BANK``."""
    parser = argparse.ArgumentParser(prog="python -m workers.payments")
    parser.add_argument("action", choices=["mend"], help="bring a bank's line for refunds up again")
    parser.add_argument("bank", choices=sorted(FIRST_BANKS))
    bank = parser.parse_args().bank
    mend(bank)
    print(f"{bank} takes refunds again")  # noqa: T201 - it is a command


if __name__ == "__main__":
    main()
