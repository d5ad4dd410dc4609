"""Journals with finished runs, to archive them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.records import shard_of
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.events import Event, RunCompleted, StepSucceeded
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.summary import summarize
from tests.contract.journal_samples import PLAN, SHARDS, launched, request, run_in

DAY = 86_400.0
NOW = 1_000 * DAY
PROGRAM = Program(PLAN)


def open_in(shard: int) -> str:
    """The open run that has the last record of a shard."""
    return run_in(shard, number=60)


def stream(
    run_id: str, ended_at: float, key: str | None = None, tags: dict[str, str] | None = None
) -> list[Event]:
    """A run from its launch to its end."""
    return [
        launched(run_id, at=ended_at - 2, key=key, tags=tags),
        StepSucceeded(at=ended_at - 1, step="reserve", attempt=1, result={"hold": run_id}),
        RunCompleted(at=ended_at, result=None),
    ]


def fill(
    journal: SqlJournal,
    runs: Sequence[str],
    *,
    ended_at: float = NOW - 100 * DAY,
    keys: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    unfinished: int = 0,
    last: bool = True,
) -> dict[int, Tenure]:
    """Write runs as a coordinator would, those of a shard mixed; ``unfinished`` of them lack their last event.

    With ``last`` an open run has the last record of each shard, so that all others may be archived.
    """
    journal.launch(
        [request(run, key=(keys or {}).get(run), at=ended_at - 2, **(tags or {})) for run in runs]
    )
    tenures: dict[int, Tenure] = {}
    for shard in range(SHARDS):
        mine = [run for run in runs if shard_of(run, SHARDS) == shard]
        tenure = journal.begin_tenure(shard, "one", 1.0)
        streams = {run: stream(run, ended_at, (keys or {}).get(run), tags) for run in mine}
        for run in [run for run in mine if run in list(runs)[len(runs) - unfinished :]]:
            streams[run].pop()
        events = [
            (run, streams[run][number])
            for number in range(3)
            for run in mine
            if number < len(streams[run])
        ]
        if last:
            held = open_in(shard)
            events.append((held, launched(held, at=NOW)))
            streams[held] = [launched(held, at=NOW)]
        items = journal.inbox([shard], {}, 10_000)
        tenures[shard] = journal.append([_write(tenure, events, streams, items)])[0]
    return tenures


def _write(
    tenure: Tenure, events: list[tuple[str, Event]], streams: dict[str, list[Event]], items: Any
) -> ShardWrite:
    states = {run: fold(PROGRAM, found) for run, found in streams.items()}
    rows = [summarize(state, tenure.shard, streams[run][-1].at) for run, state in states.items()]
    return ShardWrite(
        tenure=tenure,
        events=events,
        runs=rows,
        consumed=[item.id for item in items],
        cursor_offset=tenure.next_offset + len(events) - 1,
        cursor_at=0.0,
    )
