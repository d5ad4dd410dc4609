"""References write down what is done with them, as Python would do it, or say what to do instead."""

import datetime as dt
import enum
import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from orchestrator.definition.plan import Const, Element, Expr, Field, Operation, Param
from orchestrator.definition.references import Reference, contains, expr_of, not_, type_of
from orchestrator.definition.static_types import name_of
from orchestrator.definition.values import decode, encode
from orchestrator.errors import DefinitionError
from orchestrator.kernel.expressions import evaluate
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from tests.unit.definition.actions import action, compiled

OWNER = object()


class Colour(enum.Enum):
    """A sample type."""

    RED = "red"


class Point(NamedTuple):
    """A sample type."""

    x: int
    y: str


class Address(TypedDict):
    """A sample type."""

    street: str


class Parcel(msgspec.Struct, rename="camel"):
    """A sample type."""

    parcel_id: int


class Packed(msgspec.Struct, array_like=True, tag=True):
    """A sample type."""

    weight: float


class Brief(msgspec.Struct, omit_defaults=True):
    """A sample type."""

    note: str = ""


class Card(pydantic.BaseModel):
    """A sample type."""

    number: str = pydantic.Field(alias="cardNumber")


class Names(pydantic.RootModel[list[str]]):
    """A sample type."""


@dataclass
class Order:
    """A sample type."""

    sku: str
    quantity: int
    total: Decimal
    lines: list[str]
    prices: dict[str, Decimal]
    pair: tuple[int, str]
    point: Point
    address: Address
    parcel: Parcel
    packed: Packed
    brief: Brief
    card: Card
    names: Names
    colour: Colour
    other: "Order | None"
    free: Any

    @property
    def gross(self) -> Decimal:
        """Something computed."""
        return self.total * 2


def ref(type_: Any, name: str = "x") -> Any:
    return Reference(Param(name), type_, OWNER)


ORDER: Any = ref(Order, "order")


def value_of(reference: Any, inputs: dict[str, Any]) -> Any:
    plan = compiled(_nothing)
    run = RunState("r", Program(plan), encode(inputs), None, {}, 0.0)
    return evaluate(expr_of(reference), run)


@action
def touch() -> int:
    return 0


def _nothing() -> int:
    return touch()


