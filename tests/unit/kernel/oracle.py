"""What must hold of any state, said as plainly as possible and without the kernel's own walk.

``settled`` walks the whole plan every time. The kernel climbs from the step that moved; both must come to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Let,
    Node,
    Parallel,
    Sequence,
    Sleep,
    Wait,
    When,
    instance_key,
)
from orchestrator.kernel.program import RESULT
from orchestrator.kernel.state import ENDED, GROUP_OPEN, Phase, RunState, Status, StepState

Index = tuple[int, ...]
COMPLETE = {Status.DONE, Status.SKIPPED}


def check(run: RunState) -> None:
    """The state is as far as its facts allow, and no further."""
    if run.phase is Phase.FORWARD:
        missing: list[str] = []
        complete = _forward(run, run.program.plan.body, (), missing)
        assert missing == [], f"should have been started: {missing}"
        result = run.steps.get(RESULT)
        settled = RESULT in run.lets or result is not None
        assert settled == complete
        assert run.finished == (RESULT in run.lets)
    elif run.phase is Phase.COMPENSATING:
        missing = []
        free = _backward(run, run.program.plan.body, (), missing)
        assert missing == [], f"should be being undone: {missing}"
        assert run.walked == free
    for earlier, later in _in_order(run):
        if earlier.status in {Status.UNDOING, Status.UNDO_FAILED, Status.UNDONE}:
            assert _gone(run, later), f"{earlier.name} is undone before {later.name}"


def _gone(run: RunState, later: StepState) -> bool:
    """Nothing of a later step is left that could still be undone first."""
    if later.released or later.status in {Status.UNDONE, Status.UNDO_PARKED, Status.ABANDONED}:
        return True
    if (
        later.status in GROUP_OPEN | _OPEN
        or later.status is Status.RUNNING
        or later.status in {Status.UNDOING, Status.UNDO_FAILED}
    ):
        return False
    return not _undoable(run, later)


_OPEN = {
    Status.PREPARING,
    Status.PREPARED,
    Status.READ_ONLY,
    Status.COMMITTING,
    Status.COMMIT_STUCK,
    Status.COMMIT_ASTRAY,
    Status.ABORTING,
    Status.ABORT_STUCK,
    Status.ABORT_ASTRAY,
}
"""A branch whose group isn't at its end."""


_IN_THE_WAY = GROUP_OPEN | _OPEN | {Status.RUNNING, Status.UNDOING, Status.UNDO_FAILED}


def _group(run: RunState, group: Atomic, index: Index, missing: list[str]) -> bool:
    """Whether a group is done; all its branches must be as far as it is."""
    key = instance_key(group.name, index)
    step = run.steps.get(key)
    if step is None:
        missing.append(key)
        return False
    branches = [run.steps.get(instance_key(call.name, index)) for call in group.branches]
    statuses = {branch.status for branch in branches if branch is not None}
    yes = {Status.PREPARED, Status.READ_ONLY, Status.DONE}
    match step.status:
        case Status.VOTING:
            assert not statuses <= yes, "all have voted, and nothing is decided"
            assert statuses <= yes | {Status.PREPARING, Status.HELD}, statuses
            if Status.HELD in statuses:
                assert Status.PREPARING in statuses, "the last is held for nobody"
        case Status.CONFIRMING:
            assert not statuses & {Status.PREPARING, Status.PREPARED, Status.ABORTING}
        case Status.WITHDRAWING:
            assert not statuses & {Status.PREPARED, Status.COMMITTING, Status.HELD}
        case Status.DONE | Status.SKIPPED:
            assert statuses <= COMPLETE | _AFTER, statuses
        case _:
            pass
    return step.status in COMPLETE


_AFTER = {Status.UNDOING, Status.UNDO_FAILED, Status.UNDO_PARKED, Status.UNDONE}


def _undoable(run: RunState, step: StepState) -> bool:
    node = run.program.named[step.name]
    if not isinstance(node, Call) or node.read_only:
        return False
    return step.status is Status.DONE or (
        step.status in {Status.FAILED, Status.SKIPPED, Status.REFUSED} and step.reached
    )


