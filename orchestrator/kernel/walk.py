"""The two walks over a plan: forward to what is ready, backward to what has to be undone.

Both look only at the state and change only the draft they are given, so that recovery is the same
call as the normal path. Backward is forward mirrored: a sequence from its end, parallel branches
together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from orchestrator.definition.plan import (
    Call,
    Each,
    Let,
    Node,
    Parallel,
    Sequence,
    Sleep,
    Step,
    Wait,
    When,
    instance_key,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.expressions import evaluate
from orchestrator.kernel.state import COMPLETE, Phase, RunState, Status, StepState

MAX_ITEMS = 10_000
"""The most items one fan-out may have."""

Index = tuple[int, ...]


def forward(run: RunState, node: Node, index: Index, at: float) -> bool:
    """Start what is ready below ``node``; whether all of it is complete."""
    match node:
        case Call() | Wait() | Sleep():
            step = run.steps.get(instance_key(node.name, index))
            if step is None:
                step = _start(run, node, index, at)
            return step.status in COMPLETE
        case Sequence():
            return all(forward(run, child, index, at) for child in node.nodes)
        case Parallel():
            return _every([forward(run, branch, index, at) for branch in node.branches])
        case When():
            taken = _branch(run, node, index, at)
            if taken is None:
                return False
            branch = node.then if taken else node.otherwise
            return branch is None or forward(run, branch, index, at)
        case Each():
            items = _items(run, node, index, at)
            if items is None:
                return False
            return _every([forward(run, node.body, (*index, i), at) for i in range(len(items))])
        case Let():
            return True


def backward(run: RunState, node: Node, index: Index, at: float) -> bool:
    """Begin the undos that are due below ``node``; whether earlier steps may be undone now.

    A parked undo doesn't hold back the others.
    """
    match node:
        case Call() | Wait() | Sleep():
            return _undo(run, node, instance_key(node.name, index), at)
        case Sequence():
            return all(backward(run, child, index, at) for child in reversed(node.nodes))
        case Parallel():
            return _every([backward(run, branch, index, at) for branch in node.branches])
        case When():
            taken = run.branches.get(instance_key(node.name, index))
            branch = node.then if taken else node.otherwise
            return taken is None or branch is None or backward(run, branch, index, at)
        case Each():
            items = run.scopes.get(instance_key(node.name, index), ())
            return _every([backward(run, node.body, (*index, i), at) for i in range(len(items))])
        case Let():
            return True


def _every(branches: list[bool]) -> bool:
    """All of them, each one looked at: a branch that isn't complete must not keep the next from
    starting.
    """
    return all(branches)


def may_have_effect(step: StepState, call: Call) -> bool:
    """Whether an effect of this step could exist without a confirmed undo."""
    match step.status:
        case Status.DONE | Status.FAILED | Status.SKIPPED | Status.PARKED:
            return not call.read_only
        case Status.REFUSED:
            return step.doubt and not call.barrier and not call.read_only
        case _:
            return False


def _start(run: RunState, node: Step, index: Index, at: float) -> StepState:
    key = instance_key(node.name, index)
    around = run.program.scopes[node.name]
    step = StepState(name=node.name, index=index, status=Status.RUNNING, since=at, due=at)
    match node:
        case Call():
            try:
                args = {k: evaluate(v, run, index, around) for k, v in node.args.items()}
                step = msgspec.structs.replace(step, args=args)
            except ExpressionError as error:
                step = _broken(run, key, step, error)
        case Wait():
            step = _start_wait(run, node, step)
        case Sleep():
            step = _start_sleep(run, node, key, step, around)
    run.steps[key] = step
    return step


def _start_wait(run: RunState, node: Wait, step: StepState) -> StepState:
    for position, (name, data) in enumerate(run.signals):
        if name == node.signal:
            run.signals = run.signals[:position] + run.signals[position + 1 :]
            return msgspec.structs.replace(step, status=Status.DONE, result=data)
    due = step.since + node.timeout_s if node.timeout_s is not None else float("inf")
    return msgspec.structs.replace(step, status=Status.WAITING, due=due)


def _start_sleep(
    run: RunState, node: Sleep, key: str, step: StepState, around: tuple[str, ...]
) -> StepState:
    try:
        seconds = evaluate(node.duration, run, step.index, around)
        if isinstance(seconds, str):
            seconds = _duration_s(seconds)
        if not isinstance(seconds, int | float):
            raise ExpressionError(f"a sleep needs a number of seconds, not {seconds!r}")
    except ExpressionError as error:
        return _broken(run, key, step, error)
    return msgspec.structs.replace(step, status=Status.SLEEPING, due=step.since + seconds)


def _duration_s(text: str) -> float:
    try:
        return msgspec.convert(text, timedelta).total_seconds()
    except msgspec.ValidationError as error:
        raise ExpressionError(f"a sleep needs a duration, not {text!r}") from error


def _branch(run: RunState, node: When, index: Index, at: float) -> bool | None:
    key = instance_key(node.name, index)
    if key not in run.branches:
        value = _given_or_evaluated(run, node, key, index, at)
        if value is _PENDING:
            return None
        run.branches = {**run.branches, key: bool(value)}
    return run.branches[key]


def _items(run: RunState, node: Each, index: Index, at: float) -> list[Any] | None:
    key = instance_key(node.name, index)
    if key not in run.scopes:
        value = _given_or_evaluated(run, node, key, index, at)
        if value is _PENDING:
            return None
        run.scopes = {**run.scopes, key: value}
    return run.scopes[key]


_PENDING: Any = object()


def _given_or_evaluated(run: RunState, node: When | Each, key: str, index: Index, at: float) -> Any:
    """The value of a condition or of items; where it has none, an operator's, once given."""
    given = run.steps.get(key)
    if given is not None:
        return given.result if given.status in COMPLETE else _PENDING
    try:
        around = run.program.scopes[node.name]
        if isinstance(node, When):
            return evaluate(node.condition, run, index, around)
        return _checked_items(evaluate(node.items, run, index, around))
    except ExpressionError as error:
        step = StepState(name=node.name, index=index, status=Status.RUNNING, since=at, due=at)
        run.steps[key] = _broken(run, key, step, error)
        return _PENDING


