"""`saga show`, `saga events` and `saga watch`: one run, looked at closely."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from orchestrator.cli import options as opt
from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import clock
from orchestrator.cli.output import plain
from orchestrator.cli.parsing import moment
from orchestrator.cli.run_page import events_table, run_page
from orchestrator.cli.sources import ArchivePath, Source, source
from orchestrator.cli.watching import watch_all
from orchestrator.errors import RunNotFoundError
from orchestrator.journal.port import Recorded
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.look import RunLook, look
from orchestrator.views.redaction import Curtains
from orchestrator.views.timeline import Entry, timeline

SETTLED = frozenset({"completed", "compensated", "stuck"})
"""Nothing more happens to such a run by itself."""
LOOK_EVERY_S = 0.25

Full = Annotated[
    bool, typer.Option("--full", help="Every attempt, argument and result, nothing shortened.")
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="The state at this time: 5m (ago), ISO 8601, epoch seconds."
    ),
]
OneRun = Annotated[
    str | None, typer.Argument(metavar="RUN", help="A run, as in `saga show`; without one, all.")
]


def show(
    context: typer.Context, run: opt.RunId, *, full: Full = False, archive: ArchivePath = None
) -> None:
    """Show a run: its plan with the state of every step, why it waits, and what can be done."""
    call = invocation(context)
    where = source(call, archive)
    row = where.find(run)
    seen = _seen(where, row, where.history(row.run_id), call.now())
    if call.out.json:
        call.out.data(seen)
    else:
        call.out.show(*run_page(seen, call.now(), call.out, full=full))


def events(
    context: typer.Context, run: opt.RunId, at: At = None, archive: ArchivePath = None
) -> None:
    """List a run's events; with --at only those up to a time, and the state they had made."""
    call = invocation(context)
    where = source(call, archive)
    row = where.find(run)
    records = where.history(row.run_id)
    then = call.now()
    if at is not None:
        then = moment(at, call.now(), "--at")
        records = [record for record in records if record.at <= then]
        if not records:
            raise RunNotFoundError(
                f"run {row.run_id} hadn't been launched by {clock(then, day=True)}"
            )
    entries = _told(where, row, records)
    state = None if at is None else _seen(where, row, records, then)
    if call.out.json:
        call.out.data({"run_id": row.run_id, "events": entries, "state": state})
    elif not entries:
        call.out.note(f"run {row.run_id} has no events yet: it waits for a coordinator")
    else:
        call.out.show(events_table(entries))
        if state is not None:
            call.out.show("", *run_page(state, then, call.out, full=False))


def watch(context: typer.Context, run: OneRun = None) -> None:
    """Follow a run until it ends or needs a person, or, without one, all runs until Ctrl-C."""
    call = invocation(context)
    if run is None:
        watch_all(call)
        return
    run_id = call.journal.find(run).run_id
    drawn = call.out.console.is_terminal and not call.out.json
    status = _follow_drawn(call, run_id) if drawn else _follow_lines(call, run_id)
    raise typer.Exit(Exit.OK if status == "completed" else Exit.UNSUCCESSFUL)


def _follow_drawn(call: Invocation, run_id: str) -> str:
    from rich.live import Live  # noqa: PLC0415 - start-up time

    with Live(console=call.out.console, auto_refresh=False) as live:
        while True:
            row = call.journal.find(run_id)
            seen = _seen(call.journal, row, call.journal.history(run_id), call.now())
            live.update(Group(*run_page(seen, call.now(), call.out, full=False)), refresh=True)
            if row.status in SETTLED:
                return row.status
            call.backend.sleep(LOOK_EVERY_S)


def _follow_lines(call: Invocation, run_id: str) -> str:
    """Each event as it comes: for pipes and programs."""
    told = 0
    while True:
        row = call.journal.find(run_id)
        entries = _told(call.journal, row, call.journal.history(run_id))
        for entry in entries[told:]:
            if call.out.json:
                call.out.line({"run_id": run_id, **plain(entry)})
            else:
                call.out.show(f"{clock(entry.at)}  {entry.text}")
        told = len(entries)
        if row.status in SETTLED:
            return row.status
        call.backend.sleep(LOOK_EVERY_S)


def _seen(where: Source, row: RunSummary, records: list[Recorded], now: float) -> RunLook:
    return Curtains(where).look(look(where.plan(row.plan), row, records, now))


def _told(where: Source, row: RunSummary, records: list[Recorded]) -> list[Entry]:
    return Curtains(where).entries(row, timeline(where.plan(row.plan), records))
