"""``saga verify`` on atomic groups: every world of two branches with two faults; and defects that it must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import Call, Plan, RetryPolicy
from orchestrator.kernel import decide_group, evolve_group, group
from orchestrator.kernel import events as ev
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState, Status
from orchestrator.kernel.two_phase import branches_of
from orchestrator.testing import participants
from orchestrator.testing.abstract import abstract
from orchestrator.testing.explorer import Explored, explore
from orchestrator.testing.participants import Answer, Record
from orchestrator.testing.proof import shown_lines
from orchestrator.testing.timeline import narrated
from orchestrator.testing.world import Space
from tests.unit.kernel import scenario
from tests.unit.kernel.scenario import plan

RETRY = RetryPolicy(attempts=3)


def branch(name: str, how: Any = "database", **options: Any) -> Call:
    return scenario.branch(name, how, retry=RETRY, undo_retry=RETRY, **options)


def grouped(*branches: Call, then: bool = False) -> Plan:
    after = (scenario.call("mail", undo=False, pivot=True, retry=RETRY),) if then else ()
    return plan(scenario.group(*branches, retry=RETRY), *after)


PLANS = {
    "two databases": grouped(branch("debit"), branch("credit")),
    "two databases and a step": grouped(branch("debit"), branch("credit"), then=True),
    "a last": grouped(branch("debit"), branch("post", "last")),
    "a single one": grouped(branch("debit"), then=True),
    "a try without a barrier": grouped(branch("hold", "tcc", barrier=False), branch("credit")),
    "a reader": grouped(branch("look", "reader", read_only=True), branch("credit")),
}


def explored(what: Plan, faults: int) -> Explored:
    space = Space(Program(abstract(what).plan), {})
    seen = Explored()
    explore(space, {}, faults=faults, worlds_max=50_000, into=seen)
    if seen.found is not None:
        shown_lines(narrated(space, {}, seen.found.moves))  # can be told
    return seen


@pytest.mark.parametrize("name", PLANS)
def test_no_world_with_two_faults_breaks_a_group(name: str) -> None:
    seen = explored(PLANS[name], 2)
    assert seen.found is None
    assert not seen.cut
    assert {"completed", "compensated"} <= set(seen.endings)


def _decides_early(run: RunState, key: str) -> bool:
    """One yes is enough."""
    return any(step.status is Status.PREPARED for _, step, _ in branches_of(run, key))


def _never_recalls(run: RunState, key: str) -> bool:
    return False


def _forgets_to_abort(run: RunState, key: str, at: float) -> None:
    """Prepared branches are left as they are."""
    for name, step, _ in branches_of(run, key):
        if step.status is not Status.DONE:
            run.steps[name] = replace(step, status=Status.ABORTED)


def _loses_its_branch(record: Record) -> Answer:
    """A participant that says it has committed, and hasn't."""
    return Answer("succeeded", record._replace(row=participants.TOMBSTONE))


DEFECTS: dict[str, tuple[str, Any, str, Callable[..., Any]]] = {
    "decides early": ("two databases", decide_group, "all_said_yes", _decides_early),
    "never recalls": ("a last", decide_group, "must_recall", _never_recalls),
    "forgets to abort": ("two databases", group, "_take_back", _forgets_to_abort),
    "loses a branch": ("two databases", participants, "_commit", _loses_its_branch),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which, module, attribute, defect = DEFECTS[name]
    monkeypatch.setattr(module, attribute, defect)
    seen = explored(PLANS[which], 1)
    assert seen.found is not None


def test_a_decision_that_isnt_checked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any vote commits, and nothing stops it."""

    def anyway(run: RunState, event: ev.CommitDecided) -> None:
        evolve_group._group_moved(run, event, "CommitDecided")
        group.confirm(run, event.step, event.at)

    monkeypatch.setattr(decide_group, "all_said_yes", _decides_early)
    monkeypatch.setitem(evolve_group._OF_GROUPS, ev.CommitDecided, anyway)
    seen = explored(PLANS["two databases"], 1)
    assert seen.found is not None
