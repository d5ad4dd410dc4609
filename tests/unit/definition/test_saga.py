"""Sagas compile to plans: their input and result, sagas inside sagas, callbacks, the registry."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.definition.plan import (
    Call,
    Const,
    Each,
    Field,
    Item,
    Let,
    Operation,
    Param,
    Record,
    Result,
    Sequence,
    decode_plan,
)
from orchestrator.definition.saga import Registry, saga
from orchestrator.definition.shapes import parallel, when
from orchestrator.errors import DefinitionError, InvalidInputError, UnknownSagaError
from tests.unit.definition.actions import call, compiled, define
from tests.unit.definition.shop import Order, Receipt, charge, names, quote, reserve, tell

# -- input and result


def _if(order: Order) -> None:
    if order.total > 5:
        quote("a")


def _sibling(order: Order) -> None:
    with parallel():
        weight = reserve("a")
        quote("b", weight)


def place(order: Order, copies: int = 2, *, label: str | None = None) -> Receipt:
    """Place an order."""
    weight = reserve(order.sku)
    return Receipt("p", weight)


def test_a_plan_is_compiled_once_and_reads_back_equal() -> None:
    made = define(place, version=3, timeout=timedelta(minutes=5), name="place_order")
    plan = made.plan
    assert made.plan is plan
    assert (plan.saga, plan.version, plan.timeout_s) == ("place_order", 3, 300.0)
    assert plan.parameters == {"order": "Order", "copies": "int", "label": "str | None"}
    assert plan.optional == ("copies", "label")
    assert decode_plan(plan.encoded()) == plan
    assert decode_plan(plan.encoded()).hash == plan.hash == made.plan_hash
    assert made.__doc__ == "Place an order."


def test_the_hash_does_not_depend_on_the_line_or_on_how_a_number_is_written() -> None:
    def made_of(timeout: float) -> str:
        def order() -> None:
            reserve.options(timeout=timeout)("a")

        return compiled(order).hash

    assert made_of(5) == made_of(5.0) != made_of(6)


def test_input_is_checked_and_complete() -> None:
    made = define(place)
    order = Order("a", Decimal("1.5"), [], timedelta(seconds=1))
    data: dict[str, Any] = {
        "sku": "a",
        "total": "1.5",
        "lines": [],
        "wait": "PT1S",
        "note": "",
        "approved": None,
    }
    assert made.encode_input(order, label="x") == {"order": data, "copies": 2, "label": "x"}
    sparse = {"sku": "a", "total": "1.5", "lines": [], "wait": "PT1S"}
    assert made.encode_input(sparse)["order"] == data  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            (),
            {},
            r"place: missing a required argument: 'order'; it is place\(order: Order, copies: int = 2",
        ),
        (("x",), {}, "order: expected object, got str"),
        (({"sku": 5},), {}, "order.sku: expected str, got int"),
        ((), {"order": None, "many": 1}, "unexpected keyword argument 'many'"),
        ((object(),), {}, "order: object has no JSON form"),
    ],
)
def test_wrong_input_is_refused_by_name(args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        define(place).encode_input(*args, **kwargs)


def test_the_result_is_read_as_declared() -> None:
    assert define(place).decode_result({"payment": "p", "weight": 1}) == Receipt("p", 1.0)
    with pytest.raises(
        InvalidInputError, match=r"the result of place\.payment: expected str, got int"
    ):
        define(place).decode_result({"payment": 1, "weight": None})


# -- sagas inside sagas


@saga(registry=Registry())
def pay(order: Order, tip: int = 1) -> Receipt:
    with when(order.total > tip):
        payment = charge(order.total + tip)
    return Receipt(payment, reserve(order.sku))


@saga(registry=Registry())
def label_of(sku: str) -> str:
    return quote(sku)


def test_a_saga_inside_a_saga_becomes_its_steps() -> None:
    def order(order: Order) -> str:
        first = pay(order)
        pay(order, 7)
        return quote(first.payment + label_of(order.sku), 1.5)

    plan = compiled(order)
    assert names(plan.body) == [
        [{"pay.when": ["pay.charge", None]}, "pay.reserve", "pay"],
        [{"pay_2.when": ["pay_2.charge", None]}, "pay_2.reserve", "pay_2"],
        "label_of.quote",
        "quote",
    ]
    let = next(n for n in plan.body.nodes[0].nodes if isinstance(n, Let))  # type: ignore[union-attr]
    assert let.value == Record({"payment": Result("pay.charge"), "weight": Result("pay.reserve")})
    assert call(plan, "pay_2.charge").args["amount"] == Operation(
        "+", (Field(Param("order"), "total"), Const(7)), "decimal", "decimal"
    )
    assert call(plan, "quote").args["sku"] == Operation(
        "+", (Field(Result("pay"), "payment"), Result("label_of.quote")), "text", "text"
    )


def test_a_saga_over_a_list() -> None:
    def order(orders: list[Order], tip: int) -> list[Receipt]:
        with parallel():
            paid = pay.map(orders, using=lambda order: (order, tip))
            label_of.map(["a", "b"])
        return paid

    plan = compiled(order)
    body = [{"pay.when": ["pay.charge", None]}, "pay.reserve", "pay"]
    assert names(plan.body) == [
        ({"pay.items": body}, {"label_of.items": ["label_of.quote", "label_of"]})
    ]
    assert plan.result == Result("pay", 0)
    amount = call(plan, "pay.charge").args["amount"]
    assert amount == Operation("+", (Field(Item(0), "total"), Param("tip")), "decimal", "decimal")


def test_lists_in_lists_know_how_many_scopes_they_share() -> None:
    @saga(registry=Registry())
    def outer(order: Order) -> list[float]:
        charge(order.total)
        weights = reserve.map(order.lines)
        quote.map(order.lines, using=lambda line: (line, weights[0]))
        return weights

    def order(orders: list[Order]) -> list[list[float]]:
        return outer.map(orders)

    plan = compiled(order)
    assert call(plan, "outer.reserve").args["sku"] == Item(1)
    weights = call(plan, "outer.quote").args["weight"]
    assert "shared=1" in repr(weights)
    outer_each = plan.body.nodes[0]
    assert isinstance(outer_each, Each)
    assert isinstance(outer_each.body, Sequence)
    assert outer_each.body.nodes[-1] == Let("outer", Result("outer.reserve", 1))


def test_a_saga_that_contains_itself_is_refused() -> None:
    @saga(registry=Registry())
    def loop(n: int) -> float:
        reserve("a")
        return loop(n)

    with pytest.raises(DefinitionError, match="saga 'loop' calls itself"):
        _ = loop.plan


def test_a_value_of_another_saga_is_refused() -> None:
    kept: list[Any] = []

    def first(order: Order) -> None:
        kept.append(order)
        reserve(order.sku)

    def second() -> None:
        reserve(kept[0].sku)

    compiled(first)
    with pytest.raises(
        DefinitionError, match="belongs to another saga; pass the value in as a parameter"
    ):
        compiled(second)


def test_outside_a_saga_a_saga_is_launched_by_a_client() -> None:
    with pytest.raises(DefinitionError, match=r"use client.launch\(label_of, \.\.\.\)"):
        label_of("a")
    with pytest.raises(DefinitionError, match=r"use client.launch\(label_of, \.\.\.\)"):
        label_of.map(["a"])


# -- what @saga refuses


def test_what_is_no_saga_is_refused() -> None:
    async def later() -> None: ...

    def many(*orders: Order) -> None: ...

    def odd(x: complex) -> None: ...

    with pytest.raises(DefinitionError, match="must be a plain function"):
        define(later)
    with pytest.raises(DefinitionError, match=r"\*orders: .*Order can't be recorded"):
        define(many)
    with pytest.raises(
        DefinitionError, match="saga 'odd': parameter 'x': complex has no JSON form"
    ):
        define(odd)
    with pytest.raises(DefinitionError, match=r"@saga\(version=\)"):
        define(place, version=0)
    with pytest.raises(DefinitionError, match=r"@saga\(timeout=\)"):
        define(place, timeout=-1)


def test_an_error_in_the_function_says_that_it_was_being_defined() -> None:
    def order() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError) as caught:
        compiled(order)
    assert "while defining saga 'order'" in caught.value.__notes__[0]


def test_after_an_error_nothing_is_being_built() -> None:
    with pytest.raises(DefinitionError):
        compiled(_sibling)
    with pytest.raises(DefinitionError, match="only inside a @saga function"):
        reserve("a")


# -- callbacks


def test_callbacks_are_in_the_plan() -> None:
    made = define(place)
    assert made.on_completed(tell) is tell
    made.on_stuck(tell)
    plan = made.plan
    assert {event: [c.participant for c in calls] for event, calls in plan.callbacks.items()} == {
        "on_completed": ["tell"],
        "on_stuck": ["tell"],
    }
    assert list(plan.callbacks["on_stuck"][0].args) == ["ended"]
    assert isinstance(plan.callbacks["on_stuck"][0], Call)
    with pytest.raises(DefinitionError, match="the plan of 'place' is in use already"):
        made.on_compensated(tell)


def test_callbacks_take_one_ended() -> None:
    made = define(place)
    with pytest.raises(DefinitionError, match=r"shop.reserve must take one parameter, an `Ended`"):
        made.on_completed(reserve)
    with pytest.raises(DefinitionError, match="takes a participant, not <function"):
        made.on_completed(place)  # type: ignore[type-var]


# -- the registry


def test_a_name_belongs_to_one_function() -> None:
    registry = Registry()
    first = saga(registry=registry)(place)
    again = saga(registry=registry)(place)
    assert registry.get("place") is again is not first
    with pytest.raises(
        DefinitionError, match=r"two sagas are named 'place': .*test_saga.place and .*test_saga._if"
    ):
        saga(registry=registry, name="place")(_if)
    assert [made.name for made in registry] == ["place"]
    assert "place" in registry
    with registry.isolated():
        assert len(registry) == 0
        saga(registry=registry, name="place")(_if)
    assert registry.get("place") is again


def test_an_unknown_saga_is_refused_with_the_known_ones() -> None:
    registry = Registry()
    with pytest.raises(UnknownSagaError, match="known: none; import the modules"):
        registry.get("x")
    saga(registry=registry)(place)
    with pytest.raises(UnknownSagaError, match="no saga is named 'x'; known: place"):
        registry.get("x")
