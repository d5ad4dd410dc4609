"""Figures of the recent past, computed from the ends of the shards' logs.

Computed, not projected: the shards have no gaps, so the last N records of each can be read backwards
by offset alone, and what they say is exact. A stored projection would be a second truth to keep, for a
question that is asked now and then; the cost here follows the window, not the journal's size. How many
runs stand where comes from the read model, which is written in the transaction of the events.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from orchestrator.journal.port import ReaderJournal, Recorded, RunFilter
from orchestrator.kernel import events as ev

_LOOKED_UP = 200
EVENTS_MAX = 500_000
"""The most events that are read for one answer; beyond, the window gets shorter and says so."""


class Quantiles(msgspec.Struct, frozen=True):
    """Of durations in seconds, by nearest rank."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class StepFigures(msgspec.Struct, frozen=True):
    """One step of one saga within the window."""

    saga: str
    step: str
    succeeded: int
    refused: int
    failed: int
    unknown: int
    retries: int
    undone: int
    took: Quantiles | None
    """What attempts that succeeded took in their workers; of a branch, what led to its vote."""
    held: Quantiles | None = None
    """How long a branch of an atomic group was prepared, and held its locks: from its vote to its acknowledgement."""


class GroupFigures(msgspec.Struct, frozen=True):
    """One atomic group of one saga within the window."""

    saga: str
    group: str
    committed: int
    retried: int
    """Attempts that were taken back, to be tried again."""
    given_up: int


class SagaFigures(msgspec.Struct, frozen=True):
    """One saga: where its runs stand, and what happened within the window."""

    saga: str
    runs: dict[str, int]
    """Status to the number of runs, all of them, whenever launched."""
    launched: int
    completed: int
    compensated: int
    parked: int
    launched_per_min: float
    ended_per_min: float
    duration: Quantiles | None
    """Launch to end, of runs that ended within the window."""


class Statistics(msgspec.Struct, frozen=True):
    """Figures for the time from ``since`` to ``until``, in epoch seconds."""

    since: float
    until: float
    events: int
    shortened: bool
    """There were more events than may be read for one answer, so ``since`` is later than asked for."""
    sagas: tuple[SagaFigures, ...]
    steps: tuple[StepFigures, ...]
    groups: tuple[GroupFigures, ...] = ()


