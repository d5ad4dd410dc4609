"""What participants know and the journal doesn't: the trace of events that were lost with an old backup.

A journal that was restored tells an older truth, and nothing in it says so. The barriers of the participants'
databases remember every effect; where they contradict the log, something was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import msgspec

from orchestrator.journal.log import plan_of
from orchestrator.journal.port import ReaderJournal
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import ENDED, Phase, RunState, Status

_UNDONE = "its effect stands, and the run has it undone"


class Known(NamedTuple):
    """An effect as a participant's barrier remembers it. ``status`` is the barrier's."""

    service: str
    run: str
    step: str
    status: str


class Forgotten(msgspec.Struct, frozen=True):
    """A contradiction between a participant and the journal."""

    run: str
    step: str
    service: str
    what: str
    open: bool
    """The run is still under way: going on it may meet the effect again, under the same key, and take it in."""


def forgotten(journal: ReaderJournal, effects: Iterable[Known]) -> Iterator[Forgotten]:
    """Every contradiction. ``effects`` has those of one run and service together.

    Finds nothing where no event was lost, also while runs are under way. Steps of services without a database leave
    no trace that could be compared. Raises ``IllegalEventError`` for a run that can't be read back.
    """
    programs: dict[str, Program] = {}
    for (run_id, service), known in groupby(effects, lambda effect: (effect.run, effect.service)):
        statuses: dict[str, set[str]] = {}
        for effect in known:
            if not effect.step.startswith("@"):  # a callback has no effect that a run answers for
                statuses.setdefault(effect.step, set()).add(effect.status)
        state = _state(journal, programs, run_id)
        if state is None and (ended := journal.archived([run_id]).get(run_id)):
            for step in _against_ending(ended, statuses):
                yield Forgotten(run_id, step, service, _UNDONE, open=False)
            continue
        is_open = state is not None and state.phase not in ENDED
        for step, found in statuses.items():
            what = _contradiction(state, step, found)
            if what:
                yield Forgotten(run_id, step, service, what, is_open)


def _against_ending(ended: str, statuses: dict[str, set[str]]) -> list[str]:
    """Of a run that is in an archive only its end is known here."""
    if ended != "compensated":
        return []
    return [step for step, found in statuses.items() if "done" in found]


def _contradiction(state: RunState | None, step: str, found: set[str]) -> str:
    stands = "done" in found
    if state is None:
        return "its effect stands, and the journal has no event of the run" if stands else ""
    known = state.steps.get(step)
    if stands and known is None:
        return f"its effect stands, and the run is {state.phase.value} without having come to it"
    if stands and known is not None:
        undone = known.status is Status.UNDONE or state.phase is Phase.COMPENSATED
        return _UNDONE if undone else ""
    if known is not None and known.status is Status.DONE and found & {"undone", "tombstone"}:
        return "its effect was undone, and the run has it done"
    return ""


def _state(journal: ReaderJournal, programs: dict[str, Program], run_id: str) -> RunState | None:
    records = journal.history(run_id)
    if not records:
        return None
    plan_hash = plan_of(records)
    if plan_hash not in programs:
        programs[plan_hash] = Program(journal.plan(plan_hash), plan_hash)
    events = (record.event for record in records if record.event is not None)
    return fold(programs[plan_hash], events)
