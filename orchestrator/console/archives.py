"""Runs that were moved to files: found by the journal's note of where, read from the folder, never changed.

A file is read for one run at a time, and what was read kept for a while: a page asks for the same run several times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from orchestrator.console.kept import Kept
from orchestrator.definition.plan import Plan
from orchestrator.errors import ArchiveError, RunArchivedError, RunNotFoundError
from orchestrator.journal.archive_folder import ArchivedRuns
from orchestrator.journal.port import Recorded
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.redaction import Curtains

_KEPT_S = 60.0


class Place(msgspec.Struct, frozen=True):
    """Where an archived run is kept."""

    folder: str
    file: str


class Found(NamedTuple):
    """A run with all there is of it; ``place`` is None for one in the journal."""

    run: RunSummary
    plan: Plan
    records: list[Recorded]
    curtains: Curtains
    place: Place | None = None


class Archives:
    """The files of a folder; without one, nothing in them is found. Safe for threads."""

    def __init__(self, folder: str, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._kept = Kept[Found](_KEPT_S, clock)

    def find(self, gone: RunArchivedError) -> Found:
        """The run that the journal no longer has. Raises ``RunNotFoundError`` if its file can't be read either."""
        return self._kept.get((gone.run_id, gone.file), lambda: self._read(gone))

    def _read(self, gone: RunArchivedError) -> Found:
        if not self._folder:
            raise RunNotFoundError(f"{gone}; this console has no archive folder")
        try:
            runs = ArchivedRuns(Path(self._folder) / Path(gone.file).name)
            run = runs.find(gone.run_id)
            place = Place(self._folder, gone.file)
            return Found(run, runs.plan(run.plan), runs.history(run.run_id), Curtains(runs), place)
        except ArchiveError as error:
            raise RunNotFoundError(f"{gone}; this console can't read it: {error}") from error
