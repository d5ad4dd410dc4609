"""`saga doctor`: is the installation able to do its work? Each finding comes with the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.probes import Probe
from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import SagaError, SchemaError, TransportUnavailableError, UnsafeBrokerError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.spans import span_text

SKEW_MAX_S = 1.0
_PAGE = 500
_WHY_LENGTH = 300
_OPEN = ("accepted", "running", "compensating", "paused", "stuck")

Level = Literal["ok", "note", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. ``way_out`` is empty when nothing has to be done."""

    check: str
    level: Level
    what: str
    way_out: str = ""


def doctor(context: typer.Context) -> None:
    """Check broker, database, workers, coordinators and runs; exit 1 if there is any problem."""
    call = invocation(context)
    found = list(examine(call, call.backend.probe(call.settings)))
    problems = sum(finding.level == "problem" for finding in found)
    if call.out.json:
        call.out.data({"ok": not problems, "findings": found})
    else:
        call.out.show(_table(call, found), "")
        call.out.show(
            Text(f"{problems} problem{'' if problems == 1 else 's'}", style="bold red")
            if problems
            else Text("no problems", style="bold green")
        )
    if problems:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def examine(call: Invocation, probe: Probe) -> Iterator[Finding]:
    """Every check that can be made; one that needs what an earlier one missed is left out."""
    schema = list(_asked("schema", lambda: _schema(probe), "see that the database is up"))
    yield from schema
    broker = list(_asked("broker", lambda: _broker(probe), "start it, or set SAGA_BROKER_URL"))
    yield from broker
    reachable = not any(finding.level == "problem" for finding in broker)
    if any(finding.level == "problem" for finding in schema):
        return
    yield from _clock(call, probe)
    yield from _coordinators(call)
    runs = list(_open_runs(call))
    yield from _parked(runs)
    plans = {run.plan: call.journal.plan(run.plan) for run in runs}
    if reachable:
        yield from _asked("queues", lambda: _queues(probe, plans), "see that the broker is up")
    yield from _participants(call, plans)
    yield from _two_phase(call)


def _asked(check: str, ask: Callable[[], list[Finding]], way_out: str) -> list[Finding]:
    try:
        return ask()
    except SchemaError as error:
        return [Finding(check, "problem", str(error), "saga db upgrade")]
    except UnsafeBrokerError as error:
        return [Finding(check, "problem", str(error), "CONFIG SET maxmemory-policy noeviction")]
    except TransportUnavailableError as error:
        return [Finding(check, "problem", str(error), way_out)]
    except SagaError as error:
        return [Finding(check, "problem", f"no answer: {error}", way_out)]


def _schema(probe: Probe) -> list[Finding]:
    probe.schema()
    return [Finding("schema", "ok", "the journal has this release's schema")]


def _broker(probe: Probe) -> list[Finding]:
    state = probe.broker()
    policy = f", {state.policy}" if state.policy else ""
    notes = [Finding("broker", "note", warning) for warning in state.warnings]
    return [Finding("broker", "ok", f"{state.kind} answers{policy}"), *notes]


def _clock(call: Invocation, probe: Probe) -> Iterator[Finding]:
    before = call.now()
    theirs = probe.database_time()
    if theirs is None:
        yield Finding("clock", "ok", "the journal's database uses this machine's clock")
        return
    skew_s = abs(theirs - (before + call.now()) / 2)
    if skew_s > SKEW_MAX_S:
        what = f"this machine and the database differ by {span_text(skew_s)}"
        yield Finding("clock", "problem", what, "let both follow a time server (NTP)")
    else:
        yield Finding("clock", "ok", f"within {span_text(skew_s)} of the database's")


def _coordinators(call: Invocation) -> Iterator[Finding]:
    now = call.now()
    alive = call.journal.coordinators(now)
    if not alive:
        yield Finding("coordinators", "problem", "none is running", "saga coordinator")
        return
    held = {lease.shard for lease in call.journal.leases() if lease.expires_at > now}
    free = sorted(set(range(call.journal.shards())) - held)
    if free:
        what = f"shards {', '.join(map(str, free))} have no writer, {len(alive)} coordinators alive"
        way_out = (
            f"wait {call.settings.lease_s:g} s, the lease; then look at the coordinators' logs"
        )
        yield Finding("coordinators", "problem", what, way_out)
    else:
        yield Finding("coordinators", "ok", f"{len(alive)} alive, every shard has its writer")


