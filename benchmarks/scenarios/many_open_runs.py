"""Ten thousand runs in flight: what the coordinator needs in memory, and how soon a new one has all of them moving."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figure import Figure, Target
from benchmarks.over_celery import Effects
from benchmarks.size import Size
from benchmarks.stack import Servers, Stack, stack
from benchmarks.steps import STEPS, five_steps

_TAKEN_IN = "SELECT count(*) FROM saga_run WHERE status = 'running'"
_SHARDS_MOVING = """
    SELECT count(DISTINCT e.shard) FROM saga_event e JOIN (
        SELECT shard, max("offset") AS began FROM saga_event WHERE run_id = '' GROUP BY shard
    ) AS tenure ON tenure.shard = e.shard AND e."offset" > tenure.began"""


def memory_and_recovery(servers: Servers, size: Size) -> Iterator[Figure]:
    """Both from the same runs; at the end all of them must have completed."""
    with stack(servers) as it:
        first = it.start_coordinator()
        it.launch(five_steps, 10)
        it.wait_until(lambda: it.scalar(_TAKEN_IN) >= 10, "ten runs taken in")
        idle_bytes = first.memory_bytes()
        it.launch(five_steps, size.open_runs, batch=1000)
        runs = size.open_runs + 10
        it.wait_until(lambda: it.scalar(_TAKEN_IN) >= runs, f"{runs} runs taken in")
        above_mb = (first.memory_bytes() - idle_bytes) / 1e6
        settings = {
            "open_runs": runs,
            "window": it.settings.window,
            "idle_mb": round(idle_bytes / 1e6),
        }
        name = "memory_10k_in_flight"
        yield Figure(name, above_mb, "MB above idle", settings, target=Target(150.0, "less"))
        yield _recovery(it, runs)


def _recovery(it: Stack, runs: int) -> Figure:
    """From the start of the new process; the old one has ended in good order, so that no lease is waited for."""
    effects = Effects(it)
    it.stop_coordinator()
    it.start_worker()
    it.wait_until(it.nothing_queued, "the worker has taken what the first coordinator sent")
    began = time.perf_counter()
    it.start_coordinator()
    loaded_s = time.perf_counter() - began
    it.wait_until(lambda: it.scalar(_SHARDS_MOVING) == it.settings.shards, "an event in each shard")
    moving_s = time.perf_counter() - began
    it.wait_for_effects(0, effects.before[0] + runs)
    all_s = time.perf_counter() - began
    it.wait_for_completed(runs)
    effects.check(runs)
    settings = {
        "open_runs": runs,
        "shards": it.settings.shards,
        "process_ready_s": round(loaded_s, 2),
        "every_shard_moving_s": round(moving_s, 2),
        "all_completed_s": round(time.perf_counter() - began, 2),
        "steps": STEPS,
        "value": "until each run has had its next step carried out",
    }
    return Figure("recovery_10k_open_runs", all_s, "s", settings, target=Target(5.0, "less"))
