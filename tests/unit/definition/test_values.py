"""Values cross the border as JSON and come back as they were, or are refused with their place named."""

import datetime as dt
import enum
import math
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.definition.values import check_size, check_type, decode, encode
from orchestrator.errors import (
    DefinitionError,
    EncodingError,
    InvalidInputError,
    PayloadTooLargeError,
)

T = TypeVar("T")


class Colour(enum.Enum):
    """A sample type."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """A sample type."""

    LOW = 1


class Point(NamedTuple):
    """A sample type."""

    x: int
    y: int = 0


class Address(TypedDict):
    """A sample type."""

    street: str
    zip: NotRequired[str]


@dataclass
class Line:
    """A sample type."""

    sku: str
    price: Decimal
    quantity: int = 1


@dataclass
class Order:
    """A sample type."""

    lines: list[Line]
    at: dt.datetime | None = None
    address: Address | None = None
    tags: dict[str, int] = field(default_factory=dict)


class Parcel(msgspec.Struct, rename="camel"):
    """A sample type."""

    parcel_id: uuid.UUID
    weight_kg: float


class Card(pydantic.BaseModel):
    """A sample type."""

    number: str = pydantic.Field(alias="cardNumber")
    limit: Decimal
    expires: dt.date


class Wallet(pydantic.BaseModel):
    """A sample type."""

    cards: list[Card]


@dataclass
class Page(Generic[T]):
    """A sample type."""

    items: list[T]


@dataclass
class Holder:
    """A sample type."""

    wallet: Wallet
    spare: Card | None = None


CARD = Card(cardNumber="4", limit=Decimal("10.50"), expires=dt.date(2030, 1, 2))
ORDER = Order([Line("a", Decimal("1.10"))], dt.datetime(2026, 1, 2, tzinfo=dt.UTC), {"street": "s"})

SAMPLES: list[tuple[Any, Any]] = [
    (None, type(None)),
    (True, bool),
    (3, int),
    (2**80, int),
    (1.5, float),
    ("ä\n", str),
    (b"\x00\xff", bytes),
    (Decimal("1.10"), Decimal),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC), dt.datetime),
    (dt.date(2026, 1, 2), dt.date),
    (dt.timedelta(days=1, seconds=2.5), dt.timedelta),
    (uuid.UUID(int=5), uuid.UUID),
    (Colour.RED, Colour),
    (Level.LOW, Level),
    (Point(1, 2), Point),
    ({"street": "s"}, Address),
    (ORDER, Order),
    (Parcel(uuid.UUID(int=1), 2.0), Parcel),
    (CARD, Card),
    (Wallet(cards=[CARD]), Wallet),
    (Holder(Wallet(cards=[CARD]), CARD), Holder),
    ([CARD], list[Card]),
    ({"x": CARD}, dict[str, Card]),
    ((1, "a"), tuple[int, str]),
    ({1, 2}, set[int]),
    ({1: "a"}, dict[int, str]),
    ([1, 2], Sequence[int]),
    (Page([Line("a", Decimal(1))]), Page[Line]),
    (5, int | str),
    (None, Line | None),
    (Line("a", Decimal(1)), Line | Card),
    (CARD, Line | Card),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime | str),
    ("2026-01-02", dt.datetime | str),
    ({"anything": [1, None]}, Any),
]


@pytest.mark.parametrize(("value", "type_"), SAMPLES, ids=lambda part: repr(part)[:40])
def test_a_value_comes_back_as_it_was(value: Any, type_: Any) -> None:
    data = encode(value)
    assert msgspec.json.decode(msgspec.json.encode(data)) == data
    back = decode(data, type_)
    assert back == value
    assert type(back) is type(value)


def test_encoding_gives_builtins_that_share_nothing() -> None:
    value = {"a": [1, (2, 3)]}
    data = encode(value)
    assert data == {"a": [1, [2, 3]]}
    data["a"].append(4)
    assert value == {"a": [1, (2, 3)]}


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("Infinity")]
)
@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda n: n, "total"),
        (lambda n: [None, n], "total[1]"),
        (lambda n: {"a": {"b": n}}, "total['a']['b']"),
        (lambda n: Order([Line("a", n)]), "total.lines[0].price"),
        (lambda n: Parcel(uuid.UUID(int=1), n), "total.weight_kg"),
    ],
)
def test_not_a_number_is_refused_with_its_place(number: Any, wrap: Any, place: str) -> None:
    with pytest.raises(EncodingError, match="can't be written as JSON") as caught:
        encode(wrap(number), "total")
    assert str(caught.value).startswith(f"{place}: ")


def test_defaults_that_were_left_out_are_there_when_it_is_encoded_again() -> None:
    sparse = {"lines": [{"sku": "a", "price": "1"}]}
    line = {"sku": "a", "price": "1", "quantity": 1}
    assert encode(decode(sparse, Order)) == {
        "lines": [line],
        "at": None,
        "address": None,
        "tags": {},
    }
    assert encode(decode([sparse["lines"]], tuple[list[Line], ...])) == [[line]]


def test_words_that_look_like_numbers_gone_wrong_are_fine() -> None:
    value = ["null", "NaN", "infinity", None]
    assert encode(value) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "order: object has no JSON form"),
        ([{"x": object()}], r"order\[0\]\['x'\]: object has no JSON form"),
        ("\ud800", "order: the text isn't valid Unicode"),
        ([["\ud800"]], r"order\[0\]\[0\]: the text isn't valid Unicode"),
        ({(1, 2): 3}, "order: "),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        encode(value, "order")


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodingError, match="refers to itself"):
        encode(loop)


@pytest.mark.parametrize(
    ("data", "type_", "message"),
    [
        ("5", int, "order: expected int, got str"),
        (True, int, "order: expected int, got bool"),
        (
            {"lines": [{"sku": 5, "price": "1"}]},
            Order,
            r"order.lines\[0\].sku: expected str, got int",
        ),
        (
            {"lines": [{"price": "1"}]},
            Order,
            r"order.lines\[0\]: object missing required field sku",
        ),
        (
            {"lines": [{"sku": "a", "price": "x"}]},
            Order,
            r"order.lines\[0\].price: invalid decimal",
        ),
        ({"cards": [{"limit": 1}]}, Wallet, r"order.cards\[0\].cardNumber: Field required"),
        ({"wallet": {"cards": 5}}, Holder, r"order.wallet: cards: Input should be a valid list"),
        ("green", Colour, "order: invalid enum value 'green'"),
        (5, Line | Card, "order: expected object, got int; or "),
        ({"x": 1}, dict[str, str], "expected str, got int"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_its_place(
    data: Any, type_: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        decode(data, type_, "order")


def test_a_type_without_a_json_form_is_refused_by_name() -> None:
    @dataclass
    class Odd:
        lock: complex

    with pytest.raises(
        DefinitionError, match=r"parameter 'x': complex has no JSON form; use a dataclass"
    ):
        check_type(Odd, "parameter 'x'")
    with pytest.raises(DefinitionError, match="complex has no JSON form"):
        decode(5, complex | int)
    with pytest.raises(DefinitionError, match="tagged union"):
        check_type(list[Line | Order], "parameter 'x'")
    check_type(Line | Order, "parameter 'x'")
    check_type(Holder, "parameter 'x'")


def test_size_is_limited() -> None:
    check_size(b"12345", 5)
    with pytest.raises(
        PayloadTooLargeError, match=r"result: 1,025 bytes of JSON are over the limit of 1,024"
    ):
        check_size(b"x" * 1025, 1024, "result")


def test_pydantic_is_not_imported_for_those_who_have_not() -> None:
    script = (
        "import sys; from orchestrator.definition.values import decode, encode; "
        "import orchestrator.definition.saga; "
        "assert decode(encode([1]), list[int]) == [1]; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_is_its_own_encoding(value: Any) -> None:
    assert encode(value) == value
    assert decode(encode(value), Any) == value
