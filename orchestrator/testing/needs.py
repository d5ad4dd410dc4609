"""What an open run may still ask of participants, and what is known already of the data it will send.

From its plan and its state: steps that were passed over, branches not taken and effects already undone are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from orchestrator.definition.plan import (
    CALLBACKS,
    Call,
    Const,
    Each,
    Element,
    Expr,
    Field,
    Item,
    Let,
    Listing,
    Node,
    Operation,
    Param,
    Plan,
    Record,
    Result,
    Sequence,
    Sleep,
    When,
    children,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.expressions import evaluate
from orchestrator.kernel.program import RESULT, Program, callback_name
from orchestrator.kernel.state import (
    COMPLETE,
    EXECUTING,
    PARKED,
    Phase,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.walk import may_have_effect

_UNSETTLED = frozenset(
    {Status.RUNNING, Status.PARKED, Status.UNDOING, Status.UNDO_FAILED, Status.UNDO_PARKED}
)
"""What has to be undone, or may have to."""


class Need(NamedTuple):
    """A command that a run may still send."""

    call: Call
    kind: CommandKind
    args: dict[str, Any]
    """The arguments whose values are known."""
    result: Any = None
    """What the action answered, for an undo; None where nobody knows."""


def needs(program: Program, state: RunState | None) -> Iterator[Need]:
    """Every command that may still come; ``state`` is None of a run whose launch nobody has taken up yet."""
    plan = program.plan
    if state is None:
        yield from (Need(call, "do", {}) for call in _calls(plan))
        yield from (Need(call, "undo", {}) for call in _calls(plan) if call.compensable)
        yield from (Need(call, "callback", {}) for _, call in _callbacks(plan))
        return
    if state.phase is Phase.FORWARD:
        yield from _actions(program, state)
    yield from _undos(program, state)
    yield from _calls_back(plan, state)


def expressions(program: Program, state: RunState | None) -> Iterator[tuple[str, Expr]]:
    """The expressions a run has yet to work out, each with the name of the node that it belongs to."""
    if state is not None and state.phase is not Phase.FORWARD:
        return
    for node, _ in _ahead(program.plan.body, state):
        match node:
            case Call():
                yield from ((node.name, expr) for expr in node.args.values())
            case When():
                yield node.name, node.condition
            case Let():
                yield node.name, node.value
            case Each():
                yield node.name, node.items
            case Sleep():
                yield node.name, node.duration
            case _:
                pass
    yield RESULT, program.plan.result


def stored(program: Program, state: RunState | None) -> frozenset[str]:
    """Steps whose results are in the journal, so that it doesn't matter what their participants return today."""
    steps = () if state is None else state.steps.values()
    return frozenset(s.name for s in steps if s.status in COMPLETE and not program.scopes[s.name])


def _calls(plan: Plan) -> list[Call]:
    return [step for step, _ in plan.steps() if isinstance(step, Call)]


def _callbacks(plan: Plan) -> Iterator[tuple[str, Call]]:
    for event, calls in plan.callbacks.items():
        yield from ((callback_name(event, place), call) for place, call in enumerate(calls))


def _actions(program: Program, state: RunState) -> Iterator[Need]:
    begun = _instances(state)
    for node, passed in _ahead(program.plan.body, state):
        if not isinstance(node, Call):
            continue
        for step in begun.get(node.name, []):
            if step.status not in COMPLETE:
                yield Need(node, "do", step.args)
        if node.name not in begun or (program.scopes[node.name] and not passed):
            yield Need(node, "do", _values(node, program, state))


def _undos(program: Program, state: RunState) -> Iterator[Need]:
    ahead = state.phase is Phase.FORWARD and not state.pivoted
    if not ahead and state.phase is not Phase.COMPENSATING:
        return
    begun = _instances(state)
    for call in _calls(program.plan):
        for step in begun.get(call.name, []):
            if call.compensable and (step.status in _UNSETTLED or may_have_effect(step, call)):
                yield Need(call, "undo", step.args, step.result)
    if ahead:
        for node, _ in _ahead(program.plan.body, state):
            if isinstance(node, Call) and node.compensable and node.name not in begun:
                yield Need(node, "undo", _values(node, program, state))


def _calls_back(plan: Plan, state: RunState) -> Iterator[Need]:
    for name, call in _callbacks(plan):
        event = name[1:].partition(".")[0]
        step = state.steps.get(name)
        if step is not None and step.status in EXECUTING | PARKED:
            yield Need(call, "callback", step.args)
        elif event in _to_come(state):
            yield Need(call, "callback", {})


def _to_come(state: RunState) -> frozenset[str]:
    """What callbacks may still be about."""
    match state.phase:
        case Phase.FORWARD if not state.pivoted:
            return frozenset(CALLBACKS)
        case Phase.FORWARD:
            return frozenset({"on_completed", "on_stuck"})
        case Phase.COMPENSATING:
            return frozenset({"on_compensated", "on_stuck"})
        case _:
            return frozenset()


def _instances(state: RunState) -> dict[str, list[StepState]]:
    found: dict[str, list[StepState]] = {}
    for step in state.steps.values():
        found.setdefault(step.name, []).append(step)
    return found


def _ahead(node: Node, state: RunState | None) -> Iterator[tuple[Node, bool]]:
    """Nodes that are still to come, or have begun; with each, whether the run is past it."""
    begun: set[str] = set() if state is None else {step.name for step in state.steps.values()}
    branches = {} if state is None else state.branches
    yield from _unpassed(node, branches, begun, passed=False)


def _unpassed(
    node: Node, branches: dict[str, bool], begun: set[str], *, passed: bool
) -> Iterator[tuple[Node, bool]]:
    if isinstance(node, Sequence):
        behind = [
            any(not begun.isdisjoint(_names(other)) for other in node.nodes[place + 1 :])
            for place in range(len(node.nodes))
        ]
        for child, past in zip(node.nodes, behind, strict=True):
            yield from _unpassed(child, branches, begun, passed=passed or past)
        return
    name = getattr(node, "name", "")
    if not passed or name in begun:
        yield node, passed
    inside = children(node)
    taken = branches.get(name) if isinstance(node, When) else None
    if taken is not None:
        inside = inside[:1] if taken else inside[1:]
    for child in inside:
        yield from _unpassed(child, branches, begun, passed=passed)


def _names(node: Node) -> Iterator[str]:
    name = getattr(node, "name", "")
    if name:
        yield name
    for child in children(node):
        yield from _names(child)


def _values(call: Call, program: Program, state: RunState) -> dict[str, Any]:
    """The arguments of a step that hasn't begun, as far as what they are made of is there."""
    values: dict[str, Any] = {}
    if program.scopes[call.name]:
        return values
    for name, expr in call.args.items():
        if _is_settled(expr, program, state):
            try:
                values[name] = evaluate(expr, state)
            except ExpressionError:
                continue  # whatever the code is: the step will say so itself
    return values


def _is_settled(expr: Expr, program: Program, state: RunState) -> bool:
    match expr:
        case Const() | Param():
            return True
        case Item():
            return False
        case Result():
            if program.scopes[expr.step]:
                return False
            step = state.steps.get(expr.step)
            return expr.step in state.lets or (step is not None and step.status in COMPLETE)
        case Field() | Element():
            return _is_settled(expr.of, program, state)
        case Operation():
            return all(_is_settled(arg, program, state) for arg in expr.args)
        case Record():
            return all(_is_settled(value, program, state) for value in expr.fields.values())
        case Listing():
            return all(_is_settled(item, program, state) for item in expr.items)
