"""What the coordinator's metrics cost it: the same work without them and with them, alternately."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.figure import Figure, Target
from benchmarks.over_celery import our_throughput
from benchmarks.size import Size
from benchmarks.stack import WORKER_PROCESSES, Servers, Stack, stack
from benchmarks.steps import STEPS

_SERVED = {"SAGA_METRICS__COORDINATOR_PORT": "0"}


def throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """Runs a second with metrics against without, and the coordinator's CPU time a step."""
    rounds: list[tuple[tuple[float, float], tuple[float, float]]] = []
    with stack(servers) as it:
        it.start_worker()
        _round(it, size.warm_up, {})
        for number in range(2 * size.pairs):
            first, second = ({}, _SERVED) if number % 2 else (_SERVED, {})
            one, other = _round(it, size.our_runs, first), _round(it, size.our_runs, second)
            rounds.append((one, other) if number % 2 else (other, one))
    at = {"worker_processes": WORKER_PROCESSES, "runs": size.our_runs, "pairs": len(rounds)}
    for place, (name, unit) in enumerate(
        (("throughput_with_metrics", "runs/s"), ("cpu_with_metrics", "us/step"))
    ):
        without = [pair[0][place] for pair in rounds]
        with_ = [pair[1][place] for pair in rounds]
        ratio = statistics.median(b / a for a, b in zip(without, with_, strict=True))
        yield Figure(
            name,
            statistics.median(with_),
            unit,
            at,
            peer=statistics.median(without),
            ratio=ratio,
            target=Target(0.98, "more") if place == 0 else Target(1.02, "less"),
        )


def _round(it: Stack, runs: int, env: dict[str, str]) -> tuple[float, float]:
    """Runs a second, and CPU microseconds a step, of a coordinator started for it."""
    coordinator = it.start_coordinator(**env)
    our_throughput(it, runs // 10)
    before = coordinator.cpu_s()
    rate = our_throughput(it, runs)
    spent = (coordinator.cpu_s() - before) / (runs * STEPS) * 1e6
    it.stop_coordinator()
    return rate, spent
