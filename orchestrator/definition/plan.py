"""The plan: what a saga is once it is compiled, pure data with a content hash.

The coordinator runs plans and never sees user code, so a deploy can't change a run in flight.
A plan is a tree of nodes; its leaves are the steps. Values are described by expressions over the
run's input and the results of earlier steps, evaluated by ``kernel.expressions``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Path = tuple[str, ...]
"""A place inside a value: names of fields, positions in lists, ``*`` for any. ``()`` is all of it."""


class _Data(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Tagged, so that a plan read back from its JSON is the plan that was written."""


class Const(_Data, frozen=True):
    """A value fixed when the saga was defined, as JSON."""

    value: Any


class Param(_Data, frozen=True):
    """A parameter of the saga: a field of the run's input."""

    name: str


class Result(_Data, frozen=True):
    """The result of an earlier step.

    ``shared`` is how many enclosing ``Each`` scopes the reader and the step have in common; over
    the step's further scopes the value is a list.
    """

    step: str
    shared: int = 0


class Item(_Data, frozen=True):
    """The current item of the enclosing ``Each`` at nesting ``depth`` (0 is the outermost)."""

    depth: int


class Field(_Data, frozen=True):
    """A field of a record."""

    of: Expr
    name: str


class Element(_Data, frozen=True):
    """An element of a list or a mapping."""

    of: Expr
    key: int | str


Kind = Literal["number", "decimal", "text", "bool", "datetime", "date", "duration", "any"]
"""How an operand's JSON is read before an operator is applied."""

Operator = Literal[
    "+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "not", "neg", "in"
]


class Operation(_Data, frozen=True):
    """An operator applied to one or two expressions."""

    op: Operator
    args: tuple[Expr, ...]
    kind: Kind = "any"
    other: Kind = "any"


class Record(_Data, frozen=True):
    """A mapping built from expressions."""

    fields: dict[str, Expr]


class Listing(_Data, frozen=True):
    """A list built from expressions."""

    items: tuple[Expr, ...]


Expr = Const | Param | Result | Item | Field | Element | Operation | Record | Listing


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """When and how often a failed attempt is tried again. Durations are in seconds.

    ``final`` holds qualified names of error types that are never retried.
    """

    attempts: int | None = 5
    budget_s: float | None = None
    strategy: Literal["exponential", "linear", "fixed"] = "exponential"
    initial_s: float = 0.2
    factor: float = 2.0
    cap_s: float = 30.0
    jitter: float = 0.25
    final: tuple[str, ...] = ()


