"""`saga retry`, `skip`, `resolve`, `forget`, `compensate`, `cancel`, `signal`: what an operator does for a run.

Each is an event with the actor and the reason. Those that make sense for many runs at once take the filters
of `saga list` instead of a run.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.bulk import Operation, for_many
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import SHORTEST_ID
from orchestrator.cli.parsing import json_object, json_value
from orchestrator.cli.taken import Taken, carry_out
from orchestrator.journal.port import RunFilter

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


def retry(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    step: OneStep = None,
    edit: Edit = None,
    status: opt.Status = None,
    saga: opt.Saga = None,
    tag: opt.Tag = None,
    key: opt.Key = None,
    older: opt.Older = None,
    since: opt.Since = None,
    text: opt.Words = None,
    stuck: opt.StuckOnly = False,
    yes: opt.Yes = False,
    reason: opt.Reason = "",
) -> None:
    """Try parked or backing-off steps again now: of one run, or, as `saga retry --stuck`, of many."""
    call = invocation(context)
    args = None if edit is None else json_object(edit, "--edit")
    where = opt.run_filter(
        call.now(),
        status=status,
        saga=saga,
        tag=tag,
        key=key,
        older=older,
        since=since,
        text=text,
        stuck=stuck,
    )

    def send(run_id: str) -> None:
        call.client.retry(run_id, step, args=args, reason=reason)

    _one_or_many(call, run, where, Operation("retry", send), step=step, yes=yes)


def compensate(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    status: opt.Status = None,
    saga: opt.Saga = None,
    tag: opt.Tag = None,
    key: opt.Key = None,
    older: opt.Older = None,
    since: opt.Since = None,
    text: opt.Words = None,
    stuck: opt.StuckOnly = False,
    yes: opt.Yes = False,
    reason: opt.Reason = "",
) -> None:
    """Undo runs from where they are."""
    call = invocation(context)
    where = opt.run_filter(
        call.now(),
        status=status,
        saga=saga,
        tag=tag,
        key=key,
        older=older,
        since=since,
        text=text,
        stuck=stuck,
    )

    def send(run_id: str) -> None:
        call.client.compensate(run_id, reason=reason)

    _one_or_many(call, run, where, Operation("compensate", send), yes=yes)


def cancel(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    status: opt.Status = None,
    saga: opt.Saga = None,
    tag: opt.Tag = None,
    key: opt.Key = None,
    older: opt.Older = None,
    since: opt.Since = None,
    text: opt.Words = None,
    stuck: opt.StuckOnly = False,
    yes: opt.Yes = False,
    reason: opt.Reason = "",
) -> None:
    """Stop runs and undo what they did."""
    call = invocation(context)
    where = opt.run_filter(
        call.now(),
        status=status,
        saga=saga,
        tag=tag,
        key=key,
        older=older,
        since=since,
        text=text,
        stuck=stuck,
    )

    def send(run_id: str) -> None:
        call.client.cancel(run_id, reason=reason)

    _one_or_many(call, run, where, Operation("cancel", send), yes=yes)


def skip(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    result: Given,
    reason: opt.Reason = "",
) -> None:
    """Go on past a step as if it had returned a result; if it may have taken effect it is undone later."""
    call = invocation(context)
    value = json_value(result, "--result")
    _one(
        call, run, Operation("skip", lambda id_: call.client.skip(id_, step, value, reason=reason))
    )


def resolve(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    *,
    result: MaybeGiven = None,
    undone: Undone = False,
    reason: opt.Reason = "",
) -> None:
    """State what a step really did, once you have found out: done with a result, or without effect."""
    call = invocation(context)
    if (result is None) is not undone:
        raise typer.BadParameter("give either --result JSON or --undone", param_hint="--result")
    value: Any = None if result is None else json_value(result, "--result")

    def send(run_id: str) -> None:
        call.client.resolve(run_id, step, value, undone=undone, reason=reason)

    _one(call, run, Operation("resolve", send))


def forget(
    context: typer.Context, run: opt.RunId, step: opt.StepKey, reason: opt.Reason = ""
) -> None:
    """Close the file of a branch that went against its group's decision, once you have resolved it."""
    call = invocation(context)

    def send(run_id: str) -> None:
        call.client.forget(run_id, step, reason=reason)

    _one(call, run, Operation("forget", send))


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
    reason: opt.Reason = "",
) -> None:
    """Send a signal to a run; it is kept until a step waits for it."""
    call = invocation(context)
    value = None if data is None else json_value(data, "DATA")

    def send(run_id: str) -> None:
        call.client.signal(run_id, name, value, signal_id=signal_id, reason=reason)

    _one(call, run, Operation("signal", send))


def _one_or_many(
    call: Invocation,
    run: str | None,
    where: RunFilter,
    operation: Operation,
    *,
    yes: bool,
    step: str | None = None,
) -> None:
    filtered = where != RunFilter()
    if (run is None) is not filtered:
        raise typer.BadParameter(
            "name one run, or choose runs by options such as --stuck and --saga, not both",
            param_hint="RUN",
        )
    if run is not None:
        _one(call, run, operation)
    else:
        for_many(call, where, operation, step=step, yes=yes)


def _one(call: Invocation, run: str, operation: Operation) -> None:
    run_id = call.journal.find(run).run_id
    taken = carry_out(call, run_id, operation.name, lambda: operation.send(run_id))
    if call.out.json:
        call.out.data(taken)
    else:
        tell(call, taken)


def tell(call: Invocation, taken: Taken) -> None:
    """Say what came of one operation."""
    short = taken.run_id[:SHORTEST_ID]
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
