"""`saga verify`: explore every failure of a saga, and whether open runs survive a deploy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.output import table
from orchestrator.errors import UnknownSagaError

if TYPE_CHECKING:
    from orchestrator.definition.saga import Saga
    from orchestrator.testing.explorer import Progress as Told
    from orchestrator.testing.open_runs import OpenRuns
    from orchestrator.testing.proof import Report


def verify(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Sagas; all of the apps' if none."),
    ] = None,
    *,
    faults: Annotated[
        int, typer.Option("--faults", min=0, max=6, help="How many things may go wrong in one run.")
    ] = 2,
    worlds: Annotated[
        int,
        typer.Option("--worlds", min=1, help="Give up after so many worlds; it says if it did."),
    ] = 500_000,
    careless: Annotated[
        bool,
        typer.Option("--careless", help="What has no barrier doesn't turn down cancelled keys."),
    ] = False,
    trace: Annotated[
        str | None, typer.Option("--trace", help="Replay a counterexample's trace; name one saga.")
    ] = None,
    open_runs: Annotated[
        bool, typer.Option("--open-runs", help="Instead: can this code finish every open run?")
    ] = False,
) -> None:
    """Explore every failure of sagas from their plans; exit 1 if an invariant is violated or a bound cut it short."""
    call = invocation(context)
    given = names or []
    if open_runs:
        if given or trace:
            raise typer.BadParameter("it takes all runs; name no saga", param_hint="--open-runs")
        ok = _open_runs(call)
    elif trace is not None:
        ok = _replayed(call, given, trace, careless=careless)
    else:
        reports = list(_reports(call, given, faults, worlds, careless=careless))
        ok = all(report.ok and not report.cut for report in reports)
        if call.out.json:
            call.out.data({"ok": ok, "sagas": reports})
    if not ok:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def wanted_sagas(call: Invocation, names: list[str]) -> list[Saga[..., Any]]:
    """The sagas of these names, or all of the apps'. Raises ``UnknownSagaError``."""
    sagas = call.definitions.sagas
    if not sagas:
        raise UnknownSagaError("the apps define no saga: name their module with --app MODULE")
    for name in names:
        if name not in sagas:
            raise UnknownSagaError(f"no saga is named {name!r}; known: {', '.join(sorted(sagas))}")
    return [sagas[name] for name in names or sorted(sagas)]


def _reports(
    call: Invocation, names: list[str], faults: int, worlds: int, *, careless: bool
) -> Iterator[Report]:
    from orchestrator.participant.source_facts import (  # noqa: PLC0415 - start-up time
        facts_near,
        facts_of,
    )
    from orchestrator.testing import proof  # noqa: PLC0415 - start-up time

    known = facts_of(call.definitions.services)
    for saga in wanted_sagas(call, names):
        with _progress(call, saga.name) as tell:
            report = proof.verify(
                saga,
                faults=faults,
                facts={**facts_near(saga.function), **known},
                careless=careless,
                worlds_max=worlds,
                progress=tell,
            )
        if not call.out.json:
            _show(call, report)
        yield report


@contextmanager
def _progress(call: Invocation, name: str) -> Iterator[Told]:
    """A bar on stderr, for people only. How much there is isn't known before the end."""
    from rich.progress import (  # noqa: PLC0415 - start-up time
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = call.out.json or not call.out.errors.is_terminal
    with Progress(*columns, console=call.out.errors, transient=True, disable=hidden) as bar:
        task = bar.add_task(name)

        def tell(worlds: int, waiting: int, faults: int) -> None:
            text = f"{name}: {worlds:,} worlds, {waiting:,} to go so far, at {faults} faults"
            bar.update(task, description=text)

        yield tell


def _show(call: Invocation, report: Report) -> None:
    from orchestrator.testing.proof import told  # noqa: PLC0415 - start-up time

    seen = (
        f"{report.worlds:,} worlds, up to {report.depth} moves deep, {report.scenarios} "
        f"scenario{'' if report.scenarios == 1 else 's'}, {report.faults} faults, {report.seconds:.1f} s"
    )
    shown = report.counterexample
    if shown is None:
        word, style = ("cut short", "yellow") if report.cut else ("holds", "green")
        endings = ", ".join(f"{n:,} {ending}" for ending, n in sorted(report.endings.items()))
        call.out.show(Text.assemble((f"{report.saga}: {word}", f"bold {style}"), f"  {seen}"))
        call.out.show(
            Text(f"  {len(report.invariants)} invariants over these endings: {endings}"),
        )
    else:
        call.out.show(Text.assemble((f"{report.saga}: violated", "bold red"), f"  {seen}"))
        call.out.show(Text(told(shown)), "", Text(f"trace: {shown.trace}", style="dim"), "")
        call.out.raw(shown.test)
    for text in report.cut:
        call.out.show(Text(f"  not everything was seen: {text}", style="yellow"))
    for text in report.assumptions:
        call.out.show(Text(f"  assumed: {text}", style="dim"))


def _replayed(call: Invocation, names: list[str], trace: str, *, careless: bool) -> bool:
    from orchestrator.testing import proof  # noqa: PLC0415 - start-up time

    if len(names) != 1:
        raise typer.BadParameter("name the one saga it is a trace of", param_hint="--trace")
    [saga] = wanted_sagas(call, names)
    try:
        lines = proof.replay(saga, trace, careless=careless)
    except proof.InvariantViolated as violated:
        if call.out.json:
            call.out.data({"ok": False, "violated": str(violated)})
        else:
            call.out.show(Text(str(violated)))
        return False
    if call.out.json:
        call.out.data({"ok": True, "timeline": lines})
    else:
        call.out.show(Text("\n".join(proof.shown_lines(lines))))
        call.out.show(Text("every invariant holds along this trace", style="bold green"))
    return True


def _open_runs(call: Invocation) -> bool:
    from orchestrator.testing.open_runs import check_open_runs  # noqa: PLC0415 - start-up time

    if not call.settings.apps:
        raise UnknownSagaError("no apps to compare with: name their module with --app MODULE")
    specs = {
        participant.spec.qualified: participant.spec
        for service in call.definitions.services
        for participant in service.participants.values()
    }
    checked = check_open_runs(call.journal, specs)
    if call.out.json:
        call.out.data({"ok": not checked.troubles, **_as_data(checked)})
        return not checked.troubles
    if checked.troubles:
        shown = table("run", "saga", "step", "what would break", wrap="what would break")
        for one in checked.troubles:
            what = f"{one.what}\n-> {one.fix}"
            shown.add_row(one.run_id, f"{one.saga} {one.version}", one.step, what)
        call.out.show(shown)
    for service in checked.unchecked:
        call.out.note(f"not checked: service {service}, which these apps don't define", "yellow")
    style = "bold red" if checked.troubles else "bold green"
    call.out.show(
        Text(f"{checked.runs:,} open runs, {len(checked.troubles)} would break", style=style)
    )
    return not checked.troubles


def _as_data(checked: OpenRuns) -> dict[str, Any]:
    return {"runs": checked.runs, "troubles": checked.troubles, "unchecked": checked.unchecked}