@pytest.mark.parametrize(
    ("reference", "expr", "type_"),
    [
        (ORDER.sku, Field(Param("order"), "sku"), str),
        (ORDER.other.total, Field(Field(Param("order"), "other"), "total"), Decimal),
        (ORDER.lines[0], Element(Field(Param("order"), "lines"), 0), str),
        (ORDER.lines[-1], Element(Field(Param("order"), "lines"), -1), str),
        (ORDER.prices["a"], Element(Field(Param("order"), "prices"), "a"), Decimal),
        (ORDER.pair[1], Element(Field(Param("order"), "pair"), 1), str),
        (ORDER.point.y, Element(Field(Param("order"), "point"), 1), str),
        (ORDER.address["street"], Element(Field(Param("order"), "address"), "street"), str),
        (ORDER.parcel.parcel_id, Field(Field(Param("order"), "parcel"), "parcelId"), int),
        (ORDER.packed.weight, Element(Field(Param("order"), "packed"), 1), float),
        (ORDER.card.number, Field(Field(Param("order"), "card"), "number"), str),
        (ORDER.names.root[0], Element(Field(Param("order"), "names"), 0), str),
        (
            ORDER.free.anything["x"],
            Element(Field(Field(Param("order"), "free"), "anything"), "x"),
            Any,
        ),
    ],
)
def test_parts_know_their_place_in_the_json_and_their_type(
    reference: Any, expr: Expr, type_: Any
) -> None:
    assert expr_of(reference) == expr
    assert type_of(reference) == type_


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("ORDER.skuu", r"'skuu' is no field; Order has the fields sku, quantity, total"),
        ("ORDER.gross", "'gross' is a method or property, which needs the value"),
        ("ORDER.sku.upper()", "str has no fields, and its methods can't be called yet"),
        ("ORDER.prices.a", r"use \['a'\]"),
        ("ORDER.brief.note", "left out of the JSON when it has its default"),
        ('ORDER.lines["a"]', "no element 'a'"),
        ("ORDER.pair[2]", "no element 2"),
        ('ORDER.address["city"]', "no element 'city'; it has street"),
        ('ORDER["sku"]', "no element 'sku'; it has sku, quantity"),
        ("ORDER.lines[0:1]", "a key must be a constant int or str"),
        ("ORDER.prices[ORDER.sku]", "a key must be a constant int or str"),
        ("bool(ORDER.quantity > 1)", "use `with when\\(condition\\):`"),
        ("1 < ORDER.quantity < 5", "chained comparison"),
        ('ORDER.sku in ["a"]', "use `with when"),
        ('"a" in ORDER.lines', r"use `contains\(items, item\)`"),
        ("list(ORDER.lines)", r"use `.map\(items\)`"),
        ("len(ORDER.lines)", "have a participant return the number"),
        ("{ORDER.sku: 1}", "build the mapping in a participant"),
        ('f"{ORDER.sku}"', "join text with +"),
        ("str(ORDER.sku)", "join text with +"),
        ('"%s" % ORDER.sku', "join text with +"),
        ("ORDER.lines + 1", "can't be computed in a saga"),
        ("ORDER.lines == 1", "makes no sense"),
        ("ORDER.sku()", "do it in a participant"),
        ("int(ORDER.quantity)", "convert it in a participant"),
        ("float(ORDER.quantity)", "convert it in a participant"),
        ("range(ORDER.quantity)", "have a participant do it"),
        ("abs(ORDER.quantity)", "compute it in a participant"),
        ("round(ORDER.total, 2)", "round it in a participant"),
        ('setattr(ORDER, "sku", "b")', r"can't be changed \(sku = \.\.\.\)"),
        ('operator.setitem(ORDER.prices, "a", 1)', "can't be changed"),
        ("ORDER.sku + 1", r"`order.sku \+ 1`: str \+ int can't be computed"),
        ("ORDER.total * 1.5", r"Decimal \* float can't be computed"),
        ('ORDER.total == "a"', "Decimal == str makes no sense"),
        ('ORDER.lines < ["a"]', "makes no sense"),
        ("ORDER.quantity & (ORDER.quantity > 1)", r"and needs a condition \(bool\), not int"),
        ("~ORDER.quantity", "~ needs a condition"),
        ("-ORDER.sku", "-str can't be computed"),
        ("not_(True)", "needs a condition on a value of the saga"),
        ('contains(["a"], "b")', "use `in` for constants"),
        ("contains(ORDER.quantity, 1)", "looks in lists and texts"),
        ("contains(ORDER.lines, 1)", "makes no sense"),
        ("contains(ref(list[Decimal]), Decimal(1))", "where a Decimal is text"),
        ("ORDER.sku == object()", "object has no JSON form"),
        ('ORDER.sku + Reference(Param("y"), str, object())', "mixes values of two sagas"),
    ],
)
def test_what_cannot_be_written_down_says_what_to_do(written: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        eval(written)


def test_a_reference_can_be_printed_for_debugging_and_probed_by_libraries() -> None:
    assert repr(ORDER.total) == "<reference to order.total: Decimal>"
    assert not hasattr(ORDER, "__array__")
    assert not isinstance(ORDER, Order)


NUMBERS = [7, -2, 0, 2.5, -0.5]
DECIMALS = [Decimal("1.10"), Decimal(-3)]
TIMES = [dt.timedelta(seconds=90), dt.timedelta(days=-1)]
MOMENTS = [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)]
DAYS = [dt.date(2026, 1, 2), dt.date(2025, 6, 1)]
VALUES = [*NUMBERS, *DECIMALS, "a", "b", *TIMES, *MOMENTS, *DAYS]
OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]
NOT_OFFERED = {(str, operator.mod), (str, operator.mul)}


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_gives_what_python_gives(op: Callable[[Any, Any], Any]) -> None:
    """Whatever is allowed is right, in value and in type; whatever Python forbids is refused."""
    compared = 0
    for left, right in itertools.product(VALUES, VALUES):
        try:
            reference = op(ref(type(left), "left"), ref(type(right), "right"))
        except DefinitionError:
            continue
        try:
            expected = op(left, right)
        except ArithmeticError:
            continue
        data = value_of(reference, {"left": left, "right": right})
        actual = decode(data, type_of(reference))
        assert actual == expected, (left, op, right)
        assert isinstance(actual, type_of(reference))
        for mixed in (op(ref(type(left), "left"), right), op(left, ref(type(right), "right"))):
            assert value_of(mixed, {"left": left, "right": right}) == data
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("op", OPERATORS[:6])
def test_arithmetic_python_has_is_offered(op: Callable[[Any, Any], Any]) -> None:
    """Nothing simple is missing: numbers, decimals, durations, moments and text."""
    for left, right in itertools.product(VALUES, VALUES):
        try:
            op(left, right)
        except TypeError:
            continue
        except ArithmeticError:
            pass
        if {(type(left), op), (type(right), op)} & NOT_OFFERED or _odd(left, right, op):
            continue
        op(ref(type(left)), ref(type(right)))


def _odd(left: Any, right: Any, op: Any) -> bool:
    """Time with time in ways nobody writes in a saga: a fraction of a duration rounded down."""
    return op is operator.floordiv and isinstance(left, dt.timedelta) and isinstance(right, float)


def test_conditions_combine() -> None:
    many, red = ORDER.quantity > 5, ORDER.colour == Colour.RED
    assert expr_of(red) == Operation(
        "==", (Field(Param("order"), "colour"), Const("red")), "text", "text"
    )
    for quantity, colour in itertools.product([1, 9], ["red", "blue"]):
        inputs = {"order": {"quantity": quantity, "colour": colour}}
        both, either, neither = many & red, many | red, ~(many | red)
        assert value_of(both, inputs) is (quantity > 5 and colour == "red")
        assert value_of(either, inputs) is (quantity > 5 or colour == "red")
        assert value_of(neither, inputs) is not value_of(either, inputs)
        assert value_of(not_(many), inputs) is (quantity <= 5)


def test_containment() -> None:
    inputs = {"order": {"lines": ["a", "b"], "sku": "xby"}}
    assert value_of(contains(ORDER.lines, "a"), inputs) is True
    assert value_of(contains(ORDER.lines, ORDER.sku), inputs) is False
    assert value_of(contains(["xby", "c"], ORDER.sku), inputs) is True
    assert value_of(contains(ORDER.sku, "b"), inputs) is True


def test_nothing_can_be_compared_with() -> None:
    inputs = {"order": {"other": None, "total": None}}
    assert value_of(ORDER.other == None, inputs) is True  # noqa: E711 - `is` can't be recorded
    assert value_of(ORDER.total != None, inputs) is False  # noqa: E711 - as above


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (int | None, "int | None"),
        (list[Order], "list[Order]"),
        (dict[str, Decimal], "dict[str, Decimal]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Any, "Any"),
        (None, "None"),
    ],
)
def test_types_are_named_as_they_are_written(type_: Any, name: str) -> None:
    assert name_of(type_) == name
