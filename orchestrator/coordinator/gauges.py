"""What a coordinator has to do, as metrics: worked out from its load when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.coordinator.metering import Load
from orchestrator.kernel.summary import RunSummary
from orchestrator.telemetry.prometheus import Family, counted, gauged

_DROPPED, _DOUBT = "dropped: ", "in doubt: "
_WORK = frozenset({"dispatched", "transactions", "operations refused"})
"""What a coordinator counts beside its faults."""
CLUSTERS_MAX = 50
"""Of incidents, each a series of its own; what there is beyond them is one for each saga."""


def of_load(load: Load) -> Iterable[Family]:
    """The metrics of the catalog that say how things stand."""
    runs: Counter[tuple[str, ...]] = Counter((run.saga, run.status) for run in load.runs)
    yield gauged("saga_open_runs", runs)
    oldest: dict[tuple[str, ...], float] = {}
    stuck: dict[tuple[str, ...], float] = {}
    for run in load.runs:
        ages, since = (
            (stuck, run.updated_at) if run.status == "stuck" else (oldest, run.launched_at)
        )
        ages[run.saga,] = max(ages.get((run.saga,), 0.0), load.now - since)
    yield gauged("saga_oldest_open_run_seconds", oldest)
    yield gauged("saga_oldest_stuck_seconds", stuck)
    yield gauged("saga_open_incidents", _incidents(load.runs))
    asked: Counter[tuple[str, ...]] = Counter((saga, one.operation) for saga, one in load.approvals)
    yield gauged("saga_waiting_approvals", asked)
    first: dict[tuple[str, ...], float] = {}
    for saga, one in load.approvals:
        first[saga,] = max(first.get((saga,), 0.0), load.now - one.at)
    yield gauged("saga_oldest_approval_seconds", first)
    due: dict[tuple[str, ...], float] = {
        (service,): max(0.0, load.now - since) for service, since in load.oldest_due.items()
    }
    yield gauged("saga_oldest_command_seconds", due)
    yield gauged("saga_shards_held", {(): load.shards})
    queues: dict[tuple[str, ...], float] = {
        (queue, state): number
        for queue, numbers in load.queues.items()
        for state, number in zip(("held", "under way"), numbers, strict=True)
    }
    yield gauged("saga_queue_commands", queues)
    yield counted("saga_dropped_replies_total", _of(load, _DROPPED) | by_name(load.dropped))
    yield counted("saga_inquiries_total", _of(load, _DOUBT))
    faults = {
        what: number
        for what, number in load.counts.items()
        if what not in _WORK and not what.startswith((_DROPPED, _DOUBT))
    }
    yield counted("saga_coordinator_faults_total", by_name(faults))


def _incidents(runs: Iterable[RunSummary]) -> dict[tuple[str, ...], float]:
    """Open incidents by saga, step, cluster and whether somebody is on it.

    A cluster is a cause, so there are few; should causes be told apart wrongly there may be as many as incidents. So
    the largest are named and the rest of a saga counted together.
    """
    found: Counter[tuple[str, ...]] = Counter(
        (run.saga, one.step.partition("[")[0], one.cluster, "yes" if one.acked_at else "no")
        for run in runs
        for one in run.incidents
    )
    if len(found) <= CLUSTERS_MAX:
        return dict(found)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    named = Counter(dict(ranked[:CLUSTERS_MAX]))
    for key, number in ranked[CLUSTERS_MAX:]:
        named[key[0], "other", "other", key[3]] += number
    return dict(named)


def _of(load: Load, prefix: str) -> dict[tuple[str, ...], float]:
    found = {what: number for what, number in load.counts.items() if what.startswith(prefix)}
    return {(what.removeprefix(prefix),): number for what, number in found.items()}


def by_name(numbers: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    """Numbers by the one label that they have."""
    return {(what,): number for what, number in list(numbers.items())}
