"""How an atomic group goes on: what its branches are asked next, from the state alone.

Changes only the draft it is given. What the group itself has come to shows in its status; the walk goes on from there.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import Atomic, Call, instance_key
from orchestrator.kernel.events import AfterAbort
from orchestrator.kernel.pause import goes_on
from orchestrator.kernel.state import (
    Phase,
    RunState,
    Status,
    StepState,
    only_its_reply_settles,
)
from orchestrator.kernel.two_phase import (
    BACK,
    VOTED,
    branches_of,
    node_of,
    one_phase_of,
    rests,
)

_S = Status


def begin_group(
    run: RunState, group: Atomic, index: tuple[int, ...], args: list[dict[str, Any]], at: float
) -> None:
    """Ask the branches for their votes; the last one is held until the others have said yes."""
    run.steps[instance_key(group.name, index)] = StepState(
        name=group.name, index=index, status=_S.VOTING, since=at, due=at
    )
    for call, given in zip(group.branches, args, strict=True):
        run.steps[instance_key(call.name, index)] = StepState(
            name=call.name,
            index=index,
            status=_first(group, call),
            since=at,
            due=at,
            args=given,
        )


def begin_round(run: RunState, key: str, at: float, *, counts: bool = True) -> None:
    """Ask for the votes again, under new names: what was taken back stays so."""
    group = run.steps[key]
    attempt, round_ = group.attempt + 1, group.round + 1
    run.steps[key] = replace(
        group,
        status=_S.VOTING,
        due=at,
        attempt=attempt,
        base=group.base if counts else group.base + 1,
        round=round_,
        counts=True,
    )
    node = node_of(run, key)
    for branch, step, call in branches_of(run, key):
        if step.status is not _S.DONE:
            run.steps[branch] = replace(
                _asked(step, _first(node, call), at),
                round=round_,
                result=None,
                doubt=False,
                heuristic=None,
            )


def confirm(run: RunState, key: str, at: float) -> None:
    """The decision is commit: tell all that wait for it."""
    for branch, step, _ in branches_of(run, key):
        if step.status is _S.PREPARED:
            run.steps[branch] = _asked(step, _S.COMMITTING, at)
        elif step.status is _S.READ_ONLY:
            run.steps[branch] = replace(step, status=_S.DONE)


def recall(run: RunState, key: str, at: float) -> None:
    """Have the branch that may have committed say so, or never do it."""
    branch = one_phase_of(run, key)
    assert branch is not None, key
    run.steps[branch] = _asked(run.steps[branch], _S.ABORTING, at)


def must_recall(run: RunState, key: str) -> bool:
    """Whether a branch may have committed by itself, so that nobody else can say what is decided."""
    branch = one_phase_of(run, key)
    return branch is not None and run.steps[branch].status in {_S.PREPARING, _S.FAILED}


def halt(run: RunState, key: str, at: float, reason: str) -> None:
    """Compensation has started: take the group back, unless it is decided."""
    group = run.steps[key]
    status = group.status
    if status is _S.VOTING:
        status = _S.RECALLING if must_recall(run, key) else _S.WITHDRAWING
    elif status not in {_S.RECALLING, _S.WITHDRAWING}:
        return
    run.steps[key] = replace(group, status=status, then="fail", reason=reason)
    if status is _S.RECALLING and group.status is _S.VOTING:
        recall(run, key, at)
    settle(run, key, at)


def settle(run: RunState, key: str, at: float) -> None:
    """Take the group as far as its branches allow."""
    match run.steps[key].status:
        case Status.VOTING:
            _ask_the_last(run, key, at)
            _finish_without_decision(run, key)
        case Status.RECALLING:
            _finish_without_decision(run, key)
        case Status.CONFIRMING:
            _finish(run, key)
        case Status.WITHDRAWING:
            _take_back(run, key, at)
            if all(step.status in BACK for _, step, _ in branches_of(run, key)):
                _close(run, key, at)
        case _:
            pass


def _first(group: Atomic, call: Call) -> Status:
    alone = len(group.branches) == 1
    return _S.HELD if call.branch == "last" and not alone else _S.PREPARING


def _asked(step: StepState, status: Status, at: float) -> StepState:
    """A branch with a new question to answer. Its attempts go on, so that no answer to an earlier
    question fits.
    """
    attempt = step.attempt if step.status is _S.HELD else step.attempt + 1
    return replace(
        step,
        status=status,
        attempt=attempt,
        base=attempt - 1,
        since=at,
        due=at,
        failure=None,
        reason="",
    )


def _ask_the_last(run: RunState, key: str, at: float) -> None:
    held = [branch for branch, step, _ in branches_of(run, key) if step.status is _S.HELD]
    others = [step for _, step, _ in branches_of(run, key) if step.status is not _S.HELD]
    if held and all(step.status in VOTED for step in others):
        run.steps[held[0]] = _asked(run.steps[held[0]], _S.PREPARING, at)


def _finish_without_decision(run: RunState, key: str) -> None:
    """Nothing waits for a decision: all changed nothing, or the only one that did has committed."""
    branches = list(branches_of(run, key))
    if not all(step.status in {_S.READ_ONLY, _S.DONE} for _, step, _ in branches):
        return
    for branch, step, _ in branches:
        run.steps[branch] = replace(step, status=_S.DONE)
    run.steps[key] = replace(run.steps[key], status=_S.DONE, reason="", failure=None)


def _finish(run: RunState, key: str) -> None:
    """All have committed; or a person said of one that it has not, so that the others have to be undone."""
    branches = {step.status for _, step, _ in branches_of(run, key)}
    if branches <= BACK:
        status = _S.FAILED if _S.ABORTED in branches else _S.DONE
        run.steps[key] = replace(run.steps[key], status=status, reason="", failure=None)


def _take_back(run: RunState, key: str, at: float) -> None:
    resting = rests(run.steps[key], at)
    for branch, step, call in branches_of(run, key):
        match step.status:
            case Status.HELD if not run.steps[key].counts:
                # Another coordinator may have asked it, and the journal have been set back since: it knows.
                run.steps[branch] = _asked(step, _S.ABORTING, at)
            case Status.HELD | Status.READ_ONLY:
                run.steps[branch] = replace(step, status=_S.ABORTED)
            case Status.PREPARING | Status.FAILED | Status.REFUSED if call.branch == "reader":
                run.steps[branch] = replace(step, status=_S.ABORTED)
            case Status.PREPARING if not goes_on(run, branch):  # nobody has been asked yet
                run.steps[branch] = replace(step, status=_S.ABORTED)
            case Status.PREPARED | Status.FAILED:
                run.steps[branch] = _asked(step, _S.ABORTING, at)
            case Status.REFUSED if step.doubt or not call.barrier:  # a copy could still come
                run.steps[branch] = _asked(step, _S.ABORTING, at)
            case Status.PREPARING if resting or not only_its_reply_settles(run, step, at):
                run.steps[branch] = _asked(step, _S.ABORTING, at)
            case _:
                pass


_AFTERWARDS: dict[AfterAbort, Status] = {
    "fail": _S.FAILED,
    "refuse": _S.REFUSED,
    "park": _S.FAILED,
}


def _close(run: RunState, key: str, at: float) -> None:
    """All branches are taken back."""
    group = run.steps[key]
    astray = any(step.status is _S.DONE for _, step, _ in branches_of(run, key))
    if run.phase is Phase.FORWARD and group.then == "retry" and not astray:
        begin_round(run, key, max(at, group.retry_at), counts=group.counts)
        return
    then = _AFTERWARDS.get(group.then, _S.FAILED)
    run.steps[key] = replace(group, status=then, then="fail")
    if run.phase is Phase.FORWARD and group.then == "park":
        run.broken = (*run.broken, key)
