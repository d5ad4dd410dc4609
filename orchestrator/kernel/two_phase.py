"""Atomic groups: the legal transitions of a group and of its branches as data, and what is asked of both.

A group is a step of its run under its own name, with one attempt for each round of votes; each branch is one under its
name, and stays one: once it is done it is undone like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definition.plan import Atomic, Call, RetryPolicy, instance_key
from orchestrator.kernel import program
from orchestrator.kernel.state import RunState, Status, StepState

SECOND_PHASE = RetryPolicy(attempts=10, cap_s=60.0)
"""How a branch with a database is told the decision: for ever, and visibly stuck after so many."""

_S = Status

BEGINS: dict[Status, str] = {
    _S.VOTING: "a group is reached",
    _S.PREPARING: "its group begins",
    _S.HELD: "its group begins, and it is the last",
}
"""How a group and its branches begin."""

GROUPS: dict[tuple[Status, str], Status] = {
    (_S.VOTING, "CommitDecided"): _S.CONFIRMING,
    (_S.VOTING, "AbortDecided"): _S.WITHDRAWING,
    (_S.VOTING, "OnePhaseRecalled"): _S.RECALLING,
    (_S.VOTING, "StepRetried"): _S.VOTING,
    (_S.RECALLING, "CommitDecided"): _S.CONFIRMING,
    (_S.RECALLING, "AbortDecided"): _S.WITHDRAWING,
    (_S.BROKEN, "StepParked"): _S.PARKED,
    (_S.FAILED, "StepParked"): _S.PARKED,
    (_S.REFUSED, "StepParked"): _S.PARKED,
    (_S.PARKED, "StepRetried"): _S.VOTING,
    (_S.PARKED, "StepSkipped"): _S.SKIPPED,
    (_S.PARKED, "StepResolved as done"): _S.DONE,
    (_S.PARKED, "StepResolved as undone"): _S.UNDONE,
}
"""What an event makes of a group."""

SETTLED: dict[Status, tuple[Status, ...]] = {
    _S.VOTING: (_S.DONE,),
    _S.RECALLING: (_S.DONE,),
    _S.CONFIRMING: (_S.DONE, _S.FAILED),
    _S.WITHDRAWING: (_S.VOTING, _S.FAILED, _S.REFUSED),
}
"""What a group comes to by itself once its branches are settled: voting ends so where all branches changed nothing, or
the only one committed at once; confirming fails where a person says that a branch is rolled back."""

HALTED: dict[Status, tuple[Status, ...]] = {
    _S.VOTING: (_S.RECALLING, _S.WITHDRAWING),
    _S.PARKED: (_S.ABANDONED,),
}
"""What the start of compensation makes of a group. One that is decided goes on to its end, and is undone from there."""

BRANCHES: dict[tuple[Status, str], Status] = {
    (_S.PREPARING, "BranchVoted prepared"): _S.PREPARED,
    (_S.PREPARING, "BranchVoted read_only"): _S.READ_ONLY,
    (_S.PREPARING, "BranchVoted committed"): _S.DONE,
    (_S.PREPARING, "StepRefused"): _S.REFUSED,
    (_S.PREPARING, "StepFailed"): _S.FAILED,
    (_S.PREPARING, "StepInDoubt"): _S.FAILED,
    (_S.PREPARING, "StepInDoubt, to be retried"): _S.PREPARING,
    (_S.COMMITTING, "BranchCommitted"): _S.DONE,
    (_S.COMMITTING, "StepFailed, to be retried"): _S.COMMITTING,
    (_S.COMMITTING, "StepInDoubt, to be retried"): _S.COMMITTING,
    (_S.COMMITTING, "StepParked"): _S.COMMIT_STUCK,
    (_S.COMMITTING, "HeuristicFound"): _S.COMMIT_ASTRAY,
    (_S.COMMITTING, "StepRetried"): _S.COMMITTING,
    (_S.COMMITTING, "StepResolved as done"): _S.DONE,
    (_S.COMMIT_STUCK, "BranchCommitted"): _S.DONE,
    (_S.COMMIT_STUCK, "StepFailed, to be retried"): _S.COMMIT_STUCK,
    (_S.COMMIT_STUCK, "StepInDoubt, to be retried"): _S.COMMIT_STUCK,
    (_S.COMMIT_STUCK, "HeuristicFound"): _S.COMMIT_ASTRAY,
    (_S.COMMIT_STUCK, "StepRetried"): _S.COMMITTING,
    (_S.COMMIT_STUCK, "StepResolved as done"): _S.DONE,
    (_S.COMMIT_STUCK, "StepResolved as undone"): _S.ABORTED,
    (_S.COMMIT_ASTRAY, "StepRetried"): _S.COMMITTING,
    (_S.COMMIT_ASTRAY, "StepResolved as done"): _S.DONE,
    (_S.COMMIT_ASTRAY, "StepResolved as undone"): _S.ABORTED,
    (_S.ABORTING, "BranchAborted"): _S.ABORTED,
    (_S.ABORTING, "BranchVoted committed"): _S.DONE,
    (_S.ABORTING, "StepFailed, to be retried"): _S.ABORTING,
    (_S.ABORTING, "StepInDoubt, to be retried"): _S.ABORTING,
    (_S.ABORTING, "StepParked"): _S.ABORT_STUCK,
    (_S.ABORTING, "HeuristicFound"): _S.ABORT_ASTRAY,
    (_S.ABORTING, "StepRetried"): _S.ABORTING,
    (_S.ABORTING, "StepResolved as undone"): _S.ABORTED,
    (_S.ABORT_STUCK, "BranchAborted"): _S.ABORTED,
    (_S.ABORT_STUCK, "BranchVoted committed"): _S.DONE,
    (_S.ABORT_STUCK, "StepFailed, to be retried"): _S.ABORT_STUCK,
    (_S.ABORT_STUCK, "StepInDoubt, to be retried"): _S.ABORT_STUCK,
    (_S.ABORT_STUCK, "HeuristicFound"): _S.ABORT_ASTRAY,
    (_S.ABORT_STUCK, "StepRetried"): _S.ABORTING,
    (_S.ABORT_STUCK, "StepResolved as done"): _S.DONE,
    (_S.ABORT_STUCK, "StepResolved as undone"): _S.ABORTED,
    (_S.ABORT_ASTRAY, "StepRetried"): _S.ABORTING,
    (_S.ABORT_ASTRAY, "StepResolved as done"): _S.DONE,
    (_S.ABORT_ASTRAY, "StepResolved as undone"): _S.ABORTED,
}
"""What an event makes of a branch."""

FOLLOWS: dict[Status, tuple[Status, ...]] = {
    _S.HELD: (_S.PREPARING, _S.ABORTING, _S.ABORTED),
    _S.PREPARING: (_S.ABORTING, _S.ABORTED),
    _S.PREPARED: (_S.COMMITTING, _S.ABORTING),
    _S.READ_ONLY: (_S.DONE, _S.ABORTED),
    _S.FAILED: (_S.ABORTING, _S.ABORTED),
    _S.REFUSED: (_S.ABORTING, _S.ABORTED, _S.PREPARING, _S.HELD, _S.SKIPPED, _S.DONE),
    _S.ABORTED: (_S.PREPARING, _S.HELD, _S.SKIPPED, _S.DONE),
}
"""What becomes of a branch when its group goes on: is decided, tried again, skipped, resolved."""

IN_GROUP = frozenset(status for status, _ in BRANCHES) | {_S.HELD, _S.PREPARED, _S.READ_ONLY}
"""What only a branch of a group that is open can be."""

VOTED = frozenset({_S.PREPARED, _S.READ_ONLY, _S.DONE})
"""Nothing more is needed of it before the decision."""

BACK = frozenset({_S.ABORTED, _S.REFUSED, _S.DONE})
"""Nothing more is needed of it once its group is taken back; done is what went against that."""


def group_of(run: RunState, key: str) -> str | None:
    """The key of the group that a step is a branch of; None if it is none."""
    step = run.steps.get(key)
    group = None if step is None else run.program.grouped.get(step.name)
    return None if step is None or group is None else instance_key(group.name, step.index)


def is_group(run: RunState, key: str) -> bool:
    """Whether a step that was begun is an atomic group."""
    return isinstance(run.program.named[run.steps[key].name], Atomic)


def node_of(run: RunState, key: str) -> Atomic:
    """The node of a group."""
    node = run.program.named[run.steps[key].name]
    assert isinstance(node, Atomic), key
    return node


def branches_of(run: RunState, key: str) -> Iterator[tuple[str, StepState, Call]]:
    """The branches of a group that were begun."""
    index = run.steps[key].index
    for call in node_of(run, key).branches:
        branch = instance_key(call.name, index)
        step = run.steps.get(branch)
        if step is not None:
            yield branch, step, call


def one_phase_of(run: RunState, key: str) -> str | None:
    """The branch of a group that may commit at once."""
    name = program.one_phase(node_of(run, key))
    return None if name is None else instance_key(name, run.steps[key].index)


def is_one_phase(run: RunState, step: StepState) -> bool:
    """Whether a step is a branch that may commit at once."""
    group = run.program.grouped.get(step.name)
    return group is not None and program.one_phase(group) == step.name


def rests(step: StepState, at: float) -> bool:
    """Whether a group waits for its next attempt, of which nothing has gone out."""
    return step.due > at and step.attempt > step.base + 1


def all_said_yes(run: RunState, key: str) -> bool:
    """Whether there is something to commit and nothing against it."""
    statuses = {step.status for _, step, _ in branches_of(run, key)}
    return Status.PREPARED in statuses and statuses <= VOTED


def second_phase(call: Call, kind: str) -> tuple[float, RetryPolicy]:
    """How long a branch may take for a decision, in seconds, and how it is told again."""
    finish = call.confirm if kind == "commit" else call.cancel
    return (call.timeout_s, SECOND_PHASE) if finish is None else (finish.timeout_s, finish.retry)
