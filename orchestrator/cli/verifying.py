"""`saga verify`: explore every failure of a saga, and whether open runs survive a deploy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.output import plain, table
from orchestrator.cli.progress import counting, exploring
from orchestrator.errors import UnknownSagaError

if TYPE_CHECKING:
    from orchestrator.definition.facts import Facts
    from orchestrator.definition.saga import Saga
    from orchestrator.testing.explorer import Progress as Told
    from orchestrator.testing.open_runs import OpenRuns
    from orchestrator.testing.proof import Report

_WHAT = "what would break"
_FAULTS = 2


def verify(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Sagas; all of the apps' if none."),
    ] = None,
    *,
    faults: Annotated[
        int | None,
        typer.Option("--faults", min=0, max=6, help="How many things may go wrong; 2 if not said."),
    ] = None,
    worlds: Annotated[
        int | None,
        typer.Option("--worlds", min=1, help="Give up after so many (500,000); it says if it did."),
    ] = None,
    careless: Annotated[
        bool,
        typer.Option("--careless", help="What has no barrier doesn't turn down cancelled keys."),
    ] = False,
    walks: Annotated[
        int | None,
        typer.Option(
            "--walks", min=1, help="Instead: so many random walks, where there is too much to see."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same walks again, if nothing has changed.")
    ] = None,
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
    how = {"--faults": faults, "--worlds": worlds, "--walks": walks, "--seed": seed}
    if open_runs:
        _only("--open-runs", NAME=names, **{"--trace": trace, "--careless": careless}, **how)
        ok = _open_runs(call)
    elif trace is not None:
        _only("--trace", **how)
        ok = _replayed(call, given, trace, careless=careless)
    else:
        if walks is None and seed is not None:
            raise typer.BadParameter("it is the seed of --walks", param_hint="--seed")
        if walks is not None:
            _only("--walks", **{"--worlds": worlds})
        bounds = _Bounds(
            _FAULTS if faults is None else faults, worlds, walks or 0, _seed(walks, seed), careless
        )
        reports = list(_reports(call, given, bounds))
        ok = all(report.ok and not report.cut for report in reports)
        if call.out.json:
            call.out.data({"ok": ok, "sagas": reports})
    if not ok:
        raise typer.Exit(Exit.UNSUCCESSFUL)


class _Bounds(NamedTuple):
    """How far to look."""

    faults: int
    worlds: int | None
    walks: int
    seed: int
    careless: bool


def _only(what: str, **others: object) -> None:
    """Refuse options that would do nothing."""
    for name, value in others.items():
        if value not in (None, False, []):
            raise typer.BadParameter(f"it does nothing with {what}", param_hint=name)


def _seed(walks: int | None, seed: int | None) -> int:
    if walks is None or seed is not None:
        return seed or 0
    import secrets  # noqa: PLC0415 - start-up time

    return secrets.randbelow(1_000_000)


def wanted_sagas(call: Invocation, names: list[str]) -> list[Saga[..., Any]]:
    """The sagas of these names, or all of the apps'. Raises ``UnknownSagaError``."""
    sagas = call.definitions.sagas
    if not sagas:
        raise UnknownSagaError("the apps define no saga: name their module with --app MODULE")
    for name in names:
        if name not in sagas:
            raise UnknownSagaError(f"no saga is named {name!r}; known: {', '.join(sorted(sagas))}")
    return [sagas[name] for name in names or sorted(sagas)]


def _reports(call: Invocation, names: list[str], bounds: _Bounds) -> Iterator[Report]:
    from orchestrator.testing import proof  # noqa: PLC0415 - start-up time

    for saga in wanted_sagas(call, names):
        with _telling(call, saga.name, bounds) as tell:
            report = proof.verify(
                saga,
                faults=bounds.faults,
                facts=_facts(call, saga),
                careless=bounds.careless,
                worlds_max=bounds.worlds or proof.WORLDS_MAX,
                walks=bounds.walks,
                seed=bounds.seed,
                progress=tell,
            )
        if not call.out.json:
            _show(call, report)
        yield report


@contextmanager
def _telling(call: Invocation, name: str, bounds: _Bounds) -> Iterator[Told]:
    if not bounds.walks:
        with exploring(call.out, name) as tell:
            yield tell
        return
    with counting(call.out, f"{name}, random walks", bounds.walks) as count:
        yield lambda walks, _waiting, _faults: count(walks)


def _facts(call: Invocation, saga: Saga[..., Any]) -> dict[str, Facts]:
    from orchestrator.participant.source_facts import (  # noqa: PLC0415 - start-up time
        facts_about,
        facts_of,
    )

    return {**facts_about(saga), **facts_of(call.definitions.services)}