def _forward(  # noqa: C901 - one case for each node
    run: RunState, node: Node, index: Index, missing: list[str]
) -> bool:
    match node:
        case Call() | Wait() | Sleep():
            step = run.steps.get(instance_key(node.name, index))
            if step is None:
                missing.append(instance_key(node.name, index))
            return step is not None and step.status in COMPLETE
        case Atomic():
            return _group(run, node, index, missing)
        case Sequence():
            return all(_forward(run, child, index, missing) for child in node.nodes)
        case Parallel():
            return _every(_forward(run, branch, index, missing) for branch in node.branches)
        case When():
            taken = run.branches.get(instance_key(node.name, index))
            if taken is None:
                return _is_stopped(run, node, index, missing)
            branch = node.then if taken else node.otherwise
            return branch is None or _forward(run, branch, index, missing)
        case Each():
            items = run.scopes.get(instance_key(node.name, index))
            if items is None:
                return _is_stopped(run, node, index, missing)
            each = range(len(items))
            return _every(_forward(run, node.body, (*index, i), missing) for i in each)
        case Let():
            if instance_key(node.name, index) not in run.lets:
                return _is_stopped(run, node, index, missing)
            return True


def _every(branches: Iterable[bool]) -> bool:
    return all(list(branches))


def _is_stopped(run: RunState, node: Any, index: Index, missing: list[str]) -> bool:
    """A node without a value has to stand in the way, visibly."""
    step = run.steps.get(instance_key(node.name, index))
    if step is None or step.status in COMPLETE:
        missing.append(instance_key(node.name, index))
    return False


def _backward(  # noqa: C901 - one case for each node
    run: RunState, node: Node, index: Index, missing: list[str]
) -> bool:
    match node:
        case Call() | Wait() | Sleep():
            step = run.steps.get(instance_key(node.name, index))
            if step is None or step.released:
                return True
            if step.status in {Status.RUNNING, Status.UNDOING, Status.UNDO_FAILED}:
                return False
            if _undoable(run, step):
                missing.append(instance_key(node.name, index))
                return False
            return True
        case Sequence():
            return all(_backward(run, child, index, missing) for child in reversed(node.nodes))
        case Parallel() | Atomic():
            group = run.steps.get(instance_key(getattr(node, "name", ""), index))
            if group is not None and group.status in GROUP_OPEN:
                return False
            return _every(_backward(run, branch, index, missing) for branch in node.branches)
        case When():
            taken = run.branches.get(instance_key(node.name, index))
            branch = node.then if taken else node.otherwise
            return taken is None or branch is None or _backward(run, branch, index, missing)
        case Each():
            items = run.scopes.get(instance_key(node.name, index), ())
            each = range(len(items))
            return _every(_backward(run, node.body, (*index, i), missing) for i in each)
        case Let():
            return True


def _in_order(run: RunState) -> Iterator[tuple[StepState, StepState]]:
    """Pairs of steps of which a sequence puts one before the other."""
    if run.phase is Phase.FORWARD or run.phase is Phase.COMPLETED:
        return
    steps = [s for s in run.steps.values() if s.name in run.program.places]
    for earlier in steps:
        for later in steps:
            if earlier is not later and _precedes(run, earlier, later):
                yield earlier, later


def _precedes(run: RunState, one: StepState, other: StepState) -> bool:
    first, second = _path(run, one), _path(run, other)
    for mine, its in zip(first, second, strict=False):
        if mine[0] is its[0]:
            if mine[1] != its[1]:
                return isinstance(mine[0], Sequence) and mine[1] < its[1]
        else:
            return False
    return False


def _path(run: RunState, step: StepState) -> list[tuple[Node, int]]:
    """From the root to the step: each node, and which of its children or items leads on."""
    place = run.program.places[step.name]
    depth = len(step.index)
    path: list[tuple[Node, int]] = []
    while place.parent is not None:
        node = place.parent.node
        if isinstance(node, Each):
            depth -= 1
            path.append((node, step.index[depth]))
        else:
            path.append((node, place.position))
        place = place.parent
    return path[::-1]


def has_ended_or_is_stuck(run: RunState) -> bool:
    """Ended, or parked with a reason that a person can read."""
    if run.phase in ENDED:
        return True
    return bool(run.parked) and all(run.steps[key].reason for key in run.parked)
