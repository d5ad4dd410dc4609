"""The shapes of a saga: what they compile to, and which can't be."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.definition.plan import (
    Const,
    Field,
    Operation,
    Param,
    Record,
    Result,
    Sleep,
    Wait,
    When,
)
from orchestrator.definition.references import not_
from orchestrator.definition.shapes import otherwise, parallel, sequence, sleep, wait_for, when
from orchestrator.errors import DefinitionError
from orchestrator.kernel.program import Program
from tests.unit.definition.actions import compiled, define
from tests.unit.definition.shop import Order, Receipt, charge, dispatch, names, quote, reserve


def test_statements_in_parallel_are_branches_and_sequences_group_them() -> None:
    def order(order: Order) -> Receipt:
        weight = reserve(order.sku)
        with parallel():
            payment = charge(order.total)
            with sequence():
                quote(order.sku)
                label = quote(order.sku, weight)
            with when(order.total > 5):
                reserve("extra")
            reserve.map(order.lines)
        dispatch(label)
        return Receipt(payment, weight)

    plan = compiled(order)
    branches = (
        "charge",
        ["quote", "quote_2"],
        {"when": ["reserve_2", None]},
        {"reserve_3.items": "reserve_3"},
    )
    assert names(plan.body) == ["reserve", branches, "dispatch"]
    assert plan.result == Record({"payment": Result("charge"), "weight": Result("reserve")})
    assert set(Program(plan).named) >= {"charge", "when", "reserve_3.items"}


def test_a_condition_and_its_otherwise() -> None:
    def order(order: Order) -> str:
        with when(order.total > 100):
            a = quote("a")
            quote("b")
        with otherwise():
            charge(order.total)
        with when(not_(order.sku == "x")):
            quote("c")
        return a

    plan = compiled(order)
    assert names(plan.body) == [
        {"when": [["quote", "quote_2"], "charge"]},
        {"when_2": ["quote_3", None]},
    ]
    first = plan.body.nodes[0]
    assert isinstance(first, When)
    assert first.condition == Operation(
        ">", (Field(Param("order"), "total"), Const(100)), "decimal", "number"
    )
    assert plan.result == Result("quote")


def test_a_condition_in_parallel_with_its_otherwise_is_one_branch() -> None:
    def order(order: Order) -> None:
        with parallel():
            quote("a")
            with when(order.sku == "x"):
                b = quote("b")
                quote(b)
            with otherwise():
                quote("c")
            quote("d")

    ((branches,)) = names(compiled(order).body)
    assert branches == ("quote", {"when": [["quote_2", "quote_3"], "quote_4"]}, "quote_5")


def test_waiting_and_sleeping() -> None:
    def order(order: Order) -> str:
        reserve("a")
        approval = wait_for("approval", Receipt, timeout=timedelta(hours=1))
        again = wait_for("approval", Receipt)
        sleep(2)
        sleep(timedelta(minutes=1))
        sleep(order.wait * 2)
        return quote(approval.payment + again.payment)

    made = define(order)
    steps = [step for step, _ in made.plan.steps()]
    assert steps[1] == Wait("approval", "approval", 3600.0, "Receipt")
    assert steps[2] == Wait("approval_2", "approval", None, "Receipt")
    assert [step.duration for step in steps if isinstance(step, Sleep)] == [
        Const(2.0),
        Const(60.0),
        Operation("*", (Field(Param("order"), "wait"), Const(2)), "duration", "number"),
    ]
    assert made.signals == {"approval": Receipt}


def _sibling(order: Order) -> None:
    with parallel():
        weight = reserve("a")
        quote("b", weight)


def _nested_sibling(order: Order) -> None:
    with parallel():
        with sequence():
            weight = reserve("a")
            quote("a", weight)
        with when(weight > 5):
            quote("b")


def _constant(order: Order) -> None:
    with when(order.approved is None):
        quote("a")


def _no_condition(order: Order) -> None:
    with when(order.lines):  # type: ignore[arg-type]
        quote("a")


def _late_otherwise(order: Order) -> None:
    with when(order.sku == "a"):
        quote("a")
    quote("b")
    with otherwise():
        quote("c")


def _two_otherwise(order: Order) -> None:
    with when(order.sku == "a"):
        quote("a")
    with otherwise():
        quote("b")
    with otherwise():
        quote("c")


def _empty_when(order: Order) -> None:
    with when(order.sku == "a"):
        pass


def _empty_parallel(order: Order) -> None:
    with parallel():
        pass


def _bad_sleep(order: Order) -> None:
    sleep(order.sku)  # type: ignore[arg-type]


def _two_types(order: Order) -> None:
    wait_for("go", int)
    wait_for("go", str)


def _wrong_result(order: Order) -> str:
    return reserve(order.sku)  # type: ignore[return-value]


def _no_result(order: Order) -> str:  # type: ignore[return]
    reserve(order.sku)


def _if(order: Order) -> None:
    if order.total > 5:
        quote("a")


def _nothing(order: Order) -> None:
    """No step."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_sibling, "comes from another branch of the same parallel.* put both in `with sequence"),
        (_nested_sibling, "comes from another branch of the same parallel"),
        (_constant, r"when\(False\) is decided already: `is`"),
        (_no_condition, "when\\(\\) needs a condition, and <reference to order.lines"),
        (_late_otherwise, "must stand directly after"),
        (_two_otherwise, "must stand directly after a `with when"),
        (_empty_when, r"when\(\) has no step inside"),
        (_empty_parallel, r"parallel\(\) has no step inside"),
        (_bad_sleep, "seconds or a timedelta, and <reference to order.sku: str> is neither"),
        (_two_types, "signal 'go' carries int elsewhere in this saga, not str"),
        (_wrong_result, "the result of _wrong_result takes str, but `reserve` is float"),
        (_no_result, "the result of _no_result takes str, not None"),
        (_if, "use `with when"),
        (_nothing, "saga '_nothing' has no step"),
    ],
)
def test_shapes_that_can_not_be_are_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        compiled(function)


@pytest.mark.parametrize("use", [parallel, sequence, otherwise, lambda: when(True)])
def test_blocks_outside_a_saga_are_refused(use: Callable[[], Any]) -> None:
    with pytest.raises(DefinitionError, match="works only inside a @saga function"), use():
        pass


def test_waiting_outside_a_saga_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"wait_for\(\) records a step"):
        wait_for("x", int)
    with pytest.raises(DefinitionError, match=r"sleep\(\) records a step"):
        sleep(1)
