"""Results of stand-ins: plain values of every type that can travel."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from orchestrator.definition.values import decode, encode
from orchestrator.errors import StagingError
from orchestrator.testing.stage.made_up import made_up


class Colour(enum.Enum):
    """Some."""

    RED = "red"


@dataclass
class Line:
    """With a default."""

    sku: str
    price: Decimal
    note: str = "none"


@dataclass
class Hold:
    """Can't be told from a line by msgspec."""

    weight: int


class Node(msgspec.Struct, tag="node"):
    """Refers to itself."""

    lines: list[Line]
    next: Node | None


class Flat(msgspec.Struct, array_like=True, tag=True):
    """Travels as a list."""

    size: int


class Model(pydantic.BaseModel):
    """Pydantic's."""

    line: Line
    when: datetime
    optional: int = 5


class Typed(TypedDict):
    """A dictionary."""

    count: int


class Pair(NamedTuple):
    """A tuple."""

    left: int
    right: str


@pytest.mark.parametrize(
    "type_",
    [
        *(
            int,
            float,
            str,
            bool,
            bytes,
            None,
            Any,
            object,
            Decimal,
            UUID,
            datetime,
            date,
            timedelta,
        ),
        *(Colour, Line, Node, Line | Hold, Flat, Model, Typed, Pair, list[Model], dict[str, Line]),
        *(tuple[int, str], tuple[int, ...], set[int], Literal["a", "b"], str | None, Line | None),
        Annotated[int, msgspec.Meta(gt=4, le=9)],
        Annotated[str, msgspec.Meta(min_length=12)],
    ],
    ids=str,
)
def test_a_value_of_every_type_fits_its_type(type_: Any) -> None:
    value = made_up(type_, "shop.buy")
    assert decode(encode(value), type_) == value


def test_values_are_plain() -> None:
    assert made_up(Line, "shop.buy") == Line("sku", Decimal(1))
    assert made_up(str, "shop.buy") == "buy"
    assert made_up(list[int], "shop.buy") == [1]


@pytest.mark.parametrize(
    "type_", [Annotated[str, msgspec.Meta(pattern="^z$")], type("Odd", (), {})]
)
def test_what_cannot_be_made_up_has_to_be_given(type_: Any) -> None:
    with pytest.raises(StagingError, match=r"give one with sagas.when\(shop.buy\).returns"):
        made_up(type_, "shop.buy")
