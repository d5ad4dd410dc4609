"""`saga incidents`: what needs a person, by its cause; and taking it on."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import ago, short_ids
from orchestrator.cli.output import table
from orchestrator.cli.repairing import OneStep, one_or_many
from orchestrator.errors import AmbiguousRunError, RunNotFoundError
from orchestrator.journal.incident import Cluster
from orchestrator.journal.port import Page, RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.views.trouble import DIRECTIONS

incidents = typer.Typer(
    help="What needs a person, by its cause: which runs, since when, and who is on it.",
    invoke_without_command=True,
)

_NAMED = 5
"""How many clusters an ambiguity error names."""
Saga = Annotated[str | None, typer.Option("--saga", help="Only incidents of this saga.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="The most to show.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", help="Continue where an earlier page ended.")
]
ClusterId = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="A cluster's id, or the beginning of it.")
]
ManyRuns = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run, as in `saga show`; or choose runs by options."),
]


@incidents.callback()
def list_clusters(
    context: typer.Context, *, saga: Saga = None, limit: Limit = 20, cursor: Cursor = None
) -> None:
    """List open incidents by their cause: what nobody is on first, then what is most frequent."""
    if context.invoked_subcommand is not None:
        return
    call = invocation(context)
    page = call.curtains.clusters(call.journal.clusters((saga,) if saga else (), cursor, limit))
    if call.out.json:
        call.out.data({"clusters": page.clusters, "cursor": page.cursor})
        return
    if not page.clusters:
        call.out.note("nobody is needed: no incident is open")
        return
    shown = table("cluster", "runs", "saga", "step", "since", "newest", "taken", "why", wrap="why")
    for one in page.clusters:
        shown.add_row(
            Text(one.cluster, style="bold"),
            Text(str(one.runs), style="bold red" if one.acked < one.incidents else ""),
            Text(one.saga),
            Text(one.step if one.kind == "do" else f"{one.step} ({DIRECTIONS[one.kind]})"),
            Text(ago(call.now(), one.first), style="dim"),
            Text(ago(call.now(), one.last), style="dim"),
            Text(taken_on(one), style="dim"),
            Text(one_line(one.error, one.message)),
        )
    call.out.show(shown)
    call.out.note("`saga incidents show CLUSTER` has the runs of one", "dim")
    if page.cursor:
        call.out.note(f"there are more: --cursor {page.cursor}", "dim")


@incidents.command("show")
def show(
    context: typer.Context, cluster: ClusterId, *, limit: Limit = 20, cursor: Cursor = None
) -> None:
    """One cluster with its runs, newest first, and what each needs."""
    call = invocation(context)
    found = _cluster(call, cluster)
    page = call.journal.runs(RunFilter(cluster=found.cluster), cursor, limit)
    page = msgspec.structs.replace(page, runs=call.curtains.rows(page.runs))
    if call.out.json:
        call.out.data({"cluster": found, "runs": page.runs, "cursor": page.cursor})
        return
    _head(call, found)
    _runs(call, found, page)
    if page.cursor:
        call.out.note(f"there are more: --cursor {page.cursor}", "dim")
    retry = f"saga retry --cluster {found.cluster} --dry-run"
    call.out.note(f"`{retry}` says what trying all of them again would do", "dim")


@incidents.command("ack")
def ack(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    step: OneStep = None,
    cluster: opt.Cluster = None,
    saga: opt.Saga = None,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Take incidents on, so that nobody is told of them any more: of one run, or of a whole cluster."""
    call = invocation(context)
    named = _cluster(call, cluster).cluster if cluster else None
    where = RunFilter() if run is not None else RunFilter(saga=saga, cluster=named)
    message = msg.Acknowledge(
        at=call.now(), actor=call.actor, step=step, cluster=named, reason=reason
    )
    if where.saga is not None and named is None:
        where = msgspec.structs.replace(where, stuck=True)
    one_or_many(call, run, where, message, step=step, yes=yes, dry_run=dry_run)


def taken_on(cluster: Cluster) -> str:
    """How many of its incidents somebody is on."""
    if not cluster.acked:
        return "nobody"
    return (
        "all" if cluster.acked == cluster.incidents else f"{cluster.acked} of {cluster.incidents}"
    )


def one_line(error: str, message: str) -> str:
    """An error in one line, its type without the module."""
    short, text = error.rpartition(".")[2], " ".join(message.split())
    return f"{short}: {text}" if short else text


def _cluster(call: Invocation, wanted: str) -> Cluster:
    """By id or its beginning. Raises ``RunNotFoundError``, ``AmbiguousRunError``."""
    found = list(call.journal.clusters((), None, _NAMED, wanted).clusters) if wanted else []
    if not found:
        raise RunNotFoundError(f"no open incident is of a cluster {wanted!r}")
    if len(found) > 1:
        names = ", ".join(one.cluster for one in found)
        raise AmbiguousRunError(f"{wanted!r} fits several clusters: {names}")
    return call.curtains.cluster(found[0])


def _head(call: Invocation, one: Cluster) -> None:
    direction = "" if one.kind == "do" else f" ({DIRECTIONS[one.kind]})"
    call.out.show(
        Text.assemble((f"{one.saga} ", "bold"), f"at {one.step}{direction}  {one.cluster}")
    )
    call.out.show(Text(one_line(one.error, one.message), style="red"))
    if one.frame:
        call.out.show(Text(f"in {one.frame}", style="dim"))
    facts = (
        f"{one.incidents} incidents in {one.runs} runs",
        f"first {ago(call.now(), one.first)}",
        f"newest {ago(call.now(), one.last)}",
        f"taken on: {taken_on(one)}",
    )
    call.out.show(Text(" · ".join(facts), style="dim"), "")


def _runs(call: Invocation, cluster: Cluster, page: Page) -> None:
    ids = short_ids(run.run_id for run in page.runs)
    shown = table("run", "key", "step", "since", "attempts", "taken on by", "why", wrap="why")
    for run in page.runs:
        for one in run.incidents:
            if one.cluster == cluster.cluster:
                by = one.acked_by or ("somebody" if one.acked_at is not None else "")
                shown.add_row(
                    Text(ids[run.run_id], style="bold"),
                    Text(run.key or "", style="dim"),
                    Text(one.step),
                    Text(ago(call.now(), one.since), style="dim"),
                    Text(str(one.attempts)),
                    Text(by, style="dim"),
                    Text(one_line(one.error, one.message)),
                )
    call.out.show(shown)
