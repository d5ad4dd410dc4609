"""The two walks over a plan: forward to what is ready, backward to what has to be undone.

Each event moves one step, so a walk climbs from that step only as far as things change: a fan-out of thousands costs
the same per step as a sequence. Both look only at the state and change only the draft they are given. Backward is
forward mirrored: a sequence from its end, parallel branches together.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Let,
    Parallel,
    Sequence,
    Sleep,
    Step,
    Wait,
    When,
    instance_key,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.expressions import described, evaluate
from orchestrator.kernel.group import begin_group
from orchestrator.kernel.program import Place
from orchestrator.kernel.state import (
    COMPLETE,
    GROUP_OPEN,
    UNDO_DUE,
    Phase,
    RunState,
    Status,
    StepState,
)

MAX_ITEMS = 10_000
"""The most items one fan-out may have."""

Index = tuple[int, ...]

_PENDING: Any = object()


def begin(run: RunState, at: float) -> None:
    """Start the first steps of a run."""
    run.walked = _enter(run, run.program.root, (), at)


def begin_again(run: RunState, name: str, index: Index, at: float) -> None:
    """Start anew at a node whose state was taken away, or which an operator gave a value."""
    place = run.program.places[name]
    if _enter(run, place, index, at):
        run.walked = _climb(run, place, index, at)


def turn_back(run: RunState, at: float) -> None:
    """Begin the first undos."""
    run.left = {}
    run.walked = _leave(run, run.program.root, (), at)


def go_on(run: RunState, step: StepState, at: float) -> None:
    """Do what follows now that ``step`` has come to its present status."""
    place = run.program.places.get(step.name)
    if place is None:
        return
    if run.phase is Phase.FORWARD:
        if step.status not in COMPLETE:
            return
        if place.is_step or isinstance(place.node, Atomic):
            run.walked = _climb(run, place, step.index, at)
        else:
            begin_again(run, step.name, step.index, at)
    elif run.phase is Phase.COMPENSATING and _is_behind(run, place, step, at):
        run.walked = _climb(run, place, step.index, at)


def _is_behind(run: RunState, place: Place, step: StepState, at: float) -> bool:
    if isinstance(place.node, Atomic):
        return _leave(run, place, step.index, at)
    return _may_go_back(run, place, step, at)


def _climb(run: RunState, place: Place, index: Index, at: float) -> bool:
    """``place`` lies behind the walk: go on beside and above it; whether the walk is at its end."""
    onward = run.phase is Phase.FORWARD
    step = _enter if onward else _leave
    while (parent := place.parent) is not None:
        match parent.node:
            case Sequence():
                here, end = place.position, len(parent.children)
                for position in range(here + 1, end) if onward else range(here - 1, -1, -1):
                    if not step(run, parent.children[position], index, at):
                        return False
            case Parallel() | Each() | Atomic():
                index = index[:-1] if isinstance(parent.node, Each) else index
                key = (parent.number, index)
                run.left[key] -= 1
                if run.left[key]:
                    return False
                del run.left[key]
            case _:
                pass
        place = parent
    return True


def _enter(  # noqa: C901 - one case for each node
    run: RunState, place: Place, index: Index, at: float
) -> bool:
    """Start what is ready below ``place``; whether all of it is complete."""
    node = place.node
    match node:
        case Call() | Wait() | Sleep():
            return _start(run, node, index, at)
        case Atomic():
            _start_group(run, node, index, at)
            return False
        case Sequence():
            return all(_enter(run, child, index, at) for child in place.children)
        case Parallel():
            branches = [_enter(run, child, index, at) for child in place.children]
            return _joined(run, place, index, branches)
        case When():
            taken = _given(run, node, index, at)
            if taken is _PENDING:
                return False
            run.branches[instance_key(node.name, index)] = bool(taken)
            branch = _branch(place, taken=bool(taken))
            return branch is None or _enter(run, branch, index, at)
        case Each():
            items = _given(run, node, index, at)
            if items is _PENDING:
                return False
            run.scopes[instance_key(node.name, index)] = items
            body = place.children[0]
            branches = [_enter(run, body, (*index, i), at) for i in range(len(items))]
            return _joined(run, place, index, branches)
        case Let():
            value = _given(run, node, index, at)
            if value is _PENDING:
                return False
            run.lets[instance_key(node.name, index)] = value
            return True


def _leave(run: RunState, place: Place, index: Index, at: float) -> bool:
    """Begin the undos that are due below ``place``; whether earlier steps may be undone now."""
    node = place.node
    match node:
        case Call() | Wait() | Sleep():
            step = run.steps.get(instance_key(node.name, index))
            return step is None or _may_go_back(run, place, step, at)
        case Sequence():
            return all(_leave(run, child, index, at) for child in reversed(place.children))
        case Parallel() | Atomic():
            if isinstance(node, Atomic) and _is_open(run, node, index):
                return False
            branches = [_leave(run, child, index, at) for child in place.children]
            return _joined(run, place, index, branches)
        case When():
            taken = run.branches.get(instance_key(node.name, index))
            branch = None if taken is None else _branch(place, taken=taken)
            return branch is None or _leave(run, branch, index, at)
        case Each():
            items = run.scopes.get(instance_key(node.name, index), ())
            body = place.children[0]
            branches = [_leave(run, body, (*index, i), at) for i in range(len(items))]
            return _joined(run, place, index, branches)
        case Let():
            return True


def _is_open(run: RunState, group: Atomic, index: Index) -> bool:
    step = run.steps.get(instance_key(group.name, index))
    return step is not None and step.status in GROUP_OPEN


def _joined(run: RunState, place: Place, index: Index, branches: list[bool]) -> bool:
    """Whether all branches are behind the walk; if not, remember how many it waits for."""
    left = branches.count(False)
    if left:
        run.left[place.number, index] = left
    return left == 0


def _branch(place: Place, *, taken: bool) -> Place | None:
    if taken:
        return place.children[0]
    return place.children[1] if len(place.children) > 1 else None


def _may_go_back(run: RunState, place: Place, step: StepState, at: float) -> bool:
    """Whether steps before ``step`` may be undone now; begins its own undo where that is due.

    A parked undo doesn't hold back the others, and isn't waited for again when it is retried.
    """
    match step.status:
        case Status.RUNNING | Status.UNDOING | Status.UNDO_FAILED:
            return False
        case Status.UNDO_PARKED | Status.UNDONE:
            if step.released:
                return False
            run.steps[instance_key(step.name, step.index)] = replace(step, released=True)
            return True
        case _:
            node = place.node
            if not isinstance(node, Call) or not may_have_effect(step, node):
                return True
            _start_undo(run, node, step, at)
            return False


def may_have_effect(step: StepState, call: Call) -> bool:
    """Whether an effect of this step could exist, or yet come, without a confirmed undo."""
    if call.read_only or step.status not in UNDO_DUE:
        return False
    return step.reached or step.status is Status.DONE


def _start_undo(run: RunState, call: Call, step: StepState, at: float) -> None:
    undoing = replace(
        step,
        status=Status.UNDOING,
        since=at,
        due=at,
        attempt=1,
        base=0,
        limit=None,
        failure=None,
        reason="",
    )
    key = instance_key(step.name, step.index)
    if not call.compensable:
        run.broken = (*run.broken, key)
        reason = "it may have taken effect and has no undo"
        undoing = replace(undoing, status=Status.UNDO_FAILED, attempt=0, reason=reason)
    run.steps[key] = undoing


def _start(run: RunState, step: Step, index: Index, at: float) -> bool:
    """Start one step; whether it is complete at once."""
    match step:
        case Call():
            _start_call(run, step, index, at)
        case Sleep():
            _start_sleep(run, step, index, at)
        case Wait():
            return _start_wait(run, step, index, at)
    return False


def _start_call(run: RunState, call: Call, index: Index, at: float) -> None:
    args, wrong = _arguments(run, call, index)
    step = StepState(
        name=call.name, index=index, status=Status.RUNNING, since=at, due=at, args=args
    )
    if wrong:
        _break(run, step, "; ".join(wrong))
    else:
        run.steps[instance_key(call.name, index)] = step


def _start_group(run: RunState, group: Atomic, index: Index, at: float) -> None:
    """A group one of whose branches has no arguments isn't begun at all."""
    args: list[dict[str, Any]] = []
    wrong: list[str] = []
    for call in group.branches:
        given, missing = _arguments(run, call, index)
        args.append(given)
        wrong += [f"{call.name}: {text}" for text in missing]
    if wrong:
        step = StepState(name=group.name, index=index, status=Status.BROKEN, since=at, due=at)
        _break(run, step, "; ".join(wrong))
    else:
        begin_group(run, group, index, args, at)


