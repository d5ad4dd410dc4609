"""What one step costs at saturation: events, transactions of the journal, CPU time of coordinator and worker."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.figure import Figure, Target
from benchmarks.over_celery import our_throughput
from benchmarks.size import Size
from benchmarks.stack import WORKER_PROCESSES, Servers, Stack, stack
from benchmarks.steps import STEPS

_STEP_EVENTS = (
    "SELECT count(*) FROM saga_event WHERE type NOT IN ('RunLaunched', 'RunCompleted', 'tenure')"
)
_TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM saga_event"


def per_step(servers: Servers, size: Size) -> Iterator[Figure]:
    """All of it from the same runs."""
    with stack(servers) as it:
        coordinator, worker = it.start_coordinator(), it.start_worker()
        our_throughput(it, size.warm_up)
        events, transactions = _events(it), it.scalar(_TRANSACTIONS)
        rounds: list[tuple[float, float]] = []
        for _ in range(size.pairs):
            before = coordinator.cpu_s(), worker.cpu_s()
            our_throughput(it, size.our_runs)
            steps = size.our_runs * STEPS
            rounds.append(
                (
                    (coordinator.cpu_s() - before[0]) / steps * 1e6,
                    (worker.cpu_s() - before[1]) / steps * 1e6,
                )
            )
        runs = size.our_runs * size.pairs
        events = _events(it) - events
        transactions = it.scalar(_TRANSACTIONS) - transactions + runs / 100
    at = {"worker_processes": WORKER_PROCESSES, "runs": runs, "our_launches": "100 a transaction"}
    yield Figure("events_per_step", events / runs / STEPS, "events", at, target=Target(1.0, "less"))
    yield Figure("transactions_per_run", transactions / runs, "transactions", at)
    coordinating, working = zip(*rounds, strict=True)
    target = Target(100.0, "less")
    name = "coordinator_cpu_us_per_step"
    yield Figure(name, statistics.median(coordinating), "us", at, target=target)
    yield Figure("worker_cpu_us_per_step", statistics.median(working), "us", at)


def _events(it: Stack) -> int:
    """Events of steps; a run has two more, of its launch and its end."""
    return int(it.scalar(_STEP_EVENTS))
