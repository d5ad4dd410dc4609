"""Moving finished runs to files: written, read back and replayed, and only then removed from the journal.

It may be stopped at any point and started again: a file that was verified is finished first. Two at once do no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import ArchiveError, IllegalEventError, InvalidInputError
from orchestrator.journal import archive_removal as removal
from orchestrator.journal.archive_file import Batch, differs, replayed
from orchestrator.journal.archive_folder import Manifest, head, manifests, store, verified
from orchestrator.journal.archive_removal import Outlook, Removed, Wanted
from orchestrator.journal.records import Row, Stretch, recorded, stretches_of
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import ENDED
from orchestrator.kernel.summary import RunSummary

MINIMUM_AGE_S = 3600.0
"""A run that ended later stays: its launch, its signals and its messages may still be repeated."""
_CHUNK = 100
"""Runs whose records are read at once, and the most that one transaction removes."""


class ArchiveLimits(NamedTuple):
    """The size of a file; a run is never divided."""

    runs: int = 1_000
    events: int = 20_000


class Step(NamedTuple):
    """One file is finished: what it holds, what was removed for it, and how many runs were looked at in all."""

    manifest: Manifest
    removed: Removed
    looked_at: int


class Archiver:
    """Archives one journal to one folder. ``pause`` lets appends go first between two removals."""

    def __init__(
        self,
        journal: SqlJournal,
        folder: Path,
        *,
        limits: ArchiveLimits | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._database = journal.database
        self._folder = folder
        self._limits = limits or ArchiveLimits()
        self._clock = clock
        self._pause = pause
        self._programs: dict[str, Program] = {}
        self.kept: dict[str, str] = {}
        """Runs that were looked at and stay, and why."""

    def outlook(self, wanted: Wanted) -> Outlook:
        """What there is to archive. Raises ``InvalidInputError`` for runs that are too young."""
        self._check(wanted)
        return self._database.read(lambda connection: removal.outlook(connection, wanted))

    def run(self, wanted: Wanted) -> Iterator[Step]:
        """Archive, a file at a time. Raises ``InvalidInputError``, ``ArchiveError``, ``JournalUnavailableError``."""
        self._check(wanted)
        looked_at = 0
        for manifest in self._unfinished():
            looked_at += manifest.runs
            yield Step(manifest, self._remove(manifest), looked_at)
        for seen, batch in self._batches(wanted):
            looked_at += seen
            if batch is None:
                continue
            manifest = store(self._folder, batch)
            yield Step(manifest, self._remove(manifest), looked_at)

    def _check(self, wanted: Wanted) -> None:
        if wanted.before > self._clock() - MINIMUM_AGE_S:
            raise InvalidInputError(
                "runs that ended within the last hour aren't archived: their launches and messages may still"
                " be repeated"
            )

    def _unfinished(self) -> Iterator[Manifest]:
        """Verified files whose runs are still in the journal: an earlier archiver didn't come to the end."""
        known = self._database.read(removal.files)
        for manifest in manifests(self._folder):
            if known.get(manifest.file, ("", 0))[1] >= manifest.runs:
                continue
            ids = [run.run_id for run in head(self._folder, manifest).runs]
            if self._present(ids):
                yield manifest

    def _batches(self, wanted: Wanted) -> Iterator[tuple[int, Batch | None]]:
        """Runs to archive, and how many were looked at for them."""
        runs: list[RunSummary] = []
        rows: list[Row] = []
        after, seen = (0.0, ""), 0
        while found := self._candidates(wanted, after):
            last = found[-1]
            after = (last.ended_at or 0.0, last.run_id)
            seen += len(found)
            for run, stream in self._archivable(found):
                runs.append(run)
                rows += stream
            if len(runs) >= self._limits.runs or len(rows) >= self._limits.events:
                yield seen, self._batch(runs, rows)
                runs, rows, seen = [], [], 0
        if runs:
            yield seen, self._batch(runs, rows)

    def _candidates(self, wanted: Wanted, after: tuple[float, str]) -> list[RunSummary]:
        limit = min(_CHUNK, self._limits.runs)
        return self._database.read(
            lambda connection: removal.candidates(connection, wanted, after, limit)
        )

    def _archivable(self, runs: list[RunSummary]) -> Iterator[tuple[RunSummary, list[Row]]]:
        streams = self._database.read(
            lambda connection: removal.streams(self._database, connection, runs)
        )
        waiting = self._database.read(
            lambda connection: removal.waiting(connection, [run.run_id for run in runs])
        )
        for run in runs:
            stream = streams.get(run.run_id)
            why = "a message is waiting for it" if run.run_id in waiting else ""
            if stream is None:
                why = "its events are the last of their shard, or gone"
            if not why and stream is not None:
                why = self._objection(run, stream)
            if why or stream is None:
                self.kept[run.run_id] = why
            else:
                yield run, stream

    def _objection(self, run: RunSummary, stream: list[Row]) -> str:
        if run.plan not in self._programs:
            self._programs[run.plan] = Program(self._journal.plan(run.plan), run.plan)
        try:
            found = replayed(self._programs[run.plan], [recorded(row) for row in stream])
        except IllegalEventError as error:
            return f"its events can't be replayed: {error}"
        state = found[0]
        if state.phase not in ENDED or state.open:
            return "by its events it hasn't ended"
        if any(step.heuristic is not None for step in state.steps.values()):
            return "a branch went against its group's decision: `saga forget` closes that"
        difference = differs(run, found)
        return f"its row isn't what its events make: {difference}" if difference else ""

    def _batch(self, runs: list[RunSummary], rows: list[Row]) -> Batch | None:
        """The runs that another archiver hasn't taken meanwhile; None if it took all."""
        while runs:
            ordered = sorted(rows)
            stretches = self._stretches(ordered)
            if all(one.before or one.first == 1 for one in stretches):
                plans = {run.plan: self._journal.plan(run.plan) for run in runs}
                return Batch(plans, runs, ordered, stretches)
            here = self._present([run.run_id for run in runs])
            if len(here) == len(runs):
                raise ArchiveError(
                    "the log isn't whole, so nothing can be archived from it: see `saga journal check`"
                )
            runs = [run for run in runs if run.run_id in here]
            rows = [row for row in rows if row.run_id in here]
        return None

    def _stretches(self, rows: list[Row]) -> list[Stretch]:
        before = self._database.read(lambda connection: removal.hashes_before(connection, rows))
        return stretches_of(rows, before)

    def _present(self, run_ids: list[str]) -> set[str]:
        return self._database.read(lambda connection: removal.present(connection, run_ids))

    def _remove(self, manifest: Manifest) -> Removed:
        """Remove what a file holds, as read from disk, a few runs at a time."""
        batch = verified(self._folder, manifest)
        shards: dict[int, dict[str, list[Row]]] = {}
        for row in batch.rows:
            shards.setdefault(row.shard, {}).setdefault(row.run_id, []).append(row)
        runs = events = 0
        for shard, streams in shards.items():
            ids = list(streams)
            for start in range(0, len(ids), _CHUNK):
                chunk = {run_id: streams[run_id] for run_id in ids[start : start + _CHUNK]}
                began = time.perf_counter()
                removed = self._database.write(
                    lambda connection, shard=shard, chunk=chunk: removal.remove(  # type: ignore[misc]
                        connection, manifest.file, manifest.sha256, shard, chunk
                    )
                )
                runs += removed.runs
                events += removed.events
                self._pause(time.perf_counter() - began)
        return Removed(runs, events)
