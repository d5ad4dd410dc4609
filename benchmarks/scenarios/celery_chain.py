"""Five-step sagas over Celery against a Celery ``chain`` of five tasks on the same broker and the same worker."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.figure import Figure, Target, in_pairs
from benchmarks.over_celery import chain_latencies, chain_throughput, our_latencies, our_throughput
from benchmarks.size import Size
from benchmarks.stack import WORKER_PROCESSES, Servers, stack

KEY = "benchmarks-sign-with-this-key"
_PLACE = {"worker_processes": WORKER_PROCESSES, "steps": 5, "fsync": "on"}


def throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """At saturation, with as many commands in a message as the coordinator sees fit."""
    yield _throughput(servers, size, "celery_chain_throughput", 5.0, size.our_runs)


def signed_throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """The same with every message signed and checked; the chain has no such thing."""
    name = "celery_chain_throughput_signed"
    yield _throughput(servers, size, name, 5.0, size.our_runs, signing_keys=KEY)


def single_message_throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """One command a message: what is left of the difference without bundling."""
    name = "celery_single_message_throughput"
    yield _throughput(servers, size, name, 1.3, size.our_single_runs, bundle=1)


def latency(servers: Servers, size: Size) -> Iterator[Figure]:
    """One run at a time, from launch to its result in the caller's hands."""
    with stack(servers) as it:
        it.start_coordinator()
        it.start_worker()
        our_latencies(it, 5)
        chain_latencies(it, 5)
        ours, peer, ratio = in_pairs(
            size.pairs * 2,
            lambda: 1000 * statistics.median(our_latencies(it, size.latencies)),
            lambda: 1000 * statistics.median(chain_latencies(it, size.latencies)),
        )
    settings = {
        **_PLACE,
        "pairs": size.pairs * 2,
        "runs": size.latencies,
        "peer_result": "last task's only",
    }
    name = "celery_chain_latency"
    yield Figure(name, ours, "ms", settings, peer, ratio, Target(1.0, "less"))


def _throughput(
    servers: Servers, size: Size, name: str, target: float, our_runs: int, **options: Any
) -> Figure:
    with stack(servers, **options) as it:
        it.start_coordinator()
        it.start_worker()
        chain_throughput(it, size.warm_up)
        our_throughput(it, size.warm_up)
        ours, peer, ratio = in_pairs(
            size.pairs,
            lambda: our_throughput(it, our_runs),
            lambda: chain_throughput(it, size.chain_runs),
        )
    settings = {
        **_PLACE,
        "pairs": size.pairs,
        "our_runs": our_runs,
        "peer_runs": size.chain_runs,
        "our_launches": "100 a transaction",
        "peer_results": "none stored",
        "signed": "signing_keys" in options,
        "bundle": options.get("bundle", it.settings.bundle),
    }
    return Figure(name, ours, "runs/s", settings, peer, ratio, Target(target, "more"))
