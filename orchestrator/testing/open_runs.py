"""A gate before a deploy: can the code now at hand finish every run that is open in the journal?

Each run is replayed from its events with the plan it was launched with; then everything it may still have to do is
looked up among the participants of today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from orchestrator.definition.action import ActionSpec
from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import JournalUnavailableError, SagaError
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import Phase, RunState, Status
from orchestrator.kernel.summary import RunSummary

OPEN = ("accepted", "running", "compensating", "stuck")
_PAGE = 200
_BEHIND = frozenset({Status.UNDONE, Status.ABANDONED})


class Runs(Protocol):
    """What is needed of a journal."""

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs."""
        ...

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        ...

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...


class Trouble(msgspec.Struct, frozen=True):
    """What would break a run. ``step`` is empty where it is the run as a whole."""

    run_id: str
    saga: str
    version: int
    step: str
    what: str
    fix: str


class OpenRuns(msgspec.Struct, frozen=True):
    """What came of the check."""

    runs: int
    troubles: tuple[Trouble, ...]
    unchecked: tuple[str, ...]
    """Services that open runs need and the apps don't define: they may live elsewhere."""


def check_open_runs(
    journal: Runs,
    specs: Mapping[str, ActionSpec],
    progress: Callable[[int], None] | None = None,
) -> OpenRuns:
    """Check every open run; ``specs`` are the participants of today, by ``service.action``.

    Raises ``JournalUnavailableError``; whatever else a run's record does is a trouble of that run.
    """
    services = {spec.service for spec in specs.values()}
    troubles: list[Trouble] = []
    elsewhere: set[str] = set()
    count = 0
    for row in _rows(journal):
        count += 1
        if progress is not None:
            progress(count)
        try:
            plan = journal.plan(row.plan)
            events = [r.event for r in journal.history(row.run_id) if r.event is not None]
            state = fold(Program(plan, row.plan), events) if events else None
        except JournalUnavailableError:
            raise
        except SagaError as error:
            fix = "deploy a release that can read it; `saga journal check` says if the log is whole"
            what = f"it can't be replayed: {error}"
            troubles.append(Trouble(row.run_id, row.saga, row.version, "", what, fix))
            continue
        for call, kind in _needed(plan, state):
            if call.service not in services:
                elsewhere.add(call.service)
                continue
            spec = specs.get(f"{call.service}.{call.participant}")
            for what, fix in _faults(call, kind, spec):
                troubles.append(Trouble(row.run_id, row.saga, row.version, call.name, what, fix))
    return OpenRuns(count, tuple(dict.fromkeys(troubles)), tuple(sorted(elsewhere)))


def _rows(journal: Runs) -> Iterator[RunSummary]:
    cursor = None
    while True:
        page = journal.runs(RunFilter(status=OPEN), cursor, _PAGE)
        yield from page.runs
        cursor = page.cursor
        if cursor is None:
            return


def _needed(plan: Plan, state: RunState | None) -> Iterator[tuple[Call, str]]:
    """What a run may still ask of participants: each action, with ``do``, ``undo`` or ``callback``."""
    phase = Phase.FORWARD if state is None else state.phase
    pivoted = state is not None and state.pivoted
    status: dict[str, list[Status]] = {}
    for step in state.steps.values() if state is not None else ():
        status.setdefault(step.name, []).append(step.status)
    for call, depth in plan.steps():
        if not isinstance(call, Call):
            continue
        seen = status.get(call.name, [])
        done = bool(seen) and not depth and all(s in {Status.DONE, Status.SKIPPED} for s in seen)
        if phase is Phase.FORWARD and not done:
            yield call, "do"
        may_go_back = phase is Phase.COMPENSATING or (phase is Phase.FORWARD and not pivoted)
        begun = phase is Phase.FORWARD or any(s not in _BEHIND for s in seen)
        if call.undo is not None and may_go_back and begun:
            yield call, "undo"
    for calls in plan.callbacks.values():
        yield from ((call, "callback") for call in calls)


def _faults(call: Call, kind: str, spec: ActionSpec | None) -> Iterator[tuple[str, str]]:
    qualified = f"{call.service}.{call.participant}"
    keep = "keep it until these runs have ended"
    if spec is None:
        yield f"its {kind} needs {qualified}, which is gone", keep
        return
    if kind == "undo" and spec.undo is None:
        yield f"its undo is needed, and {qualified} has none any more", keep
    if kind == "do":
        unknown = sorted(set(call.args) - set(spec.parameters))
        if unknown:
            yield f"{qualified} has no parameter {', '.join(unknown)} any more", keep
        needed = {name for name, parameter in spec.parameters.items() if parameter.required}
        missing = sorted(needed - set(call.args))
        if missing:
            yield (
                f"{qualified} now needs {', '.join(missing)}, which this plan doesn't give",
                "give the new parameter a default",
            )
    if call.barrier and not spec.barrier:
        what = f"{qualified} had a barrier when the run was launched and has none now"
        yield what, "keep its Session: the plan relies on the barrier"
    if call.queue != spec.queue:
        yield (
            f"its commands go to queue {call.queue}, and {qualified} now listens to {spec.queue}",
            f"have a worker serve {call.queue} too, until these runs have ended",
        )
