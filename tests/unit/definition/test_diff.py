"""Differences between plans are told in words, and no difference goes untold."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from orchestrator.definition.diff import differences
from orchestrator.definition.ended import Ended
from orchestrator.definition.plan import Call, Const, Operation, Plan, Sequence, Undo
from orchestrator.definition.retry import Retry
from orchestrator.definition.shapes import otherwise, parallel, sleep, wait_for, when
from tests.unit.definition.actions import UNDO, action, define, final


@action
def reserve(sku: str, quantity: int = 1) -> str:
    return sku


@action
def charge(amount: int) -> str:
    return ""


@final
def ship(sku: str) -> str:
    return sku


@action
def tell(ended: Ended) -> None: ...


def base(sku: str, amount: int = 1) -> str:
    reserve(sku)
    charge(amount)
    with when(amount > 5):
        reserve(sku, 2)
    wait_for("go", int, 5)
    sleep(1)
    charge.map([1, 2])
    return ship(sku)


def plan_of(function: Callable[..., Any], *, callback: bool = False, **options: Any) -> Plan:
    made = define(function, name="base", **options)
    if callback:
        made.on_completed(tell)
    return made.plan


def _changed_everywhere(sku: str, total: int, amount: str = "") -> None:
    charge(total + 1)
    reserve.options(timeout=60, retry=Retry(attempts=2))(sku)
    with when(total > 6):
        reserve(sku, 2)
    with otherwise():
        charge.options(name="extra")(total)
    wait_for("go", str)
    sleep(2)
    charge.map([1, 2, 3])


def test_every_kind_of_difference_is_told() -> None:
    new = plan_of(_changed_everywhere, version=2, timeout=9, callback=True)
    assert differences(plan_of(base), new) == [
        "saga, version: 1 is now 2",
        "parameter 'amount': int (optional) is now str (optional)",
        "parameter 'total' is new: int",
        "saga, timeout: none is now 9 s",
        "saga, result: ship is now null",
        (
            "callback 'on_completed' is new: kind call, participant shop.tell, queue shop, argument ended null, "
            "timeout 10 s, retry attempts=5 strategy=exponential initial_s=0.2 factor=2.0 cap_s=30.0 jitter=0.25, "
            "undo none, pivot no, read-only no, database yes"
        ),
        "step 'reserve', timeout: 10 s is now 60 s",
        (
            "step 'reserve', retry: attempts=5 strategy=exponential initial_s=0.2 factor=2.0 cap_s=30.0 jitter=0.25 "
            "is now attempts=2 strategy=exponential initial_s=0.2 factor=2.0 cap_s=30.0 jitter=0.25"
        ),
        "step 'charge', argument amount: amount is now total + 1",
        "step 'when', condition: amount > 5 is now total > 6",
        "step 'go', timeout: 5 s is now none",
        "step 'go', type: int is now str",
        "step 'sleep', duration: 1.0 is now 2.0",
        "step 'charge_2.items', items: [1,2] is now [1,2,3]",
        "step 'ship' is gone",
        "step 'extra' is new",
        (
            "order of the steps: reserve, charge, when(reserve_2), go, sleep, charge_2.items(charge_2) is now "
            "charge, reserve, when(reserve_2), go, sleep, charge_2.items(charge_2)"
        ),
    ]


def test_equal_plans_do_not_differ_wherever_they_are_written() -> None:
    plan = plan_of(base)
    moved = msgspec.json.decode(
        plan.encoded().replace(b"test_diff.py:", b"elsewhere.py:9"), type=Plan
    )
    assert moved != plan
    assert differences(plan, moved) == []


def test_a_change_of_shape_is_told() -> None:
    def order(sku: str, amount: int = 1) -> None:
        reserve(sku)
        charge(amount)

    def beside(sku: str, amount: int = 1) -> None:
        with parallel():
            reserve(sku)
            charge(amount)

    assert differences(plan_of(order), plan_of(beside)) == [
        "order of the steps: reserve, charge is now (reserve | charge)"
    ]


def test_a_change_of_an_undo_is_told() -> None:
    def order() -> None:
        reserve("a")

    old = plan_of(order)
    spec = reserve.spec
    reserve.spec = replace(spec, undo=Undo("other", 7.0, UNDO.retry), barrier=False)
    try:
        told = differences(old, plan_of(order))
    finally:
        reserve.spec = spec
    assert [line.split(" (")[0] for line in told] == [
        "step 'reserve', undo: back",
        "step 'reserve', database: yes is now no",
    ]
    assert "is now other (timeout 7 s" in told[0]


@pytest.mark.parametrize(("old", "new"), [("number", "any"), ("decimal", "number")])
def test_what_the_words_leave_out_is_told_by_its_place(old: Any, new: Any) -> None:
    def plan(kind: Any) -> Plan:
        value = Operation("+", (Const(1), Const(2)), kind)
        return Plan("x", 1, {}, Sequence((msgspec.structs.replace(CALL, args={"sku": value}),)))

    assert differences(plan(old), plan(new)) == [
        f"plan.body.nodes[0].args.sku.kind: {_shown(old)} is now {_shown(new)}"
    ]


def _shown(kind: str) -> str:
    return "null" if kind == "any" else f'"{kind}"'


CALL = next(step for step, _ in plan_of(base).steps() if isinstance(step, Call))
