"""`saga list`: runs, a page at a time."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import ago, short_ids, status_text
from orchestrator.cli.output import table
from orchestrator.cli.sources import ArchivePath, Source, source
from orchestrator.journal.port import Page, RunFilter
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.redaction import Curtains

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="The most runs to show.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", help="Continue where an earlier page ended.")
]
Step = Annotated[
    str | None, typer.Option("--step", help="Only runs held up, or parked, at this step.")
]


@opt.chooses_runs
def list_runs(
    context: typer.Context,
    *,
    where: RunFilter,
    step: Step = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    archive: ArchivePath = None,
) -> None:
    """List runs, newest first."""
    call = invocation(context)
    kept = source(call, archive)
    page = _filled(kept, replace(where, step=step), cursor, limit)
    page = replace(page, runs=Curtains(kept).rows(page.runs))
    if call.out.json:
        call.out.data({"runs": page.runs, "cursor": page.cursor})
        return
    _show(call, page)


def _filled(kept: Source, where: RunFilter, cursor: str | None, limit: int) -> Page:
    """A page; a text is looked for until it's full, or all runs were looked at."""
    page = kept.runs(where, cursor, limit)
    while page.looked_at and page.cursor and len(page.runs) < limit:
        more = kept.runs(where, page.cursor, limit - len(page.runs))
        page = replace(more, runs=(*page.runs, *more.runs))
    return page


def _show(call: Invocation, page: Page) -> None:
    if not page.runs:
        call.out.note("no runs; `saga launch NAME` starts one")
        return
    call.out.show(runs_table(call, page.runs))
    if page.cursor:
        call.out.note(f"there are more: --cursor {page.cursor}", "dim")


def runs_table(call: Invocation, runs: tuple[RunSummary, ...]) -> Table:
    """Runs, one a line."""
    ids = short_ids(run.run_id for run in runs)
    keyed = any(run.key for run in runs)
    shown = table("run", "saga", "status", *(["key"] if keyed else []), "launched", "why", wrap="")
    shown.columns[-1].overflow = "ellipsis"
    shown.columns[-1].no_wrap = True
    for run in runs:
        cells = [
            Text(ids[run.run_id], style="bold"),
            Text(run.saga),
            status_text(run.status, ascii_only=call.out.ascii_only),
            *([Text(run.key or "", style="dim")] if keyed else []),
            Text(ago(call.now(), run.launched_at), style="dim"),
            Text(why(run)),
        ]
        shown.add_row(*cells)
    return shown


def why(run: RunSummary) -> str:
    """Why a run is where it is, in one line."""
    if run.status == "accepted":
        return "waits for a coordinator"
    if run.reason:
        return " ".join(run.reason.split())
    if run.status in {"running", "compensating"} and run.steps:
        return f"at {', '.join(run.steps)}"
    return ""
