"""What an event makes of an atomic group or of one of its branches: the part of ``evolve`` that is about them.

The facts are applied by the tables in ``two_phase``; then the group goes on as far as its branches allow, and the walk
from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel.group import (
    begin_round,
    confirm,
    halt,
    recall,
    settle,
)
from orchestrator.kernel.state import (
    COMPLETE,
    GROUP_OPEN,
    KIND,
    Phase,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.two_phase import (
    BRANCHES,
    GROUPS,
    IN_GROUP,
    VOTED,
    branches_of,
    group_of,
    is_group,
    node_of,
    rests,
)
from orchestrator.kernel.walk import begin_again, go_on

Apply = Callable[[RunState, Any], None]


def handler_of(run: RunState, event: ev.Event) -> Apply | None:
    """What applies an event that is about a group or an open branch; None for any other event."""
    key = getattr(event, "step", None)
    step = run.steps.get(key) if isinstance(key, str) else None
    beside = isinstance(event, ev.CompensationStarted | ev.ApprovalAsked)
    if beside or step is None or key is None:
        return None
    if is_group(run, key):
        apply = _OF_GROUPS.get(type(event))
        return _misplaced if apply is None else apply
    if step.name in run.program.grouped and (
        step.status in IN_GROUP or isinstance(event, ev.HeuristicForgotten)
    ):
        apply = _OF_BRANCHES.get(type(event))
        return _misplaced if apply is None else apply
    return None


def halt_groups(run: RunState, at: float, reason: str) -> None:
    """Compensation has started: take back what isn't decided."""
    for key in [key for key, step in run.steps.items() if step.status in GROUP_OPEN]:
        halt(run, key, at, reason)


def _misplaced(run: RunState, event: Any) -> None:
    raise _illegal(run, event)


def _illegal(run: RunState, event: Any) -> IllegalEventError:
    step = run.steps[event.step]
    return IllegalEventError(
        f"run {run.run_id}, {run.phase}: {type(event).__name__} for {event.step!r}, which is {step.status}"
    )


def _settled(run: RunState, key: str, at: float) -> None:
    """Take the group as far as it goes, and the walk on from there if that is its end."""
    settle(run, key, at)
    group = run.steps[key]
    if group.status in COMPLETE:
        _pass_pivot(run, key)
    if group.status not in GROUP_OPEN:
        go_on(run, group, at)


def _pass_pivot(run: RunState, key: str) -> None:
    if run.phase is Phase.FORWARD and any(call.pivot for call in node_of(run, key).branches):
        run.pivoted = True


# -- of a group


def _group_moved(run: RunState, event: Any, label: str, **changes: Any) -> StepState:
    group = run.steps[event.step]
    status = GROUPS.get((group.status, label))
    if status is None or (status is Status.VOTING and run.phase is not Phase.FORWARD):
        raise _illegal(run, event)
    moved = run.steps[event.step] = replace(group, status=status, **changes)
    return moved


def _commit_decided(run: RunState, event: ev.CommitDecided) -> None:
    branches = [step for _, step, _ in branches_of(run, event.step)]
    if not all(step.status in VOTED for step in branches):
        raise _illegal(run, event)
    _group_moved(run, event, "CommitDecided", failure=None, reason="")
    _pass_pivot(run, event.step)
    confirm(run, event.step, event.at)
    _settled(run, event.step, event.at)


def _abort_decided(run: RunState, event: ev.AbortDecided) -> None:
    _group_moved(
        run,
        event,
        "AbortDecided",
        failure=event.failure,
        reason=event.reason,
        then=event.then,
        retry_at=event.retry_at or 0.0,
        counts=event.counts,
    )
    _settled(run, event.step, event.at)


def _recalled(run: RunState, event: ev.OnePhaseRecalled) -> None:
    _group_moved(
        run,
        event,
        "OnePhaseRecalled",
        failure=event.failure,
        reason=event.reason,
        then=event.then,
        retry_at=event.retry_at or 0.0,
        counts=event.counts,
    )
    recall(run, event.step, event.at)


def _group_parked(run: RunState, event: ev.StepParked) -> None:
    run.broken = tuple(key for key in run.broken if key != event.step)
    changes = {} if event.failure is None else {"failure": event.failure}
    _group_moved(run, event, "StepParked", reason=event.reason, **changes)


def _group_retried(run: RunState, event: ev.StepRetried) -> None:
    group = run.steps[event.step]
    if group.status is Status.VOTING:
        if not rests(group, event.at):
            raise _illegal(run, event)
        run.steps[event.step] = replace(group, due=event.at)
        for branch, step, _ in branches_of(run, event.step):
            if step.status is Status.PREPARING:
                run.steps[branch] = replace(step, since=event.at, due=event.at)
        return
    if group.attempt == 0:  # a branch had no arguments, so that none was begun
        del run.steps[event.step]
        begin_again(run, group.name, group.index, event.at)
        return
    _group_moved(run, event, "StepRetried", base=group.attempt, since=event.at, reason="")
    begin_round(run, event.step, event.at)
    _settled(run, event.step, event.at)


def _group_skipped(run: RunState, event: ev.StepSkipped) -> None:
    _group_moved(run, event, "StepSkipped", failure=None, reason="")
    _given(run, event.step, event.result, Status.SKIPPED)
    _settled(run, event.step, event.at)


def _group_resolved(run: RunState, event: ev.StepResolved) -> None:
    label = "StepResolved as undone" if event.undone else "StepResolved as done"
    moved = _group_moved(run, event, label, failure=None, reason=event.reason)
    if not event.undone:
        _given(run, event.step, event.result, moved.status)
        _settled(run, event.step, event.at)


