"""What a saga's own invariants are given by ``saga verify``: the effects there were, and how the run ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec


class Effect(NamedTuple):
    """Something a participant did, or took back."""

    step: str
    """The step's name; with its place, as ``book[0]``, inside ``.map()``."""
    participant: str
    """``service.action``."""
    undone: bool
    """Whether it was taken back, rather than done."""


class Ledger:
    """Every effect, in the order in which they happened."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[Effect]) -> None:
        self.entries = tuple(entries)

    def did(self, step: str) -> bool:
        """Whether the step took effect, whatever became of it."""
        return any(e.step == step and not e.undone for e in self.entries)

    def undid(self, step: str) -> bool:
        """Whether the step's effect was taken back."""
        return any(e.step == step and e.undone for e in self.entries)

    def holds(self, step: str) -> bool:
        """Whether the step's effect stands at the end."""
        return sum(-1 if e.undone else 1 for e in self.entries if e.step == step) > 0

    def before(self, first: str, second: str) -> bool:
        """Whether ``first`` took effect, and did so before ``second``, or ``second`` never did."""
        order = [e.step for e in self.entries if not e.undone]
        if second not in order:
            return first in order
        return first in order[: order.index(second)]

    def __repr__(self) -> str:
        return (
            "Ledger(" + ", ".join(("-" if e.undone else "+") + e.step for e in self.entries) + ")"
        )


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended."""

    status: Literal["completed", "compensated", "stuck"]
    reason: str
    """Why it is stuck, or was compensated."""


Invariant = Callable[[Ledger, Outcome], bool | None]
"""Raises ``AssertionError``, or returns False, where something is wrong."""