def _open_runs(call: Invocation) -> Iterator[RunSummary]:
    cursor = None
    while True:
        page = call.journal.runs(RunFilter(status=_OPEN), cursor, _PAGE)
        yield from call.curtains.rows(page.runs)
        cursor = page.cursor
        if cursor is None:
            return


def _parked(runs: list[RunSummary]) -> Iterator[Finding]:
    stuck = [run for run in runs if run.status == "stuck"]
    if stuck:
        what = f"{len(stuck)} stuck, the latest: {stuck[0].reason}"
        yield Finding("runs", "problem", what, "saga list --stuck, then saga show RUN")
    else:
        yield Finding("runs", "ok", f"{len(runs)} open, none stuck")


def _queues(probe: Probe, plans: dict[str, Plan]) -> list[Finding]:
    needed = sorted({call.queue for plan in plans.values() for call in calls_of(plan)})
    states = probe.queues(needed)
    unread = [state for state in states if not state.workers]
    if not unread:
        waiting = sum(state.waiting for state in states)
        what = f"every queue that open runs need has workers; {waiting:,} messages wait"
        return [Finding("queues", "ok", what)]
    return [
        Finding(
            "queues",
            "problem",
            f"open runs need queue {state.name}, and no worker serves it; {state.waiting:,} messages wait",
            f"saga worker --queues {state.name}",
        )
        for state in unread
    ]


def _participants(call: Invocation, plans: dict[str, Plan]) -> Iterator[Finding]:
    if not call.settings.apps:
        yield Finding(
            "participants", "note", "not compared: no apps are named", "saga doctor --app MODULE"
        )
        return
    defined = call.definitions
    here = [one for service in defined.services for one in service.participants.values()]
    known = {one.spec.qualified for one in (*here, *defined.contracts)}
    needed = {f"{c.service}.{c.participant}" for plan in plans.values() for c in calls_of(plan)}
    missing = sorted(needed - known)
    for name in missing:
        what = f"plans of open runs call {name}, and the apps don't define it, nor a contract of it"
        way_out = (
            "`saga verify --open-runs` says which runs still need it: deploy a worker that has it"
        )
        yield Finding("participants", "problem", what, way_out)
    if not missing:
        yield Finding("participants", "ok", "the apps define all that open runs need")


def _two_phase(call: Invocation) -> Iterator[Finding]:
    """Whether the databases of two-phase services can prepare transactions, and whether any have been for long."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - start-up time

    services = call.definitions.services if call.settings.apps else []
    for service in services:
        branches = service.branches
        if branches is None:
            continue
        check = f"two-phase {service.name}"
        try:
            shortcomings = branches.shortcomings()
            old = [one for one in branches.found() if (one.age_s or 0) > call.settings.in_doubt_s]
        except (SagaError, SQLAlchemyError) as error:
            why = " ".join(str(error).split())[:_WHY_LENGTH]
            yield Finding(check, "problem", f"no answer: {why}", "see that its database is up")
            continue
        for one in shortcomings:
            yield Finding(check, "problem", one.what, one.way_out)
        if old:
            what = f"{len(old)} branches have been prepared for longer than {span_text(call.settings.in_doubt_s)}"
            yield Finding(check, "problem", what, "saga in-doubt")
        elif not shortcomings:
            yield Finding(check, "ok", "its database prepares transactions; none is in doubt")


def calls_of(plan: Plan) -> list[Call]:
    """Every participant's action in a plan, its callbacks included."""
    steps = [step for step, _ in plan.steps() if isinstance(step, Call)]
    return steps + [call for calls in plan.callbacks.values() for call in calls]


def _table(call: Invocation, found: list[Finding]) -> Table:
    looks = {"ok": ("✔", "+", "green"), "note": ("•", "-", "yellow"), "problem": ("✖", "x", "red")}
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for finding in found:
        mark, ascii_mark, style = looks[finding.level]
        name = Text(f"{ascii_mark if call.out.ascii_only else mark} {finding.check}", style=style)
        what = Text(" ".join(finding.what.split()))
        if finding.way_out:
            what.append(f"\n-> {finding.way_out}", style="bold")
        shown.add_row(name, what)
    return shown