def statistics(
    journal: ReaderJournal,
    shards: int,
    now: float,
    window_s: float,
    *,
    saga: str | None = None,
    events_max: int = EVENTS_MAX,
) -> Statistics:
    """Figures of the last ``window_s`` seconds, of one saga or of all."""
    since = now - window_s
    found = journal.recent(since, max(1, events_max // shards))
    recent, covered = found.records, found.covered
    sagas, launches = _runs_of(journal, recent)
    counts = journal.counts()
    if saga is not None:
        counts = {saga: counts[saga]} if saga in counts else {}
        recent = [record for record in recent if sagas.get(record.run_id) == saga]
    minutes = max(now - covered, 1e-9) / 60
    return Statistics(
        since=covered,
        until=now,
        events=len(recent),
        shortened=covered > since,
        sagas=tuple(_sagas(recent, sagas, launches, counts, minutes)),
        steps=tuple(_steps(recent, sagas)),
        groups=tuple(_groups(recent, sagas)),
    )


def quantiles(values: Iterable[float]) -> Quantiles | None:
    """None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    last = len(ordered)

    def rank(share: float) -> float:
        return ordered[max(1, math.ceil(share * last)) - 1]

    return Quantiles(last, rank(0.5), rank(0.95), rank(0.99), ordered[-1])


def _runs_of(
    journal: ReaderJournal, records: Iterable[Recorded]
) -> tuple[dict[str, str], dict[str, float]]:
    """Each run's saga and launch time: from its launch, or, where that is further back, from its row."""
    sagas: dict[str, str] = {}
    launches: dict[str, float] = {}
    missing: set[str] = set()
    for record in records:
        if isinstance(record.event, ev.RunLaunched):
            sagas[record.run_id] = record.event.saga
            launches[record.run_id] = record.event.at
        elif record.run_id and record.run_id not in sagas:
            missing.add(record.run_id)
    ids = sorted(missing - set(sagas))
    for start in range(0, len(ids), _LOOKED_UP):
        chunk = tuple(ids[start : start + _LOOKED_UP])
        for row in journal.runs(RunFilter(ids=chunk), None, _LOOKED_UP).runs:
            sagas[row.run_id] = row.saga
            launches[row.run_id] = row.launched_at
    return sagas, launches


def _sagas(
    records: Iterable[Recorded],
    sagas: Mapping[str, str],
    launches: Mapping[str, float],
    counts: Mapping[str, Mapping[str, int]],
    minutes: float,
) -> Iterator[SagaFigures]:
    tally: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    durations: dict[str, list[float]] = defaultdict(list)
    for record in records:
        saga = sagas.get(record.run_id)
        if saga is None:
            continue
        tally[saga][record.type] += 1
        if isinstance(record.event, ev.RunCompleted | ev.RunCompensated):
            durations[saga].append(max(0.0, record.at - launches[record.run_id]))
    for saga in sorted(set(counts) | set(tally)):
        seen = tally[saga]
        ended = seen["RunCompleted"] + seen["RunCompensated"]
        yield SagaFigures(
            saga=saga,
            runs=dict(counts.get(saga, {})),
            launched=seen["RunLaunched"],
            completed=seen["RunCompleted"],
            compensated=seen["RunCompensated"],
            parked=seen["StepParked"],
            launched_per_min=seen["RunLaunched"] / minutes,
            ended_per_min=ended / minutes,
            duration=quantiles(durations[saga]),
        )


def _steps(records: Iterable[Recorded], sagas: Mapping[str, str]) -> Iterator[StepFigures]:
    tally: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    held: dict[tuple[str, str], list[float]] = defaultdict(list)
    voted_at: dict[tuple[str, str], float] = {}
    groups: set[tuple[str, str]] = set()
    for record in records:
        event = record.event
        step = getattr(event, "step", None)
        if event is None or not step or record.run_id not in sagas:
            continue
        place = (sagas[record.run_id], _plain(step))
        if isinstance(event, _OF_GROUPS):
            groups.add(place)
        tally[place][record.type] += 1
        if getattr(event, "retry_at", None) is not None:
            tally[place]["retries"] += 1
        if isinstance(event, ev.StepSucceeded | ev.BranchVoted):
            took[place].append(event.took_s)
        if isinstance(event, ev.BranchVoted):
            voted_at[record.run_id, step] = record.at
            tally[place]["done with its vote"] += event.vote != "prepared"
        elif isinstance(event, ev.BranchCommitted) and (record.run_id, step) in voted_at:
            held[place].append(max(0.0, record.at - voted_at.pop((record.run_id, step))))
    for (saga, step), seen in sorted(tally.items()):
        if (saga, step) in groups:
            continue
        yield StepFigures(
            saga=saga,
            step=step,
            succeeded=seen["StepSucceeded"] + seen["BranchCommitted"] + seen["done with its vote"],
            refused=seen["StepRefused"],
            failed=seen["StepFailed"],
            unknown=seen["StepInDoubt"],
            retries=seen["retries"] + seen["StepRetried"],
            undone=seen["StepUndone"],
            took=quantiles(took[saga, step]),
            held=quantiles(held[saga, step]),
        )


_OF_GROUPS = (ev.CommitDecided, ev.AbortDecided, ev.OnePhaseRecalled)


def _groups(records: Iterable[Recorded], sagas: Mapping[str, str]) -> Iterator[GroupFigures]:
    tally: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in records:
        match record.event:
            case ev.CommitDecided(step=step):
                what = "committed"
            case ev.AbortDecided(step=step, then=then):
                what = "retried" if then == "retry" else "given up"
            case _:
                continue
        if record.run_id in sagas:
            tally[sagas[record.run_id], _plain(step)][what] += 1
    for (saga, group), seen in sorted(tally.items()):
        yield GroupFigures(saga, group, seen["committed"], seen["retried"], seen["given up"])


def _plain(step: str) -> str:
    """A step's name without its index and its number."""
    return step.partition("[")[0].partition("#")[0]