def _arguments(run: RunState, call: Call, index: Index) -> tuple[dict[str, Any], list[str]]:
    """The values of a call's arguments, and what is wrong with those that have none."""
    around = run.program.scopes[call.name]
    args: dict[str, Any] = {}
    wrong: list[str] = []
    for name, expr in call.args.items():
        try:
            args[name] = evaluate(expr, run, index, around)
        except ExpressionError as error:
            wrong.append(f"argument {name}: {error}")
    return args, wrong


def _start_wait(run: RunState, wait: Wait, index: Index, at: float) -> bool:
    """Begin to wait; whether the signal has come before."""
    key = instance_key(wait.name, index)
    due = math.inf if wait.timeout_s is None else at + wait.timeout_s
    step = StepState(name=wait.name, index=index, status=Status.WAITING, since=at, due=due)
    for position, (name, data) in enumerate(run.signals):
        if name == wait.signal:
            run.signals = run.signals[:position] + run.signals[position + 1 :]
            run.steps[key] = replace(step, status=Status.DONE, result=data)
            return True
    run.steps[key] = step
    return False


def _start_sleep(run: RunState, sleep: Sleep, index: Index, at: float) -> None:
    step = StepState(name=sleep.name, index=index, status=Status.SLEEPING, since=at, due=at)
    try:
        around = run.program.scopes[sleep.name]
        due = at + _seconds(evaluate(sleep.duration, run, index, around))
    except ExpressionError as error:
        _break(run, step, str(error))
    else:
        run.steps[instance_key(sleep.name, index)] = replace(step, due=due)


