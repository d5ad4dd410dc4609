"""Which values are redacted: what types declare so, at any depth, and what a plan makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from orchestrator import Redacted, Service, parallel, saga, wait_for
from orchestrator.definition.plan import decode_plan
from orchestrator.definition.redacted import redacted_paths
from orchestrator.definition.secrecy import REDACTED, Secrecy, hidden, texts_in


class Card(msgspec.Struct):
    """A field that is redacted."""

    number: Annotated[str, Redacted]
    expires: str = ""


class Renamed(msgspec.Struct, rename="camel"):
    """Under another name in JSON."""

    card_number: Annotated[str, Redacted]


@dataclass
class Order:
    """A record in a record, and in a list and a mapping."""

    id: str
    card: Card
    pins: list[Annotated[int, Redacted()]]
    spare: dict[str, Card] | None = None


class Model(BaseModel):
    """Pydantic's."""

    token: Annotated[str, Redacted]
    lines: list[int]


class Typed(TypedDict):
    """A dict's."""

    secret: Annotated[str, Redacted]
    open: str


class Pair(NamedTuple):
    """A tuple's."""

    left: str
    right: Annotated[str, Redacted]


class Tree(msgspec.Struct):
    """Inside itself."""

    secret: Annotated[str, Redacted]
    kids: list[Tree] = []


class Plain(msgspec.Struct):
    """Inside itself, without a mark."""

    name: str
    kids: list[Plain] = []


@pytest.mark.parametrize(
    ("type_", "paths"),
    [
        (str, ()),
        (Annotated[str, Redacted], ((),)),
        (Annotated[str, Redacted] | None, ((),)),  # pyright: ignore[reportOperatorIssue]
        (Card, (("number",),)),
        (Renamed, (("cardNumber",),)),
        (Order, (("card", "number"), ("pins", "*"), ("spare", "*", "number"))),
        (Model, (("token",),)),
        (Typed, (("secret",),)),
        (Pair, (("1",),)),
        (tuple[str, Card], (("1", "number"),)),
        (list[Card], (("*", "number"),)),
        (Tree, (("kids", "*"), ("secret",))),
        (Plain, ()),
        (Any, ()),
    ],
)
def test_a_mark_is_found_wherever_a_type_has_it(type_: Any, paths: Any) -> None:
    assert redacted_paths(type_) == paths


shop = Service("redacted_shop")


@shop.participant(read_only=True)
def look_up(card: str, pin: int) -> Annotated[str, Redacted]:
    return card


@shop.participant(read_only=True)
def tell(what: str, whole: Order, whom: Annotated[str, Redacted] = "") -> int:
    return 1


@saga(version=1)
def redacted_order(order: Order, note: str) -> str:
    found = look_up(order.card.number, order.pins[0] + 1)
    with parallel():
        tell(note, order, "bob")
        tell.options(name="echo")(found + "!", order)
    look_up.options(name="each").map(order.pins, lambda pin: (note, pin))
    wait_for("code", Card)
    return found


def test_what_is_made_of_a_redacted_value_is_redacted_whatever_the_parameter_says() -> None:
    plan = decode_plan(redacted_order.plan.encoded())
    told = Secrecy(plan)
    assert told.input == {
        ("order", "card", "number"),
        ("order", "pins", "*"),
        ("order", "spare", "*", "number"),
    }
    assert told.args["look_up"] == {("card",), ("pin",)}
    assert told.args["tell"] == {
        ("whom",),
        ("whole", "card", "number"),
        ("whole", "pins", "*"),
        ("whole", "spare", "*", "number"),
    }
    assert ("what",) in told.args["echo"]
    assert told.args["each"] == {("pin",)}
    assert told.results["look_up"] == {()}
    assert not told.results["tell"]
    assert told.result == {()}
    assert told.signals == {"code": {("number",)}}


def test_a_plan_without_marks_redacts_nothing_and_keeps_its_hash() -> None:
    @saga(version=1)
    def nothing_redacted(note: str) -> int:
        return shop_plain(note)

    assert not Secrecy(nothing_redacted.plan)
    assert b'"redacted' not in nothing_redacted.plan.encoded()


@Service("plain_shop").participant(read_only=True)
def shop_plain(note: str) -> int:
    return 1


def test_hiding_keeps_the_shape() -> None:
    data = {"card": {"number": "4711", "expires": "07/31"}, "pins": [1, 2], "id": None}
    paths = [("card", "number"), ("pins", "*"), ("id",), ("absent", "x")]
    assert hidden(data, paths) == {
        "card": {"number": REDACTED, "expires": "07/31"},
        "pins": [REDACTED, REDACTED],
        "id": None,
    }
    assert data["pins"] == [1, 2]
    assert sorted(texts_in(data, paths)) == ["1", "2", "4711"]
    assert sorted(texts_in(data, [()])) == ["07/31", "1", "2", "4711"]
