"""Where commands that look at runs find them: in the journal, or in an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol

import typer

from orchestrator.cli.invocation import Invocation
from orchestrator.definition.plan import Plan
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.kernel.summary import RunSummary

ArchivePath = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="PATH",
        help="Look into a file, or a folder of them, that `saga archive` wrote, instead of the journal.",
    ),
]


class Source(Protocol):
    """What journals and archives can both be asked."""

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run by its id, a prefix of it, its key, or ``saga:key``."""
        ...

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs."""
        ...

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        ...

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...


def source(call: Invocation, archive: str | None) -> Source:
    """The journal, or the archive at a path. Raises ``ArchiveError``."""
    if archive is None:
        return call.journal
    from orchestrator.journal.archive_folder import ArchivedRuns  # noqa: PLC0415 - start-up time

    return ArchivedRuns(Path(archive))
