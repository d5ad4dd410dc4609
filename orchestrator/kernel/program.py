"""A plan made ready to run: its nodes by name, with the scopes around them.

Derived from the plan once, shared by every run of it.
"""

from __future__ import annotations

from orchestrator.definition.plan import (
    CALLBACKS,
    Call,
    Each,
    Let,
    Node,
    Plan,
    Sleep,
    Wait,
    When,
    children,
)

Named = Call | Wait | Sleep | Let | When | Each


class Program:
    """A plan and its index."""

    __slots__ = ("hash", "named", "plan", "scopes")

    def __init__(self, plan: Plan, plan_hash: str | None = None) -> None:
        self.plan = plan
        self.hash = plan_hash or plan.hash
        self.named: dict[str, Named] = {}
        self.scopes: dict[str, tuple[str, ...]] = {}
        """For each name, the names of the ``Each`` nodes around it, outermost first."""
        self._index(plan.body, ())
        for event in CALLBACKS:
            for position, call in enumerate(plan.callbacks.get(event, ())):
                self.named[callback_name(event, position)] = call

    def call(self, name: str) -> Call:
        """The step of this name, which must be a participant's action."""
        node = self.named[name]
        if not isinstance(node, Call):
            raise KeyError(name)
        return node

    def _index(self, node: Node, around: tuple[str, ...]) -> None:
        if isinstance(node, Named):
            self.named[node.name] = node
            self.scopes[node.name] = around
        inner = (*around, node.name) if isinstance(node, Each) else around
        for child in children(node):
            self._index(child, inner)


def callback_name(event: str, position: int) -> str:
    """The step name of a callback; the ``@`` keeps it apart from a saga's own steps."""
    return f"@{event}.{position}" if position else f"@{event}"
