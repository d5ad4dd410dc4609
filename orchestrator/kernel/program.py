"""A plan made ready to run: its nodes by name and by place, with the scopes around them.

Derived from the plan once, shared by every run of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TypeGuard

from orchestrator.definition.plan import (
    CALLBACKS,
    Atomic,
    Call,
    Each,
    Let,
    Node,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
    children,
)

Named = Call | Wait | Sleep | Let | When | Each | Atomic

RESULT = "@result"
"""The name of the saga's own result; the ``@`` keeps it apart from a saga's own names."""


class Place:
    """A node where it stands in its plan."""

    __slots__ = ("children", "is_step", "node", "number", "parent", "position")

    def __init__(self, node: Node, parent: Place | None, position: int, number: int) -> None:
        self.node = node
        self.parent = parent
        self.position = position
        """Its place among its parent's children."""
        self.number = number
        """Unique in the plan."""
        self.children: list[Place] = []
        self.is_step = isinstance(node, Call | Wait | Sleep)


class Program:
    """A plan and its index."""

    __slots__ = (
        "grouped",
        "hash",
        "irreversible",
        "named",
        "places",
        "plan",
        "root",
        "scopes",
        "services",
    )

    def __init__(self, plan: Plan, plan_hash: str | None = None) -> None:
        self.plan = plan
        self.hash = plan_hash or plan.hash
        self.named: dict[str, Named] = {}
        self.scopes: dict[str, tuple[str, ...]] = {}
        """For each name, the names of the ``Each`` nodes around it, outermost first."""
        self.places: dict[str, Place] = {}
        """Where each name stands; callbacks stand nowhere."""
        self.irreversible: set[str] = set()
        """Pivots that can't be taken back once they may have taken effect; for an atomic group with
        such a pivot, the branch that may commit in one phase."""
        self.grouped: dict[str, Atomic] = {}
        """For each branch, its atomic group."""
        body = Sequence((plan.body, Let(RESULT, plan.result)))
        self.root = self._placed(body, None, 0, (), count())
        for event in CALLBACKS:
            for position, call in enumerate(plan.callbacks.get(event, ())):
                self.named[callback_name(event, position)] = call
        self.services = {node.service for node in self.named.values() if isinstance(node, Call)}
        """Those that it calls, callbacks and the branches of groups among them."""

    def call(self, name: str) -> Call:
        """The step of this name, which must be a participant's action."""
        node = self.named[name]
        if not isinstance(node, Call):
            raise KeyError(name)
        return node

    def _group(self, group: Atomic) -> None:
        for branch in group.branches:
            self.grouped[branch.name] = group
        alone = one_phase(group)
        if alone is not None and any(map(_is_irreversible, group.branches)):
            self.irreversible.add(alone)

    def _placed(
        self,
        node: Node,
        parent: Place | None,
        position: int,
        around: tuple[str, ...],
        numbers: Iterator[int],
    ) -> Place:
        place = Place(node, parent, position, next(numbers))
        if isinstance(node, Named):
            self.named[node.name] = node
            self.scopes[node.name] = around
            self.places[node.name] = place
        if isinstance(node, Atomic):
            self._group(node)
        elif _is_irreversible(node) and node.name not in self.grouped:
            self.irreversible.add(node.name)
        inner = (*around, node.name) if isinstance(node, Each) else around
        for child in children(node):
            place.children.append(self._placed(child, place, len(place.children), inner, numbers))
        return place


def one_phase(group: Atomic) -> str | None:
    """The branch that may commit at once when it is asked to vote: the last one, or the only one
    with a database.
    """
    last = group.branches[-1]
    alone = len(group.branches) == 1 and last.branch == "database"
    return last.name if alone or last.branch == "last" else None


def _is_irreversible(node: Node) -> TypeGuard[Call]:
    return isinstance(node, Call) and node.pivot and node.undo is None and not node.read_only


def callback_name(event: str, position: int) -> str:
    """The step name of a callback; the ``@`` keeps it apart from a saga's own steps."""
    return f"@{event}.{position}" if position else f"@{event}"