def _given(run: RunState, key: str, results: Any, status: Status) -> None:
    """An operator says what the branches gave, by their names."""
    given = results if isinstance(results, dict) else {}
    for branch, step, call in branches_of(run, key):
        if step.status is not Status.DONE:
            result = given.get(call.name)
            run.steps[branch] = replace(step, status=status, result=result)


# -- of a branch


def _branch_moved(
    run: RunState, event: Any, label: str, of_attempt: int | None = None, **changes: Any
) -> None:
    step = run.steps[event.step]
    status = BRANCHES.get((step.status, label))
    kind = getattr(event, "kind", None)
    wrong_kind = kind is not None and kind != KIND.get(step.status)
    if status is None or wrong_kind or (of_attempt is not None and of_attempt != step.attempt):
        raise _illegal(run, event)
    run.steps[event.step] = replace(step, status=status, **changes)
    key = group_of(run, event.step)
    assert key is not None, event.step
    _settled(run, key, event.at)


def _voted(run: RunState, event: ev.BranchVoted) -> None:
    label = f"BranchVoted {event.vote}"
    result = event.result
    if run.steps[event.step].status is not Status.PREPARING and result is None:
        result = run.steps[event.step].result
    _branch_moved(
        run, event, label, event.attempt, result=result, failure=None, reason="", heuristic=None
    )


def _branch_refused(run: RunState, event: ev.StepRefused) -> None:
    step = run.steps[event.step]
    doubt = step.doubt and not run.program.call(step.name).barrier
    failure = event.failure
    _branch_moved(
        run,
        event,
        "StepRefused",
        event.attempt,
        failure=failure,
        reason=failure.message,
        doubt=doubt,
    )


def _branch_failed(run: RunState, event: ev.StepFailed) -> None:
    _tried(run, event, "StepFailed", event.failure, event.failure.message)


def _branch_in_doubt(run: RunState, event: ev.StepInDoubt) -> None:
    _tried(run, event, "StepInDoubt", None, event.reason, doubt=True)


def _tried(
    run: RunState,
    event: ev.StepFailed | ev.StepInDoubt,
    label: str,
    failure: ev.Failure | None,
    reason: str,
    **changes: Any,
) -> None:
    changes |= {"failure": failure, "reason": reason}
    if event.retry_at is not None:
        label += ", to be retried"
        changes |= {"attempt": event.attempt + 1, "due": event.retry_at}
    _branch_moved(run, event, label, event.attempt, **changes)


def _branch_parked(run: RunState, event: ev.StepParked) -> None:
    _branch_moved(run, event, "StepParked", reason=event.reason)


def _committed(run: RunState, event: ev.BranchCommitted) -> None:
    given = {} if event.result is None else {"result": event.result}
    _acknowledged(run, event, "BranchCommitted", **given)


def _aborted(run: RunState, event: ev.BranchAborted) -> None:
    _acknowledged(run, event, "BranchAborted", result=None)


def _acknowledged(
    run: RunState, event: ev.BranchCommitted | ev.BranchAborted, label: str, **changes: Any
) -> None:
    changes |= {"failure": None, "reason": "", "heuristic": None}
    _branch_moved(run, event, label, event.attempt, **changes)


def _astray(run: RunState, event: ev.HeuristicFound) -> None:
    _branch_moved(
        run,
        event,
        "HeuristicFound",
        event.attempt,
        heuristic=event.found,
        failure=event.failure,
        reason=event.reason,
    )


def _branch_retried(run: RunState, event: ev.StepRetried) -> None:
    step = run.steps[event.step]
    _branch_moved(
        run,
        event,
        "StepRetried",
        attempt=step.attempt + 1,
        base=step.attempt,
        since=event.at,
        due=event.at,
        failure=None,
        reason="",
    )


def _branch_resolved(run: RunState, event: ev.StepResolved) -> None:
    """What is said against the decision stands as heuristic until it is forgotten."""
    step = run.steps[event.step]
    changes: dict[str, Any] = {"failure": None, "reason": event.reason}
    decided = "commit" if KIND.get(step.status) == "commit" else "abort"
    key = group_of(run, event.step)
    assert key is not None, event.step
    if run.steps[key].status is not Status.RECALLING:
        if event.undone and decided == "commit":
            changes["heuristic"] = step.heuristic or "rollback"
        if not event.undone and decided == "abort":
            changes["heuristic"] = step.heuristic or "commit"
    if event.result is not None:
        changes["result"] = event.result
    label = "StepResolved as undone" if event.undone else "StepResolved as done"
    _branch_moved(run, event, label, **changes)


def _forgotten(run: RunState, event: ev.HeuristicForgotten) -> None:
    step = run.steps[event.step]
    if step.heuristic is None or step.status in IN_GROUP:
        raise _illegal(run, event)
    run.steps[event.step] = replace(step, heuristic=None)


_OF_GROUPS: dict[type, Apply] = {
    ev.CommitDecided: _commit_decided,
    ev.AbortDecided: _abort_decided,
    ev.OnePhaseRecalled: _recalled,
    ev.StepParked: _group_parked,
    ev.StepRetried: _group_retried,
    ev.StepSkipped: _group_skipped,
    ev.StepResolved: _group_resolved,
}

_OF_BRANCHES: dict[type, Apply] = {
    ev.BranchVoted: _voted,
    ev.StepRefused: _branch_refused,
    ev.StepFailed: _branch_failed,
    ev.StepInDoubt: _branch_in_doubt,
    ev.StepParked: _branch_parked,
    ev.BranchCommitted: _committed,
    ev.BranchAborted: _aborted,
    ev.HeuristicFound: _astray,
    ev.StepRetried: _branch_retried,
    ev.StepResolved: _branch_resolved,
    ev.HeuristicForgotten: _forgotten,
}