class Undo(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a step's compensation is carried out."""

    name: str
    timeout_s: float
    retry: RetryPolicy


class Finish(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a branch of an atomic group takes the decision: a participant's confirm or cancel."""

    name: str
    timeout_s: float
    retry: RetryPolicy


Branch = Literal["", "database", "tcc", "last", "reader"]
"""How a call takes part in an atomic group: not at all; as a prepared transaction; by
try, confirm and cancel; by committing in one phase after all others have voted; as one that changes
nothing.
"""


class Call(_Data, frozen=True):
    """A step: one participant's action."""

    name: str
    service: str
    participant: str
    queue: str
    args: dict[str, Expr]
    timeout_s: float
    retry: RetryPolicy
    undo: Undo | None = None
    pivot: bool = False
    read_only: bool = False
    barrier: bool = False
    """The participant has a database, so a barrier row settles whether the action took effect."""
    source: str = ""
    """File and line of the call, for lint."""
    branch: Branch = ""
    confirm: Finish | None = None
    cancel: Finish | None = None
    redacted: tuple[Path, ...] = ()
    """Places in the arguments that nobody is shown."""
    redacted_result: tuple[Path, ...] = ()

    @property
    def compensable(self) -> bool:
        """Whether an undo can be sent: a barrier can always leave a tombstone, even with
        nothing to reverse.
        """
        return not self.read_only and (self.undo is not None or self.barrier)


class Wait(_Data, frozen=True):
    """A step that ends when a signal arrives; without it, it fails after ``timeout_s``."""

    name: str
    signal: str
    timeout_s: float | None = None
    type: str = ""
    redacted: tuple[Path, ...] = ()
    """Places in what the signal carries that nobody is shown."""


class Sleep(_Data, frozen=True):
    """A step that ends after a duration in seconds."""

    name: str
    duration: Expr


class Let(_Data, frozen=True):
    """A named expression: the result of a saga inside a saga."""

    name: str
    value: Expr


class Sequence(_Data, frozen=True):
    """Nodes one after the other."""

    nodes: tuple[Node, ...]


class Parallel(_Data, frozen=True):
    """Branches at the same time; ended when all are."""

    branches: tuple[Node, ...]


class When(_Data, frozen=True):
    """A branch taken if a condition holds."""

    name: str
    condition: Expr
    then: Node
    otherwise: Node | None = None


class Each(_Data, frozen=True):
    """A body run for every item of a list known only at run time, all at the same time."""

    name: str
    items: Expr
    body: Node


class Atomic(_Data, frozen=True):
    """Calls that take effect together or not at all. ``timeout_s`` is for one attempt, from its
    beginning to its decision.
    """

    name: str
    branches: tuple[Call, ...]
    timeout_s: float
    retry: RetryPolicy = RetryPolicy()
    source: str = ""


Step = Call | Wait | Sleep
Node = Call | Wait | Sleep | Let | Sequence | Parallel | When | Each | Atomic

CALLBACKS = ("on_completed", "on_compensated", "on_stuck")


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A compiled saga."""

    saga: str
    version: int
    parameters: dict[str, str]
    """Parameter names with their types' names, in order."""
    body: Sequence
    result: Expr = Const(None)
    timeout_s: float | None = None
    callbacks: dict[str, tuple[Call, ...]] = {}
    optional: tuple[str, ...] = ()
    """Parameters that have a default."""
    redacted: tuple[Path, ...] = ()
    """Places in the input that nobody is shown."""
    redacted_result: tuple[Path, ...] = ()

    def encoded(self) -> bytes:
        """The canonical JSON: keys sorted, so that equal plans have equal bytes."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex. Source positions don't count."""
        return hashlib.sha256(
            msgspec.json.encode(_without_sources(self), order="sorted")
        ).hexdigest()

    def steps(self) -> Iterator[tuple[Step, int]]:
        """Every step with the number of ``Each`` scopes around it, in the order it is written."""
        yield from _steps(self.body, 0)


def decode_plan(data: bytes) -> Plan:
    """Read a plan back from its canonical JSON."""
    return msgspec.json.decode(data, type=Plan)


def instance_key(name: str, index: tuple[int, ...]) -> str:
    """The key of one instance of a step: its name, and its place in the scopes around it."""
    return f"{name}[{','.join(map(str, index))}]" if index else name


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly inside a node."""
    match node:
        case Sequence():
            return node.nodes
        case Parallel() | Atomic():
            return node.branches
        case When():
            return (node.then,) if node.otherwise is None else (node.then, node.otherwise)
        case Each():
            return (node.body,)
        case _:
            return ()


def _steps(node: Node, depth: int) -> Iterator[tuple[Step, int]]:
    if isinstance(node, Call | Wait | Sleep):
        yield node, depth
        return
    inner = depth + isinstance(node, Each)
    for child in children(node):
        yield from _steps(child, inner)


def _without_sources(plan: Plan) -> Any:
    return _stripped(msgspec.to_builtins(plan))


def _stripped(data: Any) -> Any:
    if isinstance(data, dict):
        has_source = data.get("is") in {"Call", "Atomic"}
        return {
            key: _stripped(value)
            for key, value in data.items()
            if not (has_source and key == "source")
        }
    if isinstance(data, list | tuple):
        return [_stripped(value) for value in data]
    return data
