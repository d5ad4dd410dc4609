"""`saga simulate`: the whole program under virtual time, with everything going wrong that can."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.definition.plan import Plan
from orchestrator.errors import UnknownSagaError

if TYPE_CHECKING:
    from orchestrator.testing.simulation.results import Campaign, Schedule

_SCHEDULES = 1_000
_HOUR_S = 3_600.0
_TRACE_SHOWN = 80


def simulate(
    context: typer.Context,
    saga: Annotated[
        str | None,
        typer.Argument(metavar="SAGA", help="A saga of the apps; random plans without one."),
    ] = None,
    *,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first schedule's seed.")] = 0,
    schedules: Annotated[
        int | None, typer.Option("--schedules", min=1, help="How many schedules; 1000 without.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.0, help="Go on for so long instead.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="How many play at the same time.")
    ] = 1,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show what happens in the one schedule of --seed.")
    ] = False,
) -> None:
    """Play schedules of losses, kills, pauses and repairs, each from its seed; exit 1 when one fails."""
    call = invocation(context)
    from orchestrator.testing.parallel import simulate as play  # noqa: PLC0415 - start-up time
    from orchestrator.testing.simulator import Simulator  # noqa: PLC0415 - start-up time

    plan = None if saga is None else _plan(call, saga)
    if trace:
        with _silence():
            schedule = Simulator(plan).play(seed)
        _show_one(call, schedule)
        return

    with _silence(), call.out.errors.status("") as status:

        def progress(campaign: Campaign) -> None:
            if campaign.schedules % 50 == 0:
                status.update(f"{campaign.schedules:,} schedules, {_per_s(campaign):.0f} a second")

        count = None if hours is not None else schedules or _SCHEDULES
        seconds = None if hours is None else hours * _HOUR_S
        campaign = play(
            plan,
            first_seed=seed,
            schedules=count,
            seconds=seconds,
            processes=processes,
            progress=progress,
        )
    _show(call, campaign, seed)
    if campaign.interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if campaign.failed:
        raise typer.Exit(Exit.UNSUCCESSFUL)


@contextmanager
def _silence() -> Iterator[None]:
    """Without the coordinators' own words: that things go wrong is the point here."""
    log = logging.getLogger("orchestrator")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def _show_one(call: Invocation, schedule: Schedule) -> None:
    if call.out.json:
        call.out.data(schedule)
    else:
        call.out.raw("\n".join(schedule.trace))
        _complain(call, schedule)
    if schedule.violations:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _complain(call: Invocation, schedule: Schedule) -> None:
    for violation in schedule.violations:
        call.out.note(f"  {violation}", "red")


def _plan(call: Invocation, name: str) -> Plan:
    found = call.definitions.sagas.get(name)
    if found is None:
        names = ", ".join(sorted(call.definitions.sagas)) or "none; name modules with --app"
        raise UnknownSagaError(f"no saga is called {name!r}; known: {names}")
    return found.plan


def _show(call: Invocation, campaign: Campaign, first_seed: int) -> None:
    if call.out.json:
        call.out.data(campaign)
        return
    runs = ", ".join(f"{n:,} {status}" for status, n in sorted(campaign.runs.items()))
    call.out.show(
        f"{campaign.schedules:,} schedules from seed {first_seed} in {campaign.elapsed_s:.0f} s"
        f" ({_per_s(campaign):.0f} a second), {campaign.virtual_s / _HOUR_S:,.0f} virtual hours",
        f"runs: {runs or 'none'}",
        f"faults: {sum(campaign.faults.values()):,}",
    )
    for name, number in sorted(campaign.faults.items()):
        call.out.show(f"  {number:>9,} {name}")
    for schedule in campaign.failed:
        call.out.show("", *schedule.trace[-_TRACE_SHOWN:])
        call.out.note(f"seed {schedule.seed} fails; show it whole with --seed and --trace", "red")
        _complain(call, schedule)
    if not campaign.failed:
        call.out.show("no seed failed")


def _per_s(campaign: Campaign) -> float:
    return campaign.schedules / max(campaign.elapsed_s, 1e-9)
