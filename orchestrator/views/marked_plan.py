"""A plan whose steps say where they stand in one run, so that the usual drawings show a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Let,
    Node,
    Parallel,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
)
from orchestrator.views.steps import StepView


def marked(plan: Plan, steps: Iterable[StepView]) -> Plan:
    """For drawing only: its steps are renamed, so it can't be run and has another hash."""
    counts: dict[str, Counter[str]] = {}
    for step in steps:
        counts.setdefault(step.step.partition("[")[0], Counter())[step.status] += 1
    states = {name: _state(by_status) for name, by_status in counts.items()}
    body = _marked(plan.body, states)
    assert isinstance(body, Sequence)
    return replace(plan, body=body)


def _state(by_status: Counter[str]) -> str:
    if by_status.total() == 1:
        return next(iter(by_status))
    return ", ".join(f"{number} {status}" for status, number in by_status.most_common())


def _marked(node: Node, states: dict[str, str]) -> Node:
    match node:
        case Sequence():
            return replace(node, nodes=tuple(_marked(child, states) for child in node.nodes))
        case Parallel():
            return replace(node, branches=tuple(_marked(b, states) for b in node.branches))
        case When():
            otherwise = None if node.otherwise is None else _marked(node.otherwise, states)
            return replace(node, then=_marked(node.then, states), otherwise=otherwise)
        case Each():
            return replace(node, body=_marked(node.body, states))
        case Atomic():
            branches = tuple(
                replace(call, name=_with(call.name, call.name, states)) for call in node.branches
            )
            return replace(node, name=_with(node.name, node.name, states), branches=branches)
        case Call():
            return replace(node, name=_with(node.name, node.name, states))
        case Wait():
            return replace(node, signal=_with(node.signal, node.name, states))
        case Sleep():
            return replace(node, duration=Const(_with("", node.name, states)))
        case Let():
            return node


def _with(text: str, name: str, states: dict[str, str]) -> str:
    return f"{text} · {states[name]}" if name in states else text
