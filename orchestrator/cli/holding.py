"""`saga hold`, `saga release`, `saga holds`: stop a saga or a service as a whole, and have it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import utc
from orchestrator.cli.output import table
from orchestrator.errors import OperationRefusedError
from orchestrator.journal.hold import Hold

if TYPE_CHECKING:
    from orchestrator.client.hold import HoldPreview

Kind = Annotated[
    Literal["saga", "service"],
    typer.Argument(metavar="KIND", help="saga or service."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The saga's or the service's name.")]
Undos = Annotated[
    bool, typer.Option("--undos-too", help="Of a saga: compensation stands still too.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show how many runs it concerns.")]
All = Annotated[bool, typer.Option("--all", help="Also those that were released.")]


def hold(
    context: typer.Context,
    kind: Kind,
    name: Name,
    *,
    undos: Undos = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Stop a saga, whose runs then go no further, or a service, to which then nothing is sent in any run.

    Runs of a held saga that compensate go on with that. To a held service neither actions nor undos go. Answers are
    taken, launches are accepted and wait, and no time passes for what stands still.
    """
    call = invocation(context)
    seen = call.client.holds.preview(kind, name)
    if seen.held is not None and dry_run:
        raise OperationRefusedError(f"{kind} {name} is held already by {seen.held.actor}")
    if _go_on(call, "hold", seen, yes=yes, dry_run=dry_run):
        placed = call.client.holds.place(kind, name, undos=undos, reason=reason)
        _tell(call, placed, f"{kind} {name} is held; `saga release {kind} {name}` has it go on")


def release(
    context: typer.Context,
    kind: Kind,
    name: Name,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Have a held saga or service go on; what had time left when it was held has as much now."""
    call = invocation(context)
    seen = call.client.holds.preview(kind, name)
    if seen.held is None:
        raise OperationRefusedError(f"{kind} {name} isn't held")
    if _go_on(call, "release", seen, yes=yes, dry_run=dry_run):
        ended = call.client.holds.release(kind, name, reason=reason)
        _tell(call, ended, f"{kind} {name} is released")


def holds(context: typer.Context, *, every: All = False) -> None:
    """List what is held: by whom, since when, why."""
    call = invocation(context)
    found = call.client.holds.list(in_force=not every)
    if call.out.json:
        call.out.data({"holds": found})
        return
    if not found:
        call.out.note("nothing is held")
        return
    shown = table("held", "since (UTC)", "who", "why", "released", wrap="why")
    for one in found:
        undos = ", undos too" if one.undos else ""
        ended = "" if one.released_at is None else f"{utc(one.released_at)} {one.released_by}"
        shown.add_row(
            Text(f"{one.kind} {one.name}{undos}", style="bold"),
            Text(utc(one.at), style="dim"),
            Text(one.actor),
            Text(one.reason),
            Text(ended),
        )
    call.out.show(shown)


def _go_on(call: Invocation, what: str, seen: HoldPreview, *, yes: bool, dry_run: bool) -> bool:
    if call.out.json and dry_run:
        call.out.data({"operation": what, "preview": seen})
    if call.out.json and (yes or dry_run):
        return not dry_run
    call.out.note(f"{what} {seen.kind} {seen.name}: {seen.total:,} open runs", "bold")
    for saga, counts in seen.runs.items():
        call.out.note(f"{saga}: {', '.join(f'{n:,} {status}' for status, n in counts.items())}")
    if dry_run:
        return False
    if not yes:
        if not call.out.interactive:
            raise typer.BadParameter(
                f"{what} concerns {seen.total:,} runs: say --yes to do it without being asked",
                param_hint="--yes",
            )
        typer.confirm("Go on?", abort=True, err=True)
    return True


def _tell(call: Invocation, hold: Hold, words: str) -> None:
    if call.out.json:
        call.out.data(hold)
    else:
        call.out.show(words)
