"""Does the read model say what the log says? The oracle of the tests, and of ``saga journal check``.

Runs are read in pages and compared one by one, so a journal of any size can be checked while it is in
use: a run that moves meanwhile is read again before it counts as different.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf, nextafter

import msgspec

from orchestrator.errors import IllegalEventError, RunNotFoundError
from orchestrator.journal.incident import Cluster
from orchestrator.journal.port import ReaderJournal, RunFilter
from orchestrator.kernel.events import RunLaunched
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.replay import row_of

FINDINGS_MAX = 100
"""More than these nobody reads: who checks a journal is told that there are more."""
_PAGE = 200
_LOOKS = 3
"""How often a run that seems different is read again: its row and its events are two queries."""
_NOT_COMPARED = {"updated_at"}
"""The row's is when it was written, the log's when the event happened."""


def differences(journal: ReaderJournal) -> Iterator[str]:
    """One line per run whose row isn't what a replay of its events makes, or is missing, or not found by tags."""
    yield from _rows_against_log(journal)
    yield from _log_without_rows(journal)
    yield from _clusters_against_rows(journal)
    yield from journal.miscounted()


def stuck_runs(journal: ReaderJournal) -> Iterator[RunSummary]:
    """Every run that needs a person, newest first."""
    cursor = None
    while True:
        page = journal.runs(RunFilter(stuck=True), cursor, _PAGE)
        yield from page.runs
        cursor = page.cursor
        if cursor is None:
            return


def _rows_against_log(journal: ReaderJournal) -> Iterator[str]:
    cursor = None
    while True:
        page = journal.runs(RunFilter(), cursor, _PAGE)
        for row in page.runs:
            yield from _difference(journal, row)
        cursor = page.cursor
        if cursor is None:
            return


def _difference(journal: ReaderJournal, row: RunSummary) -> Iterable[str]:
    found: list[str] = []
    for look in range(_LOOKS):
        try:
            current = row if look == 0 else journal.find(row.run_id)
            found = [*_compared(journal, current), *_unfound(journal, current)]
        except RunNotFoundError:
            return []
        if not found:
            return []
    return found


def _compared(journal: ReaderJournal, row: RunSummary) -> list[str]:
    where = f"run {row.run_id} ({row.saga})"
    records = journal.history(row.run_id)
    if not records:
        if row.status == "accepted":
            return []
        return [f"{where}: its row says {row.status}, the log has no event of it"]
    try:
        expected = row_of(journal.plan(row.plan), records)
    except IllegalEventError as error:
        return [f"{where}: its events can't be replayed: {error}"]
    wrong = [
        f"{name} is {getattr(row, name)!r}, the log makes it {getattr(expected, name)!r}"
        for name in RunSummary.__struct_fields__
        if name not in _NOT_COMPARED and _plain(row, name) != _plain(expected, name)
    ]
    return [f"{where}: {'; '.join(wrong)}"] if wrong else []


def _unfound(journal: ReaderJournal, row: RunSummary) -> list[str]:
    """The index of tags has to find what the row says; more than that is never listed."""
    at = row.launched_at
    wanted = RunFilter(
        tags=row.tags, launched_after=at, launched_before=nextafter(at, inf), ids=(row.run_id,)
    )
    if not row.tags or journal.runs(wanted, None, 1).runs:
        return []
    return [f"run {row.run_id} ({row.saga}): it isn't found by its tags"]


def _plain(row: RunSummary, name: str) -> object:
    return msgspec.to_builtins(getattr(row, name))


def _log_without_rows(journal: ReaderJournal) -> Iterator[str]:
    for shard in range(journal.shards()):
        after = 0
        while records := journal.feed(shard, after, _PAGE):
            after = records[-1].offset
            begun = [record.run_id for record in records if isinstance(record.event, RunLaunched)]
            if not begun:
                continue
            rows = journal.runs(RunFilter(ids=tuple(begun)), None, len(begun)).runs
            for run_id in sorted(set(begun) - {row.run_id for row in rows}):
                yield f"run {run_id}: it is in the log of shard {shard} and has no row"


def _clusters_against_rows(journal: ReaderJournal) -> Iterable[str]:
    """The index of incidents has to find what the rows say, no more and no less."""
    wrong: list[str] = []
    for _ in range(_LOOKS):
        found = Counter({one.cluster: one.incidents for one in _clusters(journal)})
        said = Counter(one.cluster for run in stuck_runs(journal) for one in run.incidents)
        wrong = [
            f"cluster {name}: the index has {found[name]} incidents of it, the runs have {said[name]}"
            for name in sorted(found.keys() | said.keys())
            if found[name] != said[name]
        ]
        if not wrong:
            return []
    return wrong


def _clusters(journal: ReaderJournal) -> Iterator[Cluster]:
    cursor = None
    while True:
        page = journal.clusters((), cursor, _PAGE)
        yield from page.clusters
        cursor = page.cursor
        if cursor is None:
            return