def _show(call: Invocation, report: Report) -> None:
    from orchestrator.testing.proof import told  # noqa: PLC0415 - start-up time

    seen = f"{report.worlds:,} worlds, up to {report.depth} moves deep, {_far(report)}, {report.seconds:.1f} s"
    shown = report.counterexample
    if shown is None:
        word, style = _verdict(report)
        endings = ", ".join(f"{n:,} {ending}" for ending, n in sorted(report.endings.items()))
        call.out.show(
            Text.assemble((f"{report.saga}: {word}", f"bold {style}"), f"  {seen}"),
            Text(f"  {len(report.invariants)} invariants over these endings: {endings}"),
        )
    else:
        call.out.show(Text.assemble((f"{report.saga}: violated", "bold red"), f"  {seen}"))
        call.out.show(Text(told(shown)), "", Text(f"trace: {shown.trace}", style="dim"), "")
        call.out.raw(shown.test)
    for text in report.cut:
        call.out.show(Text(f"  not everything was seen: {text}", style="yellow"))
    for text in report.alike:
        call.out.show(Text(f"  seen as one: {text}", style="dim"))
    for text in report.assumptions:
        call.out.show(Text(f"  assumed: {text}", style="dim"))


def _far(report: Report) -> str:
    faults = f"up to {report.faults} fault{'' if report.faults == 1 else 's'}"
    if report.walks:
        return f"{faults}, {report.walks:,} random walks of --seed {report.seed}"
    return f"{faults}, {report.scenarios} scenario{'' if report.scenarios == 1 else 's'}"


def _verdict(report: Report) -> tuple[str, str]:
    if report.cut:
        return "cut short", "yellow"
    return ("nothing found, nothing proved", "yellow") if report.walks else ("holds", "green")


def _replayed(call: Invocation, names: list[str], trace: str, *, careless: bool) -> bool:
    from orchestrator.testing import proof  # noqa: PLC0415 - start-up time

    if len(names) != 1:
        raise typer.BadParameter("name the one saga it is a trace of", param_hint="--trace")
    [saga] = wanted_sagas(call, names)
    try:
        lines = proof.replay(saga, trace, facts=_facts(call, saga), careless=careless)
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
    from orchestrator.participant.source_facts import (  # noqa: PLC0415 - start-up time
        participants_near,
    )
    from orchestrator.testing.deployed import Deployed  # noqa: PLC0415 - start-up time
    from orchestrator.testing.open_runs import check_open_runs  # noqa: PLC0415 - start-up time

    if not call.settings.apps:
        raise UnknownSagaError("no apps to compare with: name their module with --app MODULE")
    known = call.definitions
    near = [p for saga in known.sagas.values() for p in participants_near(saga.function).values()]
    contracts = [*known.contracts, *(one for one in near if one.is_remote)]
    deployed = Deployed(known.services, contracts)
    with counting(call.out, "open runs", _open_count(call)) as tell:
        checked = check_open_runs(call.journal, deployed, known.sagas.values(), tell)
    if call.out.json:
        call.out.data({"ok": checked.ok, **plain(checked)})
    else:
        _show_open_runs(call, checked)
    return checked.ok


def _open_count(call: Invocation) -> int:
    open_ = ("accepted", "running", "compensating", "paused", "stuck")
    return sum(by.get(status, 0) for by in call.journal.counts().values() for status in open_)


def _show_open_runs(call: Invocation, checked: OpenRuns) -> None:
    if checked.troubles:
        shown = table("saga", "step", "runs", "what would break", right=("runs",), wrap=_WHAT)
        for one in checked.troubles:
            what = Text(f"{one.what}\n")
            if one.examples:
                ids = ", ".join(one.examples) + (", ..." if one.runs > len(one.examples) else "")
                what.append(f"{ids}\n", style="dim")
            what.append(f"-> {one.fix}", style="bold")
            shown.add_row(f"{one.saga} {one.version}", one.step, f"{one.runs:,}", what)
        call.out.show(shown)
    for older in checked.older:
        now = "no saga of this name" if older.defined is None else f"version {older.defined}"
        call.out.note(
            f"{older.runs:,} open runs of {older.saga} {older.version}: the apps define {now}; these go on with the "
            "plan they were launched with",
            "yellow",
        )
    for service in checked.elsewhere:
        call.out.note(f"service {service} lives elsewhere: compared with its contract", "yellow")
    style = "bold red" if checked.troubles else "bold green"
    count = len(checked.troubles)
    call.out.show(
        Text(
            f"{checked.runs:,} open runs looked at; "
            + (f"{count} thing{'' if count == 1 else 's'} would break" if count else "none breaks"),
            style=style,
        )
    )
