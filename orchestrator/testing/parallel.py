"""Many schedules in several processes. What comes of them doesn't depend on how many."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count

import msgspec

from orchestrator.definition.plan import Plan, decode_plan
from orchestrator.testing.simulation.results import Campaign
from orchestrator.testing.simulator import Simulator

CHUNK = 100
"""Seeds that one process plays at a time."""

_AHEAD = 2
"""Chunks that wait for each process."""

_simulator: Simulator | None = None


def simulate(
    plan: Plan | None = None,
    *,
    first_seed: int = 0,
    schedules: int | None = None,
    seconds: float | None = None,
    processes: int = 1,
    progress: Callable[[Campaign], None] | None = None,
) -> Campaign:
    """Play the seeds from ``first_seed`` on until one fails, so many are played, or the time is over.

    Of several that fail at the same time it is the one with the lowest seed that counts. An interrupt from the
    keyboard ends it as well.
    """
    if processes == 1:
        return Simulator(plan).run(first_seed, schedules, seconds, progress=progress)
    campaign, started = Campaign(), time.monotonic()
    encoded = None if plan is None else plan.encoded()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, _begin, (encoded,)) as pool:
        waiting: deque[Future[bytes]] = deque()
        try:
            for first, size in _chunks(first_seed, schedules):
                waiting.append(pool.submit(_play, first, size))
                if len(waiting) > processes * _AHEAD:
                    _take(campaign, waiting, started, progress)
                if campaign.failed or (seconds is not None and campaign.elapsed_s >= seconds):
                    break
            else:
                while waiting and not campaign.failed:
                    _take(campaign, waiting, started, progress)
        except KeyboardInterrupt:
            campaign.interrupted = True
        pool.shutdown(wait=True, cancel_futures=True)
    campaign.elapsed_s = time.monotonic() - started
    return campaign


def _chunks(first_seed: int, schedules: int | None) -> Iterator[tuple[int, int]]:
    end = None if schedules is None else first_seed + schedules
    for first in count(first_seed, CHUNK):
        if end is not None and first >= end:
            return
        yield first, CHUNK if end is None else min(CHUNK, end - first)


def _take(
    campaign: Campaign,
    waiting: deque[Future[bytes]],
    started: float,
    progress: Callable[[Campaign], None] | None,
) -> None:
    campaign.merge(msgspec.json.decode(waiting.popleft().result(), type=Campaign))
    campaign.elapsed_s = time.monotonic() - started
    if progress is not None:
        progress(campaign)


def _begin(plan: bytes | None) -> None:
    """In a new process: coordinators are silent here, and the keyboard is the parent's."""
    global _simulator  # noqa: PLW0603 - what a process of the pool is for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("orchestrator").setLevel(logging.CRITICAL + 1)
    _simulator = Simulator(None if plan is None else decode_plan(plan))
    gc.freeze()  # what every schedule shares needs no looking through


def _play(first: int, size: int) -> bytes:
    assert _simulator is not None
    return msgspec.json.encode(_simulator.run(first, size))