def _seconds(duration: Any) -> float:
    if isinstance(duration, str):
        try:
            return msgspec.convert(duration, timedelta).total_seconds()
        except msgspec.ValidationError as error:
            raise ExpressionError(f"a sleep needs a duration, not {described(duration)}") from error
    if not isinstance(duration, int | float) or not math.isfinite(duration):
        raise ExpressionError(f"a sleep needs a number of seconds, not {described(duration)}")
    return float(duration)


def _given(run: RunState, node: When | Each | Let, index: Index, at: float) -> Any:
    """The value of a condition, of items, or of a name; where it has none, an operator's, once
    given.
    """
    step = run.steps.get(instance_key(node.name, index))
    if step is not None:
        return step.result if step.status in COMPLETE else _PENDING
    around = run.program.scopes[node.name]
    try:
        match node:
            case When():
                return evaluate(node.condition, run, index, around)
            case Each():
                return checked_items(evaluate(node.items, run, index, around))
            case Let():
                return evaluate(node.value, run, index, around)
    except ExpressionError as error:
        step = StepState(name=node.name, index=index, status=Status.BROKEN, since=at, due=at)
        _break(run, step, str(error))
        return _PENDING


def checked_items(value: Any) -> list[Any]:
    """What a fan-out runs over. Raises ``ExpressionError``."""
    if not isinstance(value, list):
        raise ExpressionError(f"a fan-out needs a list, not {described(value)}")
    if len(value) > MAX_ITEMS:
        raise ExpressionError(f"a fan-out of {len(value)} items is over the limit of {MAX_ITEMS}")
    return value


def _break(run: RunState, step: StepState, reason: str) -> None:
    key = instance_key(step.name, step.index)
    run.steps[key] = replace(step, status=Status.BROKEN, attempt=0, reason=reason)
    run.broken = (*run.broken, key)
