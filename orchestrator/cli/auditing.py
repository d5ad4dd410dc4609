"""`saga audit`: who did what to which run, when and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import short_ids, utc
from orchestrator.cli.output import table
from orchestrator.cli.parsing import age_s
from orchestrator.journal.audit import AuditPage, Doing
from orchestrator.journal.port import OperationFilter
from orchestrator.kernel.asked import OPERATIONS

Actor = Annotated[str | None, typer.Option("--actor", help="Only what this one did.")]
Named = Annotated[
    str | None,
    typer.Option("--operation", help=f"Only this operation ({', '.join(OPERATIONS)})."),
]
OneRun = Annotated[
    str | None, typer.Option("--run", metavar="RUN", help="Only to this run, as in `saga show`.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="AGE", help="Only within this time: 5m, 2h, 1d.")
]
Older = Annotated[
    str | None, typer.Option("--older", metavar="AGE", help="Only longer ago: 5m, 2h, 1d.")
]
Refused = Annotated[bool, typer.Option("--refused", help="Only what was refused.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="The most to show.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", help="Continue where an earlier page ended.")
]


def audit(
    context: typer.Context,
    *,
    actor: Actor = None,
    operation: Named = None,
    saga: opt.Saga = None,
    run: OneRun = None,
    since: Since = None,
    older: Older = None,
    refused: Refused = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """Show who did what to which run, newest first, and whether the log still is what was written."""
    call = invocation(context)
    where = OperationFilter(
        actor=actor,
        operation=operation,
        saga=saga,
        run=None if run is None else call.journal.find(run).run_id,
        after=None if since is None else call.now() - age_s(since, "--since"),
        before=None if older is None else call.now() - age_s(older, "--older"),
        refused=refused,
    )
    page = call.curtains.audit(call.client.audit(where, cursor=cursor, limit=limit))
    if call.out.json:
        call.out.data(page)
    else:
        _show(call, page)
    if not page.intact:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _show(call: Invocation, page: AuditPage) -> None:
    if not page.entries:
        call.out.note("nobody did anything that fits")
        return
    ids = short_ids(entry.run_id for entry in page.entries)
    shown = table("when (UTC)", "who", "what", "run", "before", "after", "why", wrap="why")
    for entry in page.entries:
        shown.add_row(
            Text(utc(entry.at), style="dim"),
            Text(f"{entry.actor}, {entry.second}" if entry.second else entry.actor),
            Text(_what(entry), style="red" if entry.refused or not entry.intact else ""),
            Text(ids[entry.run_id] if entry.is_on_run else entry.run_id, style="bold"),
            Text(_state(entry.before, entry.step_before)),
            Text(_state(entry.after, entry.step_after)),
            Text(f"refused: {entry.refused}" if entry.refused else entry.reason),
        )
    call.out.show(shown)
    if page.intact:
        call.out.note("the hash chain holds for every event of these runs", "dim")
    for place in page.altered:
        call.out.note(f"{place}: not what was written; see `saga journal check`", "bold red")
    if page.cursor:
        call.out.note(f"there are more: --cursor {page.cursor}", "dim")


def _what(entry: Doing) -> str:
    altered = "" if entry.intact else " (altered)"
    return f"{entry.operation}{f' {entry.step}' if entry.step else ''}{altered}"


def _state(status: str, step: str) -> str:
    return f"{status}, {step}" if step else status
