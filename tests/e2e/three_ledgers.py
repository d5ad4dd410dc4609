"""Three ledgers in three databases, and a saga for each way that money may go between two of them.

After a group has committed, the books' keeper may refuse: then both bookings are undone.
"""

from __future__ import annotations

import os

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator import Refused, Retry, Service, atomic, saga
from orchestrator.definition.action import Action
from orchestrator.definition.saga import Saga

LEDGERS = ("a", "b", "c")
ACCOUNTS = 100
FIRST_CENTS = 10_000
THIRTEEN = 13
TABLES = (
    "CREATE TABLE account (number int PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0))",
    "CREATE TABLE kept (transfer text NOT NULL, cents bigint NOT NULL)",
    f"INSERT INTO account SELECT n, {FIRST_CENTS} FROM generate_series(1, {ACCOUNTS}) n",
)
_RETRY = Retry(attempts=12, initial=0.1, cap=2)


def variable(ledger: str) -> str:
    """The environment variable with a ledger's URL."""
    return f"THREE_LEDGERS_{ledger.upper()}_DATABASE_URL"


def _book(session: Session, number: int, cents: int) -> int:
    found = session.execute(
        text("SELECT cents FROM account WHERE number = :number FOR UPDATE"), {"number": number}
    ).scalar_one()
    if found + cents < 0:
        raise Refused(f"account {number} has {found} cents")
    session.execute(
        text("UPDATE account SET cents = cents + :cents WHERE number = :number"),
        {"number": number, "cents": cents},
    )
    return int(found + cents)


def _service(ledger: str) -> Service:
    url = os.environ.get(variable(ledger), "postgresql+psycopg:///nowhere")
    return Service(f"three-{ledger}", database=url, timeout=10, retry=_RETRY, two_phase=True)


def _booking(service: Service) -> Action[[int, int], int]:
    @service.participant
    def book(session: Session, number: int, cents: int) -> int:
        return _book(session, number, cents)

    @book.undo
    def book_back(session: Session, number: int, cents: int) -> None:
        _book(session, number, -cents)

    return book


ledger_a, ledger_b, ledger_c = (_service(ledger) for ledger in LEDGERS)
BOOK = {
    ledger: _booking(service)
    for ledger, service in zip(LEDGERS, (ledger_a, ledger_b, ledger_c), strict=True)
}


@ledger_a.participant
def keep(session: Session, transfer: str, cents: int) -> int:
    """Note a transfer that stands; those of 13 cents never do."""
    if cents == THIRTEEN:
        raise Refused("thirteen")
    values = {"transfer": transfer, "cents": cents}
    session.execute(text("INSERT INTO kept VALUES (:transfer, :cents)"), values)
    return cents


def saga_name(source: str, target: str) -> str:
    """The saga that moves money that way."""
    return f"move_{source}_to_{target}"


def _moving(source: str, target: str) -> Saga[..., int]:
    debit, credit = BOOK[source], BOOK[target]

    @saga(version=1, name=saga_name(source, target))
    def move(transfer: str, debited: int, credited: int, cents: int, minus: int) -> int:
        with atomic(timeout=15, retry=_RETRY):
            debit(debited, minus)
            credit(credited, cents)
        return keep.pivot(transfer, cents)

    return move


WAYS = [(one, other) for one in LEDGERS for other in LEDGERS if one != other]
a_to_b, a_to_c, b_to_a, b_to_c, c_to_a, c_to_b = (_moving(*way) for way in WAYS)
