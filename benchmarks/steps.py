"""What runs: five steps that only count themselves, as a saga's participants, and with a database as well."""

from __future__ import annotations

import os
import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.tally import count
from orchestrator import Call, Service, saga

DATABASE_VARIABLE = "BENCH_PARTICIPANTS"
"""URL of the participants' database."""
STEPS = 5
SLOW_SLOT, FAST_SLOT = 5, 6
"""Where the steps of mixed durations are counted; the five count in slots 0 to 4."""

plain = Service("plain", timeout=120)


@plain.participant
def one(n: int) -> int:
    """The first step."""
    count(0)
    return n


@plain.participant
def two(n: int) -> int:
    """The second step."""
    count(1)
    return n


@plain.participant
def three(n: int) -> int:
    """The third step."""
    count(2)
    return n


@plain.participant
def four(n: int) -> int:
    """The fourth step."""
    count(3)
    return n


@plain.participant
def five(n: int) -> int:
    """The fifth step."""
    count(4)
    return n


@one.undo
@two.undo
@three.undo
@four.undo
@five.undo
def back(n: int) -> None:
    """Undo a step that did nothing; what completes never comes here."""


@saga(version=1)
def five_steps(n: int) -> int:
    """Five no-op steps, each with an undo, the result of one the argument of the next."""
    return five(four(three(two(one(n)))))


stored = Service(
    "stored", database=os.environ.get(DATABASE_VARIABLE, "postgresql+psycopg:///bench"), timeout=120
)
ledger = "INSERT INTO effect (effect, n) VALUES (:effect, :n)"


@stored.participant
def write(session: Session, call: Call, n: int) -> int:
    """A step with one effect in its database."""
    session.execute(text(ledger), {"effect": call.idempotency_key, "n": n})
    count(0)
    return n


@write.undo
def unwrite(session: Session, call: Call) -> None:
    """Take the effect back."""
    session.execute(
        text("DELETE FROM effect WHERE effect = :effect"), {"effect": call.idempotency_key}
    )


@saga(version=1)
def five_writes(n: int) -> int:
    """Five steps with an effect each in a participant's database."""
    return write(write(write(write(write(n)))))


mixed = Service("mixed", timeout=120)


@mixed.participant
def fast(n: int) -> int:
    """A step that takes no time."""
    count(FAST_SLOT)
    return n


@mixed.participant
def slow(seconds: float) -> float:
    """A step that waits, as for a network."""
    time.sleep(seconds)
    count(SLOW_SLOT)
    return seconds


@fast.undo
@slow.undo
def nothing() -> None:
    """Undo a step that did nothing."""


@saga(version=1)
def fast_saga(n: int) -> int:
    """Two fast steps."""
    return fast(fast(n))


@saga(version=1)
def slow_saga(seconds: float) -> float:
    """Two slow steps."""
    return slow(slow(seconds))
