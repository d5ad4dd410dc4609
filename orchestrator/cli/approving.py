"""`saga approvals`: what waits for a second person; approve it, or say no."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.foretelling import preview_page
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import ago, short_ids
from orchestrator.cli.output import table
from orchestrator.cli.repairing import operate_on
from orchestrator.journal.approvals import Approval, Judged
from orchestrator.journal.bulk import Bulk
from orchestrator.kernel import messages as msg

approvals = typer.Typer(help="What waits for a second person.", no_args_is_help=True)

Number = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, help="As `saga approvals list` shows it.")
]


@approvals.command("list")
def list_approvals(context: typer.Context, *, saga: opt.Saga = None) -> None:
    """List what waits for a second person, newest first."""
    call = invocation(context)
    found = call.client.approvals.list(() if saga is None else (saga,))
    shown = [call.curtains.approval(one) for one in found]
    bulks = [one for one in call.client.bulk.list() if one.awaits_second(call.now())]
    bulks = [one for one in bulks if saga is None or saga in one.sagas]
    branches = call.client.approvals.branches() if saga is None else ()
    if call.out.json:
        call.out.data({"approvals": shown, "bulks": bulks, "branches": branches})
    elif shown or bulks or branches:
        if shown or bulks:
            _show(call, shown, bulks)
        for one in branches:
            why = f": {one.reason}" if one.reason else ""
            call.out.note(
                f"{one.actor} wants to {one.kind} {one.step} in {one.service}{why}; as another,"
                f" `saga in-doubt --{one.kind} {one.gid}`",
                "yellow",
            )
    else:
        call.out.note("nothing waits for a second person")


@approvals.command("show")
def show(context: typer.Context, run: opt.RunId, number: Number) -> None:
    """Show one: who asks for what and why, and what it would do."""
    call = invocation(context)
    judged = call.curtains.judged(call.client.approvals.get(run, number))
    if call.out.json:
        call.out.data(judged)
    else:
        _judged(call, judged)


@approvals.command("approve")
def approve(
    context: typer.Context,
    run: opt.RunId,
    number: Number,
    *,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Have it done, as the second person: it must still do what it would have done when it was asked for."""
    call = invocation(context)
    message = msg.Approve(at=call.now(), actor=call.actor, number=number, reason=reason)
    operate_on(call, run, message, dry_run=dry_run)


@approvals.command("deny")
def deny(
    context: typer.Context, run: opt.RunId, number: Number, *, reason: opt.Reason = ""
) -> None:
    """Say no to it, or take back what you asked for yourself."""
    call = invocation(context)
    message = msg.Deny(at=call.now(), actor=call.actor, number=number, reason=reason)
    operate_on(call, run, message, dry_run=False)


def _show(call: Invocation, found: list[Approval], bulks: list[Bulk]) -> None:
    ids = short_ids(one.run_id for one in found)
    shown = table("run", "number", "what", "who", "why", "asked", "until", wrap="why")
    for bulk in bulks:
        what = f"{msg.operation_name(bulk.message)} {bulk.total:,} runs"
        place = (Text(f"bulk {bulk.id[:8]}", style="bold"), "")
        shown.add_row(
            *place,
            what,
            bulk.message.actor,
            bulk.message.reason,
            Text(ago(call.now(), bulk.created_at), style="dim"),
            _until(bulk.expires_at),
        )
    for one in found:
        shown.add_row(
            Text(ids[one.run_id], style="bold"),
            str(one.number),
            f"{one.operation} {one.step}".rstrip(),
            one.actor,
            one.reason,
            Text(ago(call.now(), one.at), style="dim"),
            _until(one.expires_at),
        )
    call.out.show(shown)
    if found:
        call.out.note("`saga approvals approve RUN NUMBER`, as another than who asks", "dim")
    if bulks:
        call.out.note("`saga bulk approve BULK`, as another than who asks", "dim")


def _judged(call: Invocation, judged: Judged) -> None:
    one = judged.approval
    why = f": {one.reason}" if one.reason else ""
    call.out.show(Text(f"{one.actor} asks to {one.operation} {one.step}".rstrip() + why))
    for name, value in one.given.items():
        call.out.show(f"{name}: {msgspec.json.encode(value).decode()}")
    if judged.now is None or one.answer == "expired":
        by = f" by {one.second}" if one.second else ""
        call.out.show(f"{one.answer}{by}{f': {one.why}' if one.why else ''}")
        return
    call.out.show(f"waits until {_until(one.expires_at)}")
    if judged.now.refused:
        call.out.note(judged.now.refused, "yellow")
        call.out.show("", "what it would have done when it was asked for:")
    call.out.show(*preview_page(judged.then if judged.now.refused else judged.now))


def _until(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
