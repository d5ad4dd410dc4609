"""Participants and sagas in which everything can go wrong, on request.

``trouble`` says what goes wrong for one order. Every call leaves a line in the order's diary, whether or not its
transaction is committed; what took effect is in the bank's table and, for the world outside, in files.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator import Call, Refused, Retry, Service, saga
from tests.waiting import eventually

FOLDER = Path(os.environ.get("FAULTY_FOLDER", "."))
CREATE = "CREATE TABLE IF NOT EXISTS entry (customer TEXT, amount INTEGER)"
DEADLINE_S = 4.0
HANG_AT_MOST_S = 90.0
DIE = "die before answering"
"""A file of this name ends the next worker process that has an answer: see ``dying_worker``."""

once, patience = Retry(attempts=1), Retry(attempts=20, initial=0.1, cap=1)

bank = Service(
    "bank",
    database=os.environ.get("FAULTY_DATABASE_URL", "sqlite:///bank.db"),
    timeout=600,
    retry=patience,
)
outside = Service("outside", timeout=600, retry=patience)


@bank.participant
def withdraw(session: Session, order: str, trouble: list[str]) -> int:
    """Take money; may hang before its commit, once."""
    note(order, "withdraw")
    session.execute(text("INSERT INTO entry VALUES (:order, -10)"), {"order": order})
    if "withdraw hangs" in trouble and mark(order, "hanging"):
        eventually(lambda: marked(order, "go"), HANG_AT_MOST_S)
    return 10


@withdraw.undo(retry=patience)
def give_back(session: Session, taken: int, order: str) -> None:
    """Give it back."""
    note(order, "give back")
    session.execute(text("INSERT INTO entry VALUES (:order, :n)"), {"order": order, "n": taken})


@outside.participant
def book(call: Call, order: str, trouble: list[str]) -> str:
    """Book under the idempotency key; its process may die right after, once."""
    note(order, "book")
    mark(order, f"booked {call.idempotency_key}")
    if "book dies" in trouble and mark(order, "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return call.idempotency_key


@book.undo(retry=patience)
def cancel_booking(call: Call, booking: str | None, order: str) -> None:
    """Cancel what was booked under the key, if anything was."""
    note(order, "cancel booking")
    place(order, f"booked {call.idempotency_key}").unlink(missing_ok=True)


@outside.participant(read_only=True)
def settle(order: str, trouble: list[str]) -> str:
    """Refuse on request."""
    note(order, "settle")
    if "settle refuses" in trouble:
        raise Refused("not this one")
    return order


@saga()
def patient(order: str, trouble: list[str]) -> str:
    """Short deadlines and many attempts."""
    withdraw.options(timeout=DEADLINE_S)(order, trouble)
    book.options(timeout=DEADLINE_S)(order, trouble)
    return settle(order, trouble)


@saga()
def hasty(order: str, trouble: list[str]) -> str:
    """One attempt each, and deadlines that no test waits for."""
    withdraw.options(retry=once)(order, trouble)
    book.options(retry=once)(order, trouble)
    return settle(order, trouble)


def place(order: str, what: str, folder: Path = FOLDER) -> Path:
    """Where something about an order is kept."""
    return folder / f"{order} {what}"


def mark(order: str, what: str, folder: Path = FOLDER) -> bool:
    """Say that something has happened; False if it had."""
    try:
        place(order, what, folder).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def marked(order: str, what: str) -> bool:
    """Whether something has happened."""
    return place(order, what).exists()


def note(order: str, what: str) -> None:
    """Write a line into the order's diary."""
    with place(order, "diary").open("a") as diary:
        diary.write(f"{what}\n")
