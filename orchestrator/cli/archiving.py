"""`saga archive`: finished runs move from the journal to files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import clock
from orchestrator.cli.parsing import age_s, moment
from orchestrator.cli.progress import counting
from orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from orchestrator.journal.archive_removal import Outlook, Wanted
    from orchestrator.journal.archiving import Archiver, Step

OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only runs that ended longer ago: 90d, 12w."),
]
Before = Annotated[
    str | None,
    typer.Option(
        "--before", metavar="TIME", help="Only runs that ended before: 2025-01-31, epoch seconds."
    ),
]
OneSaga = Annotated[str | None, typer.Option("--saga", help="Only runs of this saga.")]
To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="FOLDER", help="Where the files go; else the setting archive_folder."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what there is to archive; change nothing.")
]


def archive(
    context: typer.Context,
    *,
    older_than: OlderThan = None,
    before: Before = None,
    saga: OneSaga = None,
    to: To = None,
    dry_run: DryRun = False,
) -> None:
    """Move finished runs to compressed files, verified before they leave the journal."""
    call = invocation(context)
    from orchestrator.journal.archive_removal import Wanted  # noqa: PLC0415 - start-up time

    wanted = Wanted(_before(call.now(), older_than, before), saga)
    folder = Path(to if to is not None else call.settings.archive_folder)
    archiver = _archiver(call, folder)
    there = archiver.outlook(wanted)
    if dry_run:
        _foretell(call, folder, wanted, there)
        return
    steps: list[Step] = []
    with counting(call.out, f"archiving to {folder}", there.runs) as tell:
        for step in archiver.run(wanted):
            steps.append(step)
            tell(step.looked_at)
    _report(call, folder, steps, archiver.kept)


def _before(now: float, older_than: str | None, before: str | None) -> float:
    if older_than is None and before is None:
        raise typer.BadParameter("say how old: --older-than 90d", param_hint="--older-than")
    times: list[float] = []
    if older_than is not None:
        times.append(now - age_s(older_than, "--older-than"))
    if before is not None:
        times.append(moment(before, now, "--before"))
    return min(times)


def _archiver(call: Invocation, folder: Path) -> Archiver:
    from orchestrator.journal.archiving import Archiver  # noqa: PLC0415 - start-up time
    from orchestrator.journal.sql import SqlJournal  # noqa: PLC0415 - start-up time

    if not isinstance(call.journal, SqlJournal):
        raise InvalidInputError("only a journal in a database can be archived")
    return Archiver(call.journal, folder, clock=call.now)


def _foretell(call: Invocation, folder: Path, wanted: Wanted, there: Outlook) -> None:
    if call.out.json:
        call.out.data({"folder": str(folder), "before": wanted.before, **there._asdict()})
        return
    if not there.runs or there.ended_from is None or there.ended_to is None:
        call.out.note(f"no run ended before {clock(wanted.before, day=True)}")
        return
    for name, number in there.sagas.items():
        call.out.show(f"{number:,} of {name}")
    call.out.show(
        f"{there.runs:,} runs that ended from {clock(there.ended_from, day=True)}"
        f" to {clock(there.ended_to, day=True)} would go to {folder}, less those that can't yet"
    )


def _report(call: Invocation, folder: Path, steps: list[Step], kept: dict[str, str]) -> None:
    runs = sum(step.removed.runs for step in steps)
    events = sum(step.removed.events for step in steps)
    written = [step.manifest for step in steps]
    if call.out.json:
        call.out.data(
            {"folder": str(folder), "runs": runs, "events": events, "files": written, "kept": kept}
        )
        return
    size = sum(manifest.bytes for manifest in written)
    call.out.show(
        f"{runs:,} runs with {events:,} events were moved to {len(written):,} files in {folder}"
        f" ({size:,} bytes)"
    )
    for why, number in Counter(kept.values()).most_common():
        call.out.note(f"{number:,} stay: {why}", "dim")