def _checked_items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ExpressionError(f"a fan-out needs a list, not {value!r}")
    if len(value) > MAX_ITEMS:
        raise ExpressionError(f"a fan-out of {len(value)} items is over the limit of {MAX_ITEMS}")
    return value


def _broken(run: RunState, key: str, step: StepState, error: ExpressionError) -> StepState:
    run.broken = (*run.broken, key)
    return msgspec.structs.replace(step, status=Status.BROKEN, attempt=0, reason=str(error))


def _undo(run: RunState, node: Step, key: str, at: float) -> bool:
    step = run.steps.get(key)
    if step is None:
        return True
    if step.status in {Status.RUNNING, Status.UNDOING, Status.UNDO_FAILED}:
        return False
    if not isinstance(node, Call) or not may_have_effect(step, node):
        return True
    undoing = msgspec.structs.replace(
        step,
        status=Status.UNDOING,
        since=at,
        due=at,
        attempt=1,
        base=0,
        failure=None,
        reason="",
    )
    if not node.compensable:
        run.broken = (*run.broken, key)
        undoing = msgspec.structs.replace(
            undoing, attempt=0, reason="it may have taken effect and has no undo"
        )
    run.steps[key] = undoing
    return False


def settle(run: RunState, at: float) -> None:
    """Bring a draft's outstanding work up to date with its facts."""
    if run.phase is Phase.FORWARD:
        run.finished = forward(run, run.program.plan.body, (), at)
    elif run.phase is Phase.COMPENSATING:
        proceed = backward(run, run.program.plan.body, (), at)
        run.finished = proceed and not any(
            step.status is Status.UNDO_PARKED for step in run.steps.values()
        )
