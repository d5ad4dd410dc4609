"""Arguments and options that several commands share, and the filter they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_args

import typer

from orchestrator.cli.invocation import invocation
from orchestrator.cli.parsing import age_s, tags
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.summary import RunStatus

STATUSES = get_args(RunStatus)

RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, a prefix of it, its key, or saga:key.")
]
StepKey = Annotated[str, typer.Argument(metavar="STEP", help="A step, as `saga show` names it.")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why; kept with the event, beside who did it.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Several runs: don't ask.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only show what would run, be undone, or be left as it is."),
]
Status = Annotated[
    list[str] | None,
    typer.Option(
        "--status", help=f"Only runs with this status ({', '.join(STATUSES)}); repeatable."
    ),
]
Saga = Annotated[str | None, typer.Option("--saga", help="Only runs of this saga.")]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Only runs with this tag; repeatable."),
]
Key = Annotated[str | None, typer.Option("--key", help="Only the run with this idempotency key.")]
Older = Annotated[
    str | None,
    typer.Option("--older", metavar="AGE", help="Only runs launched longer ago: 5m, 2h, 1d."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="AGE", help="Only runs launched within this time: 5m, 2h, 1d."),
]
Words = Annotated[
    str | None,
    typer.Option("--text", help="Only runs with this text in id, key, saga or reason."),
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="Only runs with an open incident of this cluster."),
]
StuckOnly = Annotated[bool, typer.Option("--stuck", help="Only runs that need a person.")]


def chooses_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose runs, in the place of its parameter ``where``, which gets the filter
    that they make.
    """
    declared = inspect.signature(command, eval_str=True)
    options = inspect.signature(_filter, eval_str=True).parameters.values()
    parameters = [
        shown
        for given in declared.parameters.values()
        for shown in (options if given.name == "where" else (given,))
        if shown.name != "now"
    ]
    names = [option.name for option in options if option.name != "now"]

    @wraps(command)
    def chosen(context: typer.Context, **given: Any) -> None:
        found = {name: given.pop(name) for name in names}
        command(context, **given, where=_filter(invocation(context).now(), **found))

    chosen.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
    chosen.__annotations__ = {one.name: one.annotation for one in parameters}
    return chosen


def _filter(
    now: float,
    *,
    status: Status = None,
    saga: Saga = None,
    tag: Tag = None,
    key: Key = None,
    older: Older = None,
    since: Since = None,
    text: Words = None,
    stuck: StuckOnly = False,
    cluster: Cluster = None,
) -> RunFilter:
    for name in status or ():
        if name not in STATUSES:
            raise typer.BadParameter(
                f"{name!r} is no status; there are {', '.join(STATUSES)}", param_hint="--status"
            )
    return RunFilter(
        status=tuple(status or ()),
        saga=saga,
        tags=tags(tag or ()),
        key=key,
        text=text,
        launched_after=None if since is None else now - age_s(since, "--since"),
        launched_before=None if older is None else now - age_s(older, "--older"),
        stuck=stuck,
        cluster=cluster,
    )
