"""The peer on Celery: a ``chain`` of five tasks, at its best.

Results are stored for none of the tasks (for the last one where a run is waited for), messages are acknowledged early
as is Celery's default, and nothing is retried: what a chain can do at most, with less asked of it than of a saga.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery, chain

from benchmarks.steps import STEPS
from benchmarks.tally import count

BACKEND_VARIABLE = "BENCH_RESULTS"
"""URL of the result backend."""
QUEUE = "bench.chain"


def register(app: Celery) -> None:
    """Give an app the five tasks, and a sixth that is the fifth with its result stored."""
    for number in range(STEPS):
        app.task(name=f"bench.step{number}", queue=QUEUE, ignore_result=True, acks_late=False)(
            _step(number)
        )
    app.task(name="bench.last", queue=QUEUE, ignore_result=False, acks_late=False)(_step(STEPS - 1))


def signature(app: Celery, n: int, *, awaited: bool) -> Any:
    """One chain, ready to be sent. ``awaited`` stores the last task's result."""
    names = [f"bench.step{number}" for number in range(STEPS)]
    if awaited:
        names[-1] = "bench.last"
    first, *rest = names
    return chain(
        app.signature(first, args=(n,), queue=QUEUE),
        *(app.signature(name, queue=QUEUE) for name in rest),
    )


def _step(number: int) -> Callable[[int], int]:
    def step(n: int) -> int:
        count(number)
        return n

    return step
