"""A shop's types and actions, for the tests of sagas."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from orchestrator.definition.ended import Ended
from orchestrator.definition.plan import (
    Each,
    Parallel,
    Sequence,
    When,
)
from tests.unit.definition.actions import action, final, reading


@dataclass
class Order:
    """A sample type."""

    sku: str
    total: Decimal
    lines: list[str]
    wait: timedelta
    note: str = ""
    approved: bool | None = None


@dataclass
class Receipt:
    """A sample type."""

    payment: str
    weight: float | None


@action
def reserve(sku: str) -> float:
    return 0.0


@action
def charge(amount: Decimal) -> str:
    return ""


@final
def dispatch(label: str) -> str:
    return ""


@reading
def quote(sku: str, weight: float = 0.0) -> str:
    return ""


@action
def tell(ended: Ended) -> None: ...


def names(node: Any) -> Any:
    """Show a node as nested names."""
    match node:
        case Sequence():
            return [names(child) for child in node.nodes]
        case Parallel():
            return tuple(names(child) for child in node.branches)
        case When():
            taken, other = names(node.then), node.otherwise and names(node.otherwise)
            return {node.name: [taken, other]}
        case Each():
            return {node.name: names(node.body)}
        case _:
            return node.name
