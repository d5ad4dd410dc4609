"""`saga bulk`: one operation for many runs as a record of its own, a small wave first."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec.structs import replace
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.bulk import foretell_many
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import ago, short_ids, utc
from orchestrator.cli.output import table
from orchestrator.cli.parsing import age_s
from orchestrator.journal.bulk import (
    BULK_OPERATIONS,
    CANARIES,
    Bulk,
    BulkLimits,
    BulkOperation,
)
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg

bulk = typer.Typer(help="One operation for many runs, a small wave first.", no_args_is_help=True)

BulkId = Annotated[
    str, typer.Argument(metavar="BULK", help="A bulk operation's id, or a prefix of it.")
]
Named = Annotated[
    str, typer.Argument(metavar="OPERATION", help=f"One of {', '.join(BULK_OPERATIONS)}.")
]
OneStep = Annotated[str | None, typer.Option("--step", help="Only runs at this step; of a retry.")]
FailuresMax = Annotated[
    float,
    typer.Option("--failures-max", min=0.0, max=1.0, help="Stop when more of a wave fails."),
]
Settle = Annotated[
    str, typer.Option("--settle", metavar="TIME", help="How long a wave may take: 60s, 5m.")
]
Batch = Annotated[
    int, typer.Option("--batch", min=1, help="Runs in each wave after the first two.")
]
Items = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The most runs to show.")]
_KINDS: dict[str, type[BulkOperation]] = {
    "retry": msg.Retry,
    "compensate": msg.Compensate,
    "cancel": msg.Cancel,
    "pause": msg.Pause,
    "resume": msg.Resume,
}


@bulk.command("start")
@opt.chooses_runs
def start(
    context: typer.Context,
    operation: Named,
    *,
    step: OneStep = None,
    where: RunFilter,
    failures_max: FailuresMax = 0.1,
    settle: Settle = "60s",
    batch: Batch = 100,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Start one for the runs that fit now: 1 run first, then 10, then batches; it stops by itself."""
    call = invocation(context)
    where = replace(where, step=step)
    message = _message(call, operation, step, reason)
    if where == RunFilter():
        raise typer.BadParameter("choose runs by options such as --stuck", param_hint="OPERATION")
    limits = BulkLimits(CANARIES, batch, failures_max, age_s(settle, "--settle"))
    if not foretell_many(call, where, message, yes=yes, dry_run=dry_run):
        return
    made = call.client.bulk.start(message, where, limits=limits)
    _tell(call, made)


@bulk.command("list")
def list_bulks(context: typer.Context) -> None:
    """List bulk operations, newest first."""
    call = invocation(context)
    found = call.client.bulk.list()
    if call.out.json:
        call.out.data({"bulks": found})
        return
    if not found:
        call.out.note("no bulk operations; `saga bulk start` makes one")
        return
    ids = short_ids(one.id for one in found)
    shown = table("bulk", "what", "state", "runs", "came of it", "who", "started", right=("runs",))
    for one in found:
        shown.add_row(
            Text(ids[one.id], style="bold"),
            _operation(one),
            one.state,
            f"{one.total:,}",
            _counts(one),
            one.message.actor,
            Text(ago(call.now(), one.created_at), style="dim"),
        )
    call.out.show(shown)


@bulk.command("show")
def show(context: typer.Context, bulk_id: BulkId, *, limit: Items = 50) -> None:
    """Show one: how far it is, who touched it, and what came of each run."""
    call = invocation(context)
    one = call.client.bulk.get(bulk_id)
    items = call.curtains.items(call.client.bulk.items(one.id, limit=limit))
    if call.out.json:
        call.out.data({"bulk": one, "items": items})
        return
    call.out.show(Text(f"{_operation(one)}: {one.state}{f', {one.why}' if one.why else ''}"))
    call.out.show(f"wave {one.wave}; {_counts(one)}", "")
    for note in one.notes:
        who = f" by {note.actor}" if note.actor else ""
        why = f": {note.reason}" if note.reason else ""
        at = utc(note.at)
        call.out.show(f"{at} {note.what}{who}{why}")
    shown = table("run", "wave", "outcome", "why", right=("wave",), wrap="why")
    ids = short_ids(item.run_id for item in items)
    for item in items:
        shown.add_row(ids[item.run_id], str(item.wave or ""), item.outcome, Text(item.why))
    call.out.show("", shown)
    if one.total > len(items):
        call.out.note(f"and {one.total - len(items):,} more: --limit", "dim")


@bulk.command("pause")
def pause(context: typer.Context, bulk_id: BulkId, *, reason: opt.Reason = "") -> None:
    """Send no further wave for now."""
    call = invocation(context)
    _tell(call, call.client.bulk.pause(bulk_id, reason=reason))


@bulk.command("resume")
def resume(context: typer.Context, bulk_id: BulkId, *, reason: opt.Reason = "") -> None:
    """Go on, also with one that failures have stopped."""
    call = invocation(context)
    _tell(call, call.client.bulk.resume(bulk_id, reason=reason))


@bulk.command("approve")
def approve(context: typer.Context, bulk_id: BulkId, *, reason: opt.Reason = "") -> None:
    """Have one begin that waits for a second person, as another than who started it."""
    call = invocation(context)
    _tell(call, call.client.bulk.approve(bulk_id, reason=reason))


@bulk.command("abort")
def abort(context: typer.Context, bulk_id: BulkId, *, reason: opt.Reason = "") -> None:
    """Send no further wave ever; what was sent stays sent."""
    call = invocation(context)
    _tell(call, call.client.bulk.abort(bulk_id, reason=reason))


def _message(call: Invocation, operation: str, step: str | None, reason: str) -> BulkOperation:
    kind = _KINDS.get(operation)
    if kind is None:
        known = ", ".join(BULK_OPERATIONS)
        raise typer.BadParameter(f"{operation!r} is none of {known}", param_hint="OPERATION")
    if kind is msg.Retry:
        return msg.Retry(at=call.now(), actor=call.actor, step=step, reason=reason)
    return kind(at=call.now(), actor=call.actor, reason=reason)


def _tell(call: Invocation, one: Bulk) -> None:
    if call.out.json:
        call.out.data(one)
    else:
        short = one.id[:8]
        call.out.show(f"bulk {short}: {_operation(one)} of {one.total:,} runs, {one.state}")
        call.out.note(f"`saga bulk show {short}` says how far it is", "dim")


def _operation(one: Bulk) -> str:
    name = msg.operation_name(one.message)
    step = one.message.step if isinstance(one.message, msg.Retry) else None
    return f"{name} {step}" if step else name


def _counts(one: Bulk) -> str:
    return ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(one.counts.items()))
