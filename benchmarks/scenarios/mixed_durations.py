"""Fast steps beside slow ones on the same queue and the same worker: the fast ones must not wait for the slow ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.figure import Figure, Target, quantile
from benchmarks.size import Size
from benchmarks.stack import WORKER_PROCESSES, Servers, Stack, stack
from benchmarks.steps import FAST_SLOT, SLOW_SLOT, fast_saga, slow_saga

STEPS = 2
BACKLOG = 40


def latency(servers: Servers, size: Size) -> Iterator[Figure]:
    """Of fast runs, one at a time: alone, beside steps of 50 and 500 ms that keep one process busy, and beside a
    backlog of them that would keep all processes busy.
    """
    with stack(servers) as it:
        it.start_coordinator()
        it.start_worker()
        _latencies_ms(it, size.warm_up // 5)
        it.client.launch(slow_saga, 0.05).result(timeout=30)
        alone = _latencies_ms(it, size.mixed_runs)
        with _neighbours(_one_after_the_other(it)) as slow_runs:
            beside = _latencies_ms(it, size.mixed_runs)
        backlog = it.launch(slow_saga, BACKLOG, argument=0.5) + it.launch(
            slow_saga, BACKLOG, argument=0.05
        )
        slow_effects = STEPS * (len(backlog) + slow_runs() + 1)
        behind = _latencies_ms(
            it, size.mixed_runs, lambda: it.effects()[SLOW_SLOT] < slow_effects - STEPS
        )
        for run in backlog:
            run.result(timeout=60)
        _check(it, fast=len(alone) + len(beside) + len(behind) + size.warm_up // 5)
    for name, found in (("mixed_durations", beside), ("mixed_durations_backlog", behind)):
        settings = {
            "worker_processes": WORKER_PROCESSES,
            "fast_runs": len(found),
            "steps": STEPS,
            "slow_steps_ms": [50, 500],
            "alone_p50_ms": round(quantile(alone, 0.5), 1),
            "alone_p95_ms": round(quantile(alone, 0.95), 1),
            "p50_ms": round(quantile(found, 0.5), 1),
            "peer": "none; the ratio is to the same runs alone",
        }
        p95 = quantile(found, 0.95)
        if name == "mixed_durations":
            ratio = p95 / quantile(alone, 0.95)
            yield Figure(name, p95, "ms (p95)", settings, ratio=ratio, target=Target(2.0, "less"))
        else:
            settings["bound"] = (
                "with every process at a 500 ms step, a fast step waits for the first to end"
            )
            yield Figure(name, p95, "ms (p95)", settings)


def _latencies_ms(it: Stack, runs: int, go_on: Callable[[], bool] = lambda: True) -> list[float]:
    """Of so many runs, fewer if ``go_on`` says no before."""
    found: list[float] = []
    for number in range(runs):
        if not go_on():
            break
        began = time.perf_counter()
        if it.client.launch(fast_saga, number).result(timeout=60) != number:
            raise RuntimeError(f"fast run {number} gave another result")
        found.append(1000 * (time.perf_counter() - began))
    return found


def _one_after_the_other(it: Stack) -> Callable[[int], None]:
    def run(number: int) -> None:
        it.client.launch(slow_saga, 0.5 if number % 2 else 0.05).result(timeout=30)

    return run


@contextmanager
def _neighbours(run: Callable[[int], None]) -> Iterator[Callable[[], int]]:
    """Slow runs for as long as this lasts; gives a function that counts them."""
    enough = threading.Event()
    done: list[int] = []

    def go_on() -> None:
        while not enough.is_set():
            run(len(done))
            done.append(1)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield lambda: len(done)
    finally:
        enough.set()
        thread.join()


def _check(it: Stack, fast: int) -> None:
    open_runs = it.scalar("SELECT count(*) FROM saga_run WHERE status <> 'completed'")
    effects = it.effects()
    runs = it.completed()
    if open_runs or effects[FAST_SLOT] != STEPS * fast:
        raise RuntimeError(
            f"{open_runs} runs aren't completed; {fast} fast ones, effects {effects}"
        )
    if effects[SLOW_SLOT] != STEPS * (runs - fast):
        raise RuntimeError(f"{runs - fast} slow runs, effects {effects}")
