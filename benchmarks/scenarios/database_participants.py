"""Five-step sagas whose steps write to a database of their own: barrier row and effect in one commit each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.figure import Figure
from benchmarks.size import Size
from benchmarks.stack import WORKER_PROCESSES, Servers, Stack, stack
from benchmarks.steps import STEPS, five_writes


def throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """At saturation, and what bounds it: the commits a second of two worker processes, one at a time each."""
    rounds = min(3, size.pairs)
    with stack(servers) as it:
        it.make_participants_database()
        it.start_coordinator()
        it.start_worker()
        _measure(it, size.warm_up)
        runs_s, cpu_us = zip(*[_measure(it, size.written_runs) for _ in range(rounds)], strict=True)
        written = it.participants_sql("SELECT count(*) FROM effect")
    expected = (size.warm_up + rounds * size.written_runs) * STEPS
    if written != expected:
        raise RuntimeError(f"{written} effects in the database instead of {expected}")
    settings = {
        "worker_processes": WORKER_PROCESSES,
        "fsync": "on",
        "rounds": rounds,
        "runs": size.written_runs,
        "commits_s": round(STEPS * statistics.median(runs_s)),
        "worker_cpu_us_per_step": round(statistics.median(cpu_us)),
    }
    yield Figure("with_database_participants", statistics.median(runs_s), "runs/s", settings)


def _measure(it: Stack, runs: int) -> tuple[float, float]:
    assert it.worker is not None
    completed = it.completed()
    cpu_s, began = it.worker.cpu_s(), time.perf_counter()
    it.launch(five_writes, runs)
    it.wait_for_completed(completed + runs)
    took_s = time.perf_counter() - began
    return runs / took_s, (it.worker.cpu_s() - cpu_s) / runs / STEPS * 1e6
