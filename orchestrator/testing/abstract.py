"""A plan without its data: what is left is its shape, and the choices that data would have made.

Conditions and the number of items of a fan-out become inputs, each taken with every value, so that what is explored
doesn't depend on what participants return. Arguments and results become constants.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Expr,
    Let,
    Node,
    Operation,
    Parallel,
    Param,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
)

ITEMS = (0, 1, 2)
"""How many items a fan-out is tried with."""
SCENARIOS_MAX = 64


class Abstract(msgspec.Struct, frozen=True):
    """A plan whose only inputs are its own choices."""

    plan: Plan
    choices: dict[str, tuple[Any, ...]]
    """The values that each input can take."""

    def scenarios(self) -> Iterator[dict[str, Any]]:
        """Every combination of choices, at most ``SCENARIOS_MAX``."""
        combinations = itertools.product(*self.choices.values())
        for values in itertools.islice(combinations, SCENARIOS_MAX):
            yield dict(zip(self.choices, values, strict=True))

    @property
    def combinations(self) -> int:
        """How many combinations there are."""
        count = 1
        for values in self.choices.values():
            count *= len(values)
        return count


def abstract(plan: Plan) -> Abstract:
    """Take the data out of a plan."""
    return _Abstraction().of(plan)


class _Abstraction:
    def __init__(self) -> None:
        self.choices: dict[str, tuple[Any, ...]] = {}
        self._names: dict[bytes, str] = {}

    def of(self, plan: Plan) -> Abstract:
        body = self._node(plan.body)
        assert isinstance(body, Sequence)
        callbacks = {
            event: tuple(replace(call, retry=_steady(call.retry)) for call in calls)
            for event, calls in plan.callbacks.items()
        }
        made = replace(plan, body=body, result=Const(None), callbacks=callbacks)
        return Abstract(made, self.choices)

    def _node(self, node: Node) -> Node:
        match node:
            case Call():
                return self._call(node)
            case Atomic():
                branches = tuple(map(self._call, node.branches))
                return replace(node, branches=branches, retry=_steady(node.retry))
            case Wait():
                return node
            case Sleep():
                fixed = isinstance(node.duration, Const)
                return node if fixed else replace(node, duration=Const(1.0))
            case Let():
                return replace(node, value=Const(None))
            case Sequence():
                return Sequence(tuple(map(self._node, node.nodes)))
            case Parallel():
                return Parallel(tuple(map(self._node, node.branches)))
            case When():
                otherwise = None if node.otherwise is None else self._node(node.otherwise)
                condition = self._condition(node.name, node.condition)
                return replace(
                    node, condition=condition, then=self._node(node.then), otherwise=otherwise
                )
            case Each():
                lists = tuple([None] * count for count in ITEMS)
                items = self._choice(node.name, node.items, lists)
                return replace(node, items=items, body=self._node(node.body))

    def _call(self, call: Call) -> Call:
        ways = {"undo": call.undo, "confirm": call.confirm, "cancel": call.cancel}
        steady = {
            name: None if way is None else replace(way, retry=_steady(way.retry))
            for name, way in ways.items()
        }
        return replace(call, args={}, retry=_steady(call.retry), **steady)

    def _condition(self, name: str, condition: Expr) -> Expr:
        """``not x`` isn't a choice of its own beside ``x``."""
        if isinstance(condition, Operation) and condition.op == "not":
            return replace(condition, args=(self._condition(name, condition.args[0]),))
        return self._choice(name, condition, (True, False))

    def _choice(self, name: str, expr: Expr, values: tuple[Any, ...]) -> Expr:
        """The input that stands for an expression; equal expressions share one."""
        if isinstance(expr, Const):
            return expr
        known = self._names.setdefault(msgspec.json.encode(expr, order="sorted"), name)
        self.choices.setdefault(known, values)
        return Param(known)


def _steady(policy: Any) -> Any:
    return replace(policy, jitter=0.0)
