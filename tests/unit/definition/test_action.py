"""Calling an action inside a saga records a step; a call that doesn't fit is refused with what would."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pydantic
import pytest

from orchestrator.definition.plan import (
    Const,
    Each,
    Element,
    Field,
    Item,
    Listing,
    Operation,
    Param,
    Record,
    Result,
    RetryPolicy,
)
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError
from tests.unit.definition.actions import UNDO, action, call, compiled, final, reading


@dataclass
class Address:
    """A sample type."""

    street: str
    number: int


class Parcel(msgspec.Struct, tag="parcel", rename="camel"):
    """A sample type."""

    to_address: Address
    weight: float = 0.0


class Card(pydantic.BaseModel):
    """A sample type."""

    number: str


@dataclass
class Order:
    """A sample type."""

    sku: str
    quantity: int
    total: Decimal
    street: str
    skus: list[str]
    card: Card


@action
def reserve(sku: str, quantity: int = 1, *, note: str | None = None) -> int:
    return 0


@reading
def price(total: Decimal, factor: float = 1.0) -> Decimal:
    return total


@action
def send(parcel: Parcel) -> str:
    return ""


@action
def pack(skus: list[str], labels: dict[str, int] | None = None) -> str:
    return ""


@action
def pay(card: Card, amount: Decimal) -> None: ...


@final
def ship(code: str) -> str:
    return ""


def test_a_call_is_a_step_with_everything_the_action_says() -> None:
    def order(order: Order) -> int:
        return reserve(order.sku, order.quantity + 1, note="x")

    plan = compiled(order)
    step = call(plan, "reserve")
    quantity = Operation("+", (Field(Param("order"), "quantity"), Const(1)), "number", "number")
    assert step.args == {
        "sku": Field(Param("order"), "sku"),
        "quantity": quantity,
        "note": Const("x"),
    }
    assert (step.service, step.participant, step.queue) == ("shop", "reserve", "shop")
    assert (step.timeout_s, step.undo, step.barrier, step.read_only) == (10.0, UNDO, True, False)
    assert plan.result == Result("reserve")
    line = order.__code__.co_firstlineno + 1
    assert step.source.endswith(f"tests/unit/definition/test_action.py:{line}")


def test_defaults_stay_with_the_participant() -> None:
    def order() -> None:
        reserve("a")

    assert call(compiled(order), "reserve").args == {"sku": Const("a")}


def test_the_spec_is_read_when_the_plan_is_compiled() -> None:
    late = final(lambda: None)
    late.spec = replace(late.spec, name="late", undo=UNDO)

    def order() -> None:
        late()
        ship("x")

    assert call(compiled(order), "late").undo == UNDO


def test_options_change_one_step_only() -> None:
    def order() -> None:
        careful = reserve.options(timeout=timedelta(minutes=1)).options(
            retry=Retry(attempts=9), name="hold"
        )
        careful("a")
        reserve("b")
        ship.options(timeout=2).pivot("c")

    plan = compiled(order)
    hold = call(plan, "hold")
    assert (hold.participant, hold.timeout_s, hold.retry) == (
        "reserve",
        60.0,
        RetryPolicy(attempts=9),
    )
    assert hold.undo == UNDO
    assert call(plan, "reserve").timeout_s == 10.0
    assert (call(plan, "ship").pivot, call(plan, "ship").timeout_s) == (True, 2.0)


def test_names_are_made_unique() -> None:
    def order() -> None:
        for _ in range(3):
            reserve("a")

    assert [step.name for step, _ in compiled(order).steps()] == [
        "reserve",
        "reserve_2",
        "reserve_3",
    ]


def test_records_and_lists_may_hold_references() -> None:
    def order(order: Order) -> str:
        send(Parcel(Address(order.street, 5), 1.5))
        pack([order.sku, "b"], {"n": order.quantity})
        return pack(order.skus)

    plan = compiled(order)
    street = Field(Param("order"), "street")
    address = Record({"street": street, "number": Const(5)})
    assert call(plan, "send").args["parcel"] == Record(
        {"type": Const("parcel"), "toAddress": address, "weight": Const(1.5)}
    )
    args = call(plan, "pack").args
    assert args["skus"] == Listing((Field(Param("order"), "sku"), Const("b")))
    assert args["labels"] == Record({"n": Field(Param("order"), "quantity")})


def test_constants_are_encoded() -> None:
    def order(order: Order) -> None:
        pay(Card(number="1"), Decimal("1.50"))
        pay(order.card, order.total)

    plan = compiled(order)
    assert call(plan, "pay").args == {"card": Const({"number": "1"}), "amount": Const("1.50")}
    assert call(plan, "pay_2").args["card"] == Field(Param("order"), "card")


LOOSE: Any = SimpleNamespace(reserve=reserve, price=price, send=send, pack=pack)

BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "missing": (
        lambda o: LOOSE.reserve(),
        r"missing a required argument: 'sku'; it is shop.reserve\(sku: str, ",
    ),
    "too many": (lambda o: LOOSE.reserve("a", 1, 2), "too many positional arguments"),
    "unknown": (lambda o: LOOSE.reserve("a", amount=1), "unexpected keyword argument 'amount'"),
    "constant": (
        lambda o: LOOSE.reserve(5),
        r"shop.reserve: parameter 'sku' takes str, not int: .* expected str, got int",
    ),
    "reference": (
        lambda o: LOOSE.reserve(o.quantity),
        r"parameter 'sku' takes str, but `order.quantity` is int",
    ),
    "decimal": (
        lambda o: LOOSE.price(o.total, o.total),
        "parameter 'factor' takes float, but `order.total` is Decimal",
    ),
    "list": (
        lambda o: LOOSE.pack([o.sku, o.quantity]),
        r"parameter 'skus'\[1\] takes str, but `order.quantity` is int",
    ),
    "list of": (lambda o: LOOSE.pack([o.sku, 5]), r"parameter 'skus'\[1\] takes str, not int"),
    "dict": (
        lambda o: LOOSE.pack([], {"a": o.sku}),
        "parameter 'labels'.a takes int, but `order.sku` is str",
    ),
    "record": (
        lambda o: LOOSE.send(Parcel(Address(o.quantity, 5))),
        "parameter 'parcel'.to_address.street takes str, but `order.quantity` is int",
    ),
    "other record": (
        lambda o: LOOSE.send(Address(o.street, 5)),
        r"parameter 'parcel' takes Parcel, not Address",
    ),
    "not JSON": (lambda o: LOOSE.reserve(object()), "object has no JSON form"),
    "NaN": (lambda o: LOOSE.price(Decimal("NaN")), "can't be written as JSON"),
    "timeout": (lambda o: LOOSE.reserve.options(timeout=0), r"shop.reserve.options\(timeout=\)"),
    "name": (lambda o: LOOSE.reserve.options(name="a b")("a"), "'a b' is no name for a step"),
    "map": (lambda o: LOOSE.reserve.map(o.sku), r"shop.reserve.map\(\) needs a list, not str"),
    "item": (
        lambda o: LOOSE.reserve.map(o.skus, lambda sku: (sku, sku)),
        "'quantity' takes int, but `item` is str",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_saga_place_and_parameter(case: str) -> None:
    use, message = BAD[case]

    def order(order: Order) -> None:
        use(order)

    with pytest.raises(DefinitionError, match=message) as caught:
        compiled(order)
    if case != "timeout":
        assert str(caught.value).startswith("saga 'order', ")
        assert "test_action.py:" in str(caught.value)


def test_two_steps_of_one_given_name_are_refused() -> None:
    def order() -> None:
        reserve.options(name="hold")("a")
        reserve.options(name="hold")("b")

    with pytest.raises(
        DefinitionError, match=r"two steps are named 'hold' \(the other at .*test_action.py:"
    ):
        compiled(order)


@pytest.mark.parametrize(
    "use",
    [
        lambda: reserve("a"),
        lambda: reserve.pivot("a"),
        lambda: reserve.options(timeout=1)("a"),
        lambda: reserve.map(["a"]),
    ],
    ids=["call", "pivot", "options", "map"],
)
def test_outside_a_saga_a_call_says_what_to_do(use: Callable[[], Any]) -> None:
    with pytest.raises(
        DefinitionError, match=r"only inside a @saga function; .* `reserve.function\(\.\.\.\)`"
    ):
        use()


def test_map_runs_a_step_for_every_item() -> None:
    def order(order: Order) -> list[int]:
        return reserve.options(timeout=3).map(order.skus)

    plan = compiled(order)
    (each,) = plan.body.nodes
    assert isinstance(each, Each)
    assert (each.name, each.items) == ("reserve.items", Field(Param("order"), "skus"))
    assert call(plan, "reserve").args == {"sku": Item(0)}
    assert call(plan, "reserve").timeout_s == 3.0
    assert plan.result == Result("reserve")


def test_map_makes_arguments_from_the_item_and_from_around() -> None:
    def order(lines: list[tuple[str, int]], note: str) -> str:
        first = reserve(note)
        held = reserve.map(lines, using=lambda line: (line[0], line[1] + first))
        return pack(pack.map([["a"], [note]]), {"first": held[0]})

    plan = compiled(order)
    assert call(plan, "reserve_2").args == {
        "sku": Element(Item(0), 0),
        "quantity": Operation("+", (Element(Item(0), 1), Result("reserve")), "number", "number"),
    }
    assert call(plan, "pack_2").args["skus"] == Result("pack")
    assert call(plan, "pack_2").args["labels"] == Record({"first": Element(Result("reserve_2"), 0)})


def test_an_item_can_not_leave_its_map() -> None:
    kept: list[Any] = []

    def order(order: Order) -> None:

        def keep(sku: str) -> str:
            kept.append(sku)
            return sku

        reserve.map(order.skus, using=keep)
        reserve(cast(str, kept[0]))

    with pytest.raises(
        DefinitionError, match=r"inside .map\(\) only; use the list that .map\(\) gives"
    ):
        compiled(order)
