"""A worker's counts for Prometheus, told by its parent process. Needs the extra ``prometheus``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from orchestrator.participant.metering import WorkerCounts
from orchestrator.telemetry.prometheus import Collected, Family, bucketed, counted, gauged

Prepared = Mapping[str, tuple[int, float]]
"""By service: how many prepared branches the last sweep found, and the age of the oldest in seconds."""


def worker_registry(counts: WorkerCounts, prepared: Callable[[], Prepared]) -> CollectorRegistry:
    """A registry that exports what the worker's processes have counted."""
    registry = CollectorRegistry()
    registry.register(Collected(lambda: _families(counts, prepared())))
    return registry


def _families(counts: WorkerCounts, prepared: Prepared) -> Iterable[Family]:
    commands: dict[tuple[str, ...], float] = {}
    hits: dict[tuple[str, ...], float] = {}
    seconds: dict[tuple[str, ...], tuple[Sequence[float], float]] = {}
    for cell in counts.cells():
        service, _, participant = cell.participant.partition(".")
        for outcome, number in cell.outcomes.items():
            commands[service, participant, cell.kind, outcome] = number
        at = (service, participant)
        hits[at] = hits.get(at, 0) + cell.hits
        seconds[*at, cell.kind] = (cell.buckets, cell.seconds)
    yield counted("saga_worker_commands_total", commands)
    yield counted("saga_worker_barrier_hits_total", hits)
    yield bucketed("saga_worker_command_seconds", seconds)
    dropped: dict[tuple[str, ...], float] = {
        (reason,): float(number) for reason, number in counts.dropped_by_reason().items()
    }
    yield counted("saga_worker_dropped_messages_total", dropped)
    yield gauged("saga_prepared_branches", {(name,): n for name, (n, _) in prepared.items()})
    yield gauged(
        "saga_prepared_oldest_seconds", {(name,): age for name, (_, age) in prepared.items()}
    )
