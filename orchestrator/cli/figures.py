"""`saga stats`: how many runs stand where, and how fast and how well steps go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import LOOKS
from orchestrator.cli.options import STATUSES
from orchestrator.cli.output import table
from orchestrator.cli.parsing import age_s
from orchestrator.views.spans import span_text
from orchestrator.views.statistics import (
    GroupFigures,
    SagaFigures,
    Statistics,
    StepFigures,
    statistics,
)

Last = Annotated[
    str, typer.Option("--last", metavar="AGE", help="The window for rates and durations: 5m, 2h.")
]
OneSaga = Annotated[str | None, typer.Option("--saga", help="Only this saga.")]


def stats(context: typer.Context, last: Last = "15m", saga: OneSaga = None) -> None:
    """Show counts per saga and status; rates, durations and retries of the recent past."""
    call = invocation(context)
    window_s = age_s(last, "--last")
    found = statistics(call.journal, call.journal.shards(), call.now(), window_s, saga=saga)
    if call.out.json:
        call.out.data(found)
    else:
        _show(call, found)


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Sagas by statuses; a status that no run has is left out."""
    present = [status for status in STATUSES if any(by.get(status) for by in counts.values())]
    shown = table("saga", *present, right=tuple(present))
    for column, status in zip(shown.columns[1:], present, strict=True):
        column.header = Text(status, style=LOOKS[status].style)
    for saga, by_status in counts.items():
        cells = [_number(by_status.get(status, 0), LOOKS[status].style) for status in present]
        shown.add_row(Text(saga, style="bold"), *cells)
    return shown


def _show(call: Invocation, found: Statistics) -> None:
    out = call.out
    if not found.sagas:
        out.note("no runs yet")
        return
    out.show(counts_table({saga.saga: saga.runs for saga in found.sagas}))
    out.show("", Text(f"The last {span_text(found.until - found.since)}", style="bold"))
    if found.shortened:
        out.note(f"only the newest {found.events} events are counted: use a shorter --last")
    out.show(_rates(found.sagas))
    if found.steps:
        several = len({step.saga for step in found.steps}) > 1
        out.show("", _steps(found.steps, several=several))
    if found.groups:
        out.show("", _groups(found.groups))
    if held := [step for step in found.steps if step.held is not None]:
        out.show("", _held(held))


def _rates(sagas: tuple[SagaFigures, ...]) -> Table:
    right = ("launched", "per min", "ended", "per min ", "p50", "p95", "p99")
    shown = table("saga", *right, right=right)
    for saga in sagas:
        took = saga.duration
        shown.add_row(
            Text(saga.saga, style="bold"),
            _number(saga.launched),
            f"{saga.launched_per_min:.1f}",
            _number(saga.completed + saga.compensated),
            f"{saga.ended_per_min:.1f}",
            *(span_text(s) for s in ((took.p50_s, took.p95_s, took.p99_s) if took else ())),
        )
    return shown


def _steps(steps: tuple[StepFigures, ...], *, several: bool) -> Table:
    right = ("done", "p50", "p95", "p99", "retries", "refused", "failed", "unknown", "undone")
    shown = table("step", *right, right=right)
    shown.padding = (0, 1, 0, 0)  # ten columns have to fit into 80
    shown.columns[0].no_wrap, shown.columns[0].overflow = False, "fold"
    saga = ""
    for step in steps:
        if several and step.saga != saga:
            shown.add_row(Text(step.saga, style="dim italic"))
        saga = step.saga
        took = step.took
        times = [span_text(s) for s in (took.p50_s, took.p95_s, took.p99_s)] if took else [""] * 3
        shown.add_row(
            Text(f"  {step.step}" if several else step.step, style="bold"),
            _number(step.succeeded),
            *times,
            _number(step.retries, "yellow"),
            _number(step.refused, "red"),
            _number(step.failed, "red"),
            _number(step.unknown, "magenta"),
            _number(step.undone, "yellow"),
        )
    return shown


def _groups(groups: Sequence[GroupFigures]) -> Table:
    right = ("committed", "tried again", "given up")
    shown = table("saga", "atomic group", *right, right=right)
    for group in groups:
        shown.add_row(
            Text(group.saga, style="bold"),
            group.group,
            _number(group.committed),
            _number(group.retried, "yellow"),
            _number(group.given_up, "red"),
        )
    return shown


def _held(steps: Sequence[StepFigures]) -> Table:
    right = ("prepared", "p50", "p95", "p99", "longest")
    shown = table("saga", "branch", *right, right=right)
    for step in steps:
        held = step.held
        assert held is not None
        spans = (held.p50_s, held.p95_s, held.p99_s, held.max_s)
        shown.add_row(
            Text(step.saga, style="bold"), step.step, _number(held.count), *map(span_text, spans)
        )
    return shown


def _number(number: int, style: str = "") -> Text:
    return Text("-", style="dim") if number == 0 else Text(f"{number:,}", style=style)
