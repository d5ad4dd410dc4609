"""`saga retry`, `skip`, `resolve`, `forget`, `compensate`, `cancel`, `signal`: what an operator does for a run.

Each is an event with the actor and the reason. Those that make sense for many runs at once take the filters
of `saga list` instead of a run.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.bulk import for_many
from orchestrator.cli.foretelling import preview_page
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import SHORTEST_ID
from orchestrator.cli.parsing import json_object, json_value
from orchestrator.cli.taken import Taken, carry_out
from orchestrator.errors import OperationRefusedError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg

ManyRuns = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run, as in `saga show`; or choose runs by options."),
]
OneStep = Annotated[
    str | None, typer.Option("--step", help="Only this step; without it every one that can be.")
]
Edit = Annotated[
    str | None,
    typer.Option("--edit", metavar="JSON", help="An object: arguments of the step to replace."),
]
Given = Annotated[
    str, typer.Option("--result", metavar="JSON", help="The step's result, as JSON; null for none.")
]
MaybeGiven = Annotated[
    str | None, typer.Option("--result", metavar="JSON", help="It took effect, with this result.")
]
Undone = Annotated[
    bool, typer.Option("--undone", help="It has no effect: never had, or it was undone by hand.")
]


@opt.chooses_runs
def retry(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    step: OneStep = None,
    edit: Edit = None,
    where: RunFilter,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Try parked or backing-off steps again now: of one run, or, as `saga retry --stuck`, of many."""
    call = invocation(context)
    args = None if edit is None else json_object(edit, "--edit")
    message = msg.Retry(at=call.now(), actor=call.actor, step=step, args=args, reason=reason)
    one_or_many(call, run, where, message, step=step, yes=yes, dry_run=dry_run)


@opt.chooses_runs
def compensate(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    where: RunFilter,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Undo runs from where they are."""
    call = invocation(context)
    message = msg.Compensate(at=call.now(), actor=call.actor, reason=reason)
    one_or_many(call, run, where, message, yes=yes, dry_run=dry_run)


@opt.chooses_runs
def cancel(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    where: RunFilter,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Stop runs and undo what they did."""
    call = invocation(context)
    message = msg.Cancel(at=call.now(), actor=call.actor, reason=reason)
    one_or_many(call, run, where, message, yes=yes, dry_run=dry_run)


def skip(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    result: Given,
    *,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Go on past a step as if it had returned a result; if it may have taken effect it is undone later."""
    call = invocation(context)
    value = json_value(result, "--result")
    message = msg.Skip(at=call.now(), actor=call.actor, step=step, result=value, reason=reason)
    operate_on(call, run, message, dry_run=dry_run)


def resolve(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    *,
    result: MaybeGiven = None,
    undone: Undone = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """State what a step really did, once you have found out: done with a result, or without effect."""
    call = invocation(context)
    if (result is None) is not undone:
        raise typer.BadParameter("give either --result JSON or --undone", param_hint="--result")
    value: Any = None if result is None else json_value(result, "--result")

    message = msg.Resolve(
        at=call.now(), actor=call.actor, step=step, undone=undone, result=value, reason=reason
    )
    operate_on(call, run, message, dry_run=dry_run)


def forget(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    *,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Close the file of a branch that went against its group's decision, once you have resolved it."""
    call = invocation(context)
    message = msg.Forget(at=call.now(), actor=call.actor, step=step, reason=reason)
    operate_on(call, run, message, dry_run=dry_run)


def signal(
    context: typer.Context,
    run: opt.RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that a step waits for.")],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="What it carries, as JSON.")
    ] = None,
    signal_id: Annotated[
        str | None, typer.Option("--id", help="Sent again with this id it counts once.")
    ] = None,
    *,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Send a signal to a run; it is kept until a step waits for it."""
    call = invocation(context)
    value = None if data is None else json_value(data, "DATA")

    message = msg.Signal(
        at=call.now(),
        actor=call.actor,
        name=name,
        data=value,
        signal_id=signal_id or uuid.uuid4().hex,
        reason=reason,
    )
    operate_on(call, run, message, dry_run=dry_run)


def one_or_many(
    call: Invocation,
    run: str | None,
    where: RunFilter,
    message: msg.Operation,
    *,
    yes: bool,
    dry_run: bool,
    step: str | None = None,
) -> None:
    """Operate on the run that is named, or on all that fit the filter."""
    filtered = where != RunFilter()
    if (run is None) is not filtered:
        raise typer.BadParameter(
            "name one run, or choose runs by options such as --stuck and --saga, not both",
            param_hint="RUN",
        )
    if run is not None:
        operate_on(call, run, message, dry_run=dry_run)
    else:
        for_many(call, where, message, step=step, yes=yes, dry_run=dry_run)


def operate_on(
    call: Invocation, run: str, message: msg.Asked | msg.Signal, *, dry_run: bool
) -> None:
    """Operate on one run, or show what that would do."""
    run_id = call.journal.find(run).run_id
    if dry_run:
        _foretell(call, run_id, message)
        return
    taken = carry_out(call, run_id, message)
    if call.out.json:
        call.out.data(taken)
    else:
        tell(call, taken)


def _foretell(call: Invocation, run_id: str, message: msg.Asked | msg.Signal) -> None:
    seen = call.curtains.preview(call.journal.find(run_id), call.client.preview(run_id, message))
    if call.out.json:
        call.out.data(seen)
    elif not seen.refused:
        call.out.show(*preview_page(seen))
    if seen.refused:
        raise OperationRefusedError(seen.refused)


def tell(call: Invocation, taken: Taken) -> None:
    """Say what came of one operation."""
    short = taken.run_id[:SHORTEST_ID]
    for number in taken.waits:
        call.out.note(
            f"{taken.operation} takes two people: as another, `saga approvals approve {short} {number}`",
            "yellow",
        )
    if taken.waits:
        return
    if taken.taken:
        for event in taken.events:
            call.out.show(event)
        call.out.show(f"run {short} is now {taken.status}; `saga watch {short}` follows it")
    elif taken.writer:
        call.out.note(
            f"{taken.operation} is recorded, but coordinator {taken.writer} hasn't taken it yet:"
            f" look again with `saga show {short}`",
            "yellow",
        )
    else:
        call.out.note(
            f"{taken.operation} is recorded and will be carried out once a coordinator runs: none does"
            " now, start one with `saga coordinator`",
            "yellow",
        )
