"""`saga plans` and `saga draw`: sagas as they are defined, and as the journal has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.output import table
from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import UnknownSagaError
from orchestrator.views.marked_plan import marked
from orchestrator.views.steps import steps_of, tree

_HASH_SHOWN = 12


class Format(StrEnum):
    """How a plan is drawn."""

    mermaid = "mermaid"
    svg = "svg"


class PlanRow(msgspec.Struct, frozen=True):
    """A saga's plan, and where it is known."""

    saga: str
    version: int
    hash: str
    steps: int
    participants: tuple[str, ...]
    stored: bool
    """It was launched at least once, so the journal keeps it."""
    defined: bool
    """The apps define it exactly so."""
    conflict: bool
    """The apps define another plan under this version: a launch would be refused."""


def plans(context: typer.Context) -> None:
    """List the plans in the journal, and those that the apps define."""
    call = invocation(context)
    rows = _rows(call)
    if call.out.json:
        call.out.data({"plans": rows})
        return
    if not rows:
        call.out.note("no plans: none was launched yet, and --app names no module that defines one")
        return
    shown = table("saga", "version", "steps", "plan", "", right=("version", "steps"), wrap="")
    for row in rows:
        shown.add_row(
            Text(row.saga, style="bold"),
            str(row.version),
            str(row.steps),
            Text(row.hash[:_HASH_SHOWN], style="dim"),
            _remark(row, apps=bool(call.settings.apps)),
        )
    call.out.show(shown)


def draw(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A saga; name@2 for its version 2. Not with --run."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to draw.")] = Format.mermaid,
    run: Annotated[
        str | None, typer.Option("--run", help="Draw this run's plan, with the state of its steps.")
    ] = None,
) -> None:
    """Draw a saga's plan, or a run, as Mermaid or SVG on stdout."""
    call = invocation(context)
    plan = _wanted(call, name, run)
    from orchestrator.definition import drawing  # noqa: PLC0415 - start-up time

    text = drawing.mermaid(plan) if form is Format.mermaid else drawing.svg(plan)
    if call.out.json:
        call.out.data({"saga": plan.saga, "version": plan.version, "format": form, "drawing": text})
    else:
        call.out.raw(text)


def _wanted(call: Invocation, name: str | None, run: str | None) -> Plan:
    if (name is None) is (run is None):
        raise typer.BadParameter("name a saga, or a run with --run", param_hint="NAME")
    if run is not None:
        row = call.journal.find(run)
        plan = call.journal.plan(row.plan)
        return marked(plan, steps_of(tree(plan, call.journal.history(row.run_id), call.now())))
    assert name is not None
    return _plan_named(call, name)


def _plan_named(call: Invocation, name: str) -> Plan:
    saga, at, version = name.partition("@")
    if not at and saga in call.definitions.sagas:
        return call.definitions.sagas[saga].plan
    known = [plan for plan in call.journal.plans() if plan.saga == saga]
    if at:
        known = [plan for plan in known if str(plan.version) == version]
    if not known:
        defined = {*call.definitions.sagas, *(plan.saga for plan in call.journal.plans())}
        names = ", ".join(sorted(defined)) or "none; name modules with --app"
        raise UnknownSagaError(f"no saga or stored plan is called {name!r}; known: {names}")
    return max(known, key=lambda plan: plan.version)


def _rows(call: Invocation) -> list[PlanRow]:
    stored = {(plan.saga, plan.version): plan for plan in call.journal.plans()}
    defined = {(saga.name, saga.version): saga.plan for saga in call.definitions.sagas.values()}
    rows: list[PlanRow] = []
    for place in sorted(stored.keys() | defined.keys()):
        plan = stored.get(place) or defined[place]
        same = place in defined and defined[place].hash == plan.hash
        rows.append(
            PlanRow(
                saga=plan.saga,
                version=plan.version,
                hash=plan.hash,
                steps=len(list(plan.steps())),
                participants=tuple(
                    dict.fromkeys(
                        f"{step.service}.{step.participant}"
                        for step, _ in plan.steps()
                        if isinstance(step, Call)
                    )
                ),
                stored=place in stored,
                defined=same,
                conflict=place in defined and not same,
            )
        )
    return rows


def _remark(row: PlanRow, *, apps: bool) -> Text:
    if row.conflict:
        return Text("the apps define another plan under this version: raise it", style="red")
    if not row.stored:
        return Text("never launched", style="dim")
    if apps and not row.defined:
        return Text("not in the apps any more", style="dim")
    return Text("")
