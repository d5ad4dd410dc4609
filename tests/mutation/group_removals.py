"""How to take away each guard of atomic groups in the kernel and the coordinator, for a whole test process."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.coordinator import turn
from orchestrator.coordinator.kept import Kept
from orchestrator.kernel import (
    decide_group,
    evolve_group,
    group,
    operate_group,
    state,
    two_phase,
    walk,
)
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import Status
from tests.mutation.removals import _set


def votes_before_decision() -> None:
    """Commit whatever the votes are."""
    _set(evolve_group, "VOTED", frozenset(Status))


def presumed_abort() -> None:
    """A successor leaves undecided groups as they are."""
    _set(decide_group, "recovered", lambda _run, _at: [])


def group_timeout() -> None:
    """Branches hold their locks for as long as a vote is missing."""
    _set(decide_group, "timed_out", lambda _run, _key, _at: [])


def recall() -> None:
    """Abort the others although the last one may have committed."""
    _set(decide_group, "must_recall", lambda _run, _key: False)
    _set(group, "must_recall", lambda _run, _key: False)


def attempts_go_on() -> None:
    """Number a branch's questions from one again."""
    asked = group._asked
    _set(group, "_asked", lambda step, to, at: asked(replace(step, attempt=0), to, at))


def new_names() -> None:
    """Try a group again under the names of the attempt before."""
    begin = group.begin_round

    def same_round(run: Any, key: str, at: float, **more: Any) -> None:
        begin(run, key, at, **more)
        for name, step, _ in list(two_phase.branches_of(run, key)):
            run.steps[name] = replace(step, round=0)

    _set(group, "begin_round", same_round)
    _set(evolve_group, "begin_round", same_round)


def stuck_decision() -> None:
    """Tell a decision for ever, and nobody hears of it."""
    _set(decide_group, "_stuck", lambda _run, _key, _event: None)


def heuristic_outcome() -> None:
    """Take a branch that went against the decision for one that obeyed."""

    def obeyed(_run: Any, reply: Any, _found: Any) -> ev.Event:
        made = ev.BranchCommitted if reply.kind == "commit" else ev.BranchAborted
        return made(at=reply.at, step=reply.step, attempt=reply.attempt)

    _set(decide_group, "_astray", obeyed)


def try_before_cancel() -> None:
    """Cancel a try without a barrier while it is still out."""
    _set(group, "only_its_reply_settles", lambda _run, _step, _at: False)


def group_before_its_undo() -> None:
    """Undo what comes before a group that isn't at its end."""
    _set(walk, "_is_open", lambda _run, _group, _index: False)


def last_as_pivot() -> None:
    """Compensate beside a last branch that is the pivot and may have committed."""
    _set(state, "_MAY_BE_DONE", frozenset({Status.RUNNING}))


def forget_after_saying() -> None:
    """Close the file of a heuristic outcome nobody has looked at."""
    _set(operate_group, "IN_GROUP", frozenset())


def lone_vote() -> None:
    """Write every vote by itself."""
    _set(Kept, "may_wait", lambda _self, _now: False)


def decision_is_written() -> None:
    """Keep whatever comes, decisions too."""
    _set(turn, "is_waitable", lambda _events, _before, _after: True)
