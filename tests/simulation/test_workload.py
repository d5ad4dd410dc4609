"""The random plans have every shape that a plan can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any, get_args

import msgspec

from orchestrator.definition.plan import CALLBACKS, Call, Expr, Node, Operation, Operator, Plan
from orchestrator.testing.simulation.plans import random_workload


@cache
def plans() -> list[Plan]:
    return [random_workload(Random(seed)).plan for seed in range(1_500)]


def _values(value: Any) -> Iterator[Any]:
    """Everything in a plan."""
    yield value
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for inner in value:
            yield from _values(inner)


@cache
def everything() -> list[Any]:
    return [value for plan in plans() for value in _values(plan)]


def _calls() -> list[Call]:
    return [value for value in everything() if isinstance(value, Call)]


def test_every_node_expression_and_operator() -> None:
    found = {type(value) for value in everything() if isinstance(value, msgspec.Struct)}
    assert {*get_args(Node), *get_args(Expr)} <= found
    operators = {value.op for value in everything() if isinstance(value, Operation)}
    assert operators == set(get_args(Operator))


def test_every_kind_of_call() -> None:
    calls = Counter(
        (call.barrier, call.read_only, call.pivot, call.undo is None) for call in _calls()
    )
    for barrier in (True, False):
        for pivot in (True, False):
            for no_undo in (True, False):
                assert calls[barrier, False, pivot, no_undo], (barrier, pivot, no_undo)
    assert calls[False, True, False, True]
    synchronous = {not call.participant.startswith("async_") for call in _calls() if call.barrier}
    assert synchronous == {True, False}
    assert len({call.timeout_s for call in _calls()}) > 2
    assert {call.retry.attempts is None for call in _calls()} == {True, False}
    assert {bool(call.retry.final) for call in _calls()} == {True, False}


def test_the_rest_of_a_plan() -> None:
    assert {name for plan in plans() for name in plan.callbacks} == set(CALLBACKS)
    assert {plan.timeout_s is None for plan in plans()} == {True, False}
    names = [step.name for plan in plans() for step, _ in plan.steps()]
    assert any("." in name for name in names), "no saga in a saga"
    assert max(depth for plan in plans() for _, depth in plan.steps()) > 1, (
        "no fan-out in a fan-out"
    )


def test_plans_are_of_the_builders_making() -> None:
    """They survive their own JSON, and no two steps share a name."""
    for plan in plans()[:200]:
        assert msgspec.json.decode(plan.encoded(), type=Plan) == plan
        names = [step.name for step, _ in plan.steps()]
        assert len(names) == len(set(names))
