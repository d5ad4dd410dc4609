"""What lint asks of a plan's shape: what is past the pivot, beside each other, never reached, never read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import msgspec

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Expr,
    Node,
    Operation,
    Parallel,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
    children,
)


def past_the_pivot(plan: Plan) -> set[str]:
    """Actions that stand behind a pivot on some path."""
    names: set[str] = set()
    _past(plan.body, names, past=False)
    return names


def _past(node: Node, names: set[str], *, past: bool) -> bool:
    """Whether a pivot is behind, or may be, once ``node`` is."""
    if isinstance(node, Call):
        if past:
            names.add(node.name)
        return past or node.pivot
    if isinstance(node, Sequence):
        for child in node.nodes:
            past = _past(child, names, past=past)
        return past
    if isinstance(node, Atomic):  # all of it commits at once, so nothing of it is behind another
        return _of_group(node, names, past=past)
    behind = [_past(child, names, past=past) for child in children(node)]
    return past or any(behind)


def _of_group(group: Atomic, names: set[str], *, past: bool) -> bool:
    if past:
        names.update(call.name for call in group.branches)
    return past or any(call.pivot for call in group.branches)


def results_used(plan: Plan) -> set[str]:
    """Steps whose result some expression reads."""
    return set(_read(msgspec.to_builtins([plan.body, plan.result])))


def _read(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        if data.get("is") == "Result":
            yield data["step"]
        for part in data.values():
            yield from _read(part)
    elif isinstance(data, list | tuple):
        for part in data:
            yield from _read(part)


def side_by_side(plan: Plan) -> Iterator[tuple[Call, Call]]:
    """Pairs of actions that may run at the same time; one of a fan-out is paired with itself."""
    yield from _beside(plan.body)


def _beside(node: Node) -> Iterator[tuple[Call, Call]]:
    if isinstance(node, Parallel | Atomic):
        for one, other in combinations(node.branches, 2):
            yield from ((a, b) for a in _calls(one) for b in _calls(other))
    if isinstance(node, Each):
        yield from ((call, call) for call in _calls(node.body))
    for child in children(node):
        yield from _beside(child)


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
    for child in children(node):
        yield from _calls(child)


def unreachable(plan: Plan) -> Iterator[tuple[str, Node, str]]:
    """Conditions that can only come out one way: their name, the first step never reached, and why."""
    yield from _dead(plan.body, {})


def _dead(node: Node, known: Mapping[bytes, bool]) -> Iterator[tuple[str, Node, str]]:
    if not isinstance(node, When):
        for child in children(node):
            yield from _dead(child, known)
        return
    condition, wanted = _positive(node.condition)
    mark = msgspec.json.encode(condition, order="sorted")
    if isinstance(condition, Const):
        holds: bool | None = bool(condition.value) is wanted
        why = f"the condition of {node.name} is a constant"
    else:
        holds = None if mark not in known else known[mark] is wanted
        why = f"the condition of {node.name} has been decided by one around it"
    never = None if holds is None else node.otherwise if holds else node.then
    if never is not None:
        yield node.name, _first(never), why
    yield from _dead(node.then, {**known, mark: wanted})
    if node.otherwise is not None:
        yield from _dead(node.otherwise, {**known, mark: not wanted})


def _positive(condition: Expr) -> tuple[Expr, bool]:
    """A condition without the ``not`` around it, and what it has to be."""
    wanted = True
    while isinstance(condition, Operation) and condition.op == "not":
        condition, wanted = condition.args[0], not wanted
    return condition, wanted


def _first(node: Node) -> Node:
    if isinstance(node, Call | Wait | Sleep):
        return node
    inside = children(node)
    return _first(inside[0]) if inside else node
