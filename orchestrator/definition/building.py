"""The saga being defined: calls made inside it are recorded here, block by block, until the plan is done.

One contextvar holds the current one; there is no other state outside the objects themselves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from orchestrator.definition.plan import Expr, Item, Node, Parallel, Result, Sequence, When
from orchestrator.definition.references import Place, Reference, expr_of, owner_of, places_of
from orchestrator.errors import DefinitionError

Shape = Literal["sequence", "parallel", "then", "otherwise", "each", "atomic"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OWN_MODULES = ("orchestrator.definition.", "orchestrator.participant.", "contextlib")


class Block:
    """An open block: where the nodes being recorded go. ``at`` is its own position in the block around it."""

    __slots__ = ("at", "last", "nodes", "shape", "source")

    def __init__(self, shape: Shape, at: int, source: str, last: object = None) -> None:
        self.shape = shape
        self.at = at
        self.source = source
        self.last = last
        """For an atomic group: the action that commits after all others have said yes."""
        self.nodes: list[Node] = []

    def node(self) -> Node:
        """The block as one node of the plan."""
        if self.shape == "parallel":
            return Parallel(tuple(self.nodes))
        return self.nodes[0] if len(self.nodes) == 1 else Sequence(tuple(self.nodes))


class Building:
    """A saga while its function runs."""

    def __init__(self, saga: str) -> None:
        self.saga = saga
        self.sources: dict[str, str] = {}
        """File and line of every named node."""
        self.signals: dict[str, Any] = {}
        """The type that each awaited signal carries."""
        self.actions: dict[str, Any] = {}
        """What is called, by ``service.action``."""
        self.inlining: list[object] = []
        """The sagas whose functions are running, outermost first."""
        self._prefix: tuple[str, ...] = ()
        self._blocks = [Block("sequence", 0, "")]

    # -- recording

    def add(self, node: Node) -> None:
        """Record a node in the open block."""
        self._blocks[-1].nodes.append(node)

    def name(self, base: str, *, explicit: bool = False) -> str:
        """A name for a node that no other has. An explicit one is taken as it is, or refused."""
        if not _NAME.fullmatch(base):
            raise self.error(f"{base!r} is no name for a step: letters, digits, _ and - only")
        return self._unique(".".join((*self._prefix, base)), explicit=explicit)

    def name_of_items(self, step: str) -> str:
        """The name of the fan-out around the step of this name."""
        return self._unique(f"{step}.items", explicit=False)

    def _unique(self, wanted: str, *, explicit: bool) -> str:
        name, number = wanted, 1
        while name in self.sources:
            if explicit:
                other = self.sources[name]
                raise self.error(f"two steps are named {name!r} (the other at {other}); rename one")
            number += 1
            name = f"{wanted}_{number}"
        self.sources[name] = caller()
        return name

    def place(self) -> Place:
        """Where the next node goes."""
        inner = [block.at for block in self._blocks[1:]]
        return tuple(zip(self._blocks, [*inner, len(self._blocks[-1].nodes)], strict=True))

    @property
    def depth(self) -> int:
        """How many ``Each`` scopes are open."""
        return sum(block.shape == "each" for block in self._blocks)

    @property
    def in_atomic(self) -> Block | None:
        """The atomic group that is open, if one is."""
        return next((block for block in self._blocks if block.shape == "atomic"), None)

    def result(self, step: str, type_: Any, place: Place) -> Reference:
        """The reference to what a node at ``place`` gave, for readers in the present scope."""
        return Reference(Result(step, self.depth), type_, self, (place,))

    # -- blocks

    @contextmanager
    def block(
        self, shape: Shape, *, at: int | None = None, last: object = None
    ) -> Generator[Block]:
        """Record into a block of its own until the end; the caller then adds its node."""
        outer = self._blocks[-1]
        block = Block(shape, len(outer.nodes) if at is None else at, caller(), last)
        self._blocks.append(block)
        try:
            yield block
        finally:
            self._blocks.pop()

    @contextmanager
    def within(self, name: str) -> Generator[None]:
        """Give the names in here a prefix."""
        self._prefix = (*self._prefix, name)
        try:
            yield
        finally:
            self._prefix = self._prefix[:-1]

    def item(self, type_: Any, depends_on: tuple[Place, ...]) -> Reference:
        """The current item of the fan-out whose block is open."""
        return Reference(Item(self.depth - 1), type_, self, (*depends_on, self.place()))

    def last_when(self) -> When | None:
        """The ``when`` block just closed, with nothing after it."""
        nodes = self._blocks[-1].nodes
        last = nodes[-1] if nodes else None
        return last if isinstance(last, When) and last.otherwise is None else None

    def replace_last(self, node: Node) -> None:
        """Put a node in the place of the last one."""
        self._blocks[-1].nodes[-1] = node

    def body(self) -> Sequence:
        """Everything recorded."""
        return Sequence(tuple(self._blocks[0].nodes))

    # -- reading

    def use(self, reference: Reference) -> Expr:
        """The expression of a reference that is read here. Raises ``DefinitionError`` where it can't be."""
        if owner_of(reference) is not self:
            raise self.error(
                f"{reference!r} belongs to another saga; pass the value in as a parameter"
            )
        here = self.place()
        for place in places_of(reference):
            self._check_readable(reference, place, here)
        return expr_of(reference)

    def _check_readable(self, reference: Reference, place: Place, here: Place) -> None:
        for position, (block, index) in enumerate(place):
            if position >= len(here) or here[position][0] is not block:
                if any(inner.shape == "each" for inner, _ in place[position:]):
                    raise self.error(
                        f"{reference!r} exists once for every item, inside .map() only; use the list that .map() gives"
                    )
                return
            if block.shape == "atomic" and here[position][1] != index:
                raise self.error(
                    f"{reference!r} comes from another step of the same atomic() group, which has no result before "
                    "all of them commit; make it one step, or read it after the group"
                )
            if block.shape == "parallel" and here[position][1] != index:
                raise self.error(
                    f"{reference!r} comes from another branch of the same parallel() block, which runs at the same "
                    "time; put both in `with sequence():`, or read it after the block"
                )

    def error(self, text: str, source: str | None = None) -> DefinitionError:
        """An error that says which saga and where: at ``source``, or else at the present call."""
        return DefinitionError(f"saga {self.saga!r}, {source or caller()}: {text}")


_current: ContextVar[Building | None] = ContextVar("saga_being_built", default=None)


def current() -> Building | None:
    """The saga being defined, if one is."""
    return _current.get()


def require(what: str, instead: str) -> Building:
    """The saga being defined; without one, ``DefinitionError`` that says what to do instead."""
    building = _current.get()
    if building is None:
        raise DefinitionError(
            f"{what} records a step and works only inside a @saga function; {instead}"
        )
    return building


@contextmanager
def building(started: Building) -> Generator[Building]:
    """Make this the saga being defined."""
    token = _current.set(started)
    try:
        yield started
    finally:
        _current.reset(token)


def caller() -> str:
    """File and line, outside this package, that made the present call."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads source files, and is slow
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(
        _OWN_MODULES
    ):
        frame = frame.f_back
    return f"{_shortened(frame.f_code.co_filename)}:{frame.f_lineno}"


def source_of(function: Callable[..., Any]) -> str:
    """File and line where a function is defined."""
    code = function.__code__
    return f"{_shortened(code.co_filename)}:{code.co_firstlineno}"


def _shortened(file: str) -> str:
    """Relative to where it is imported from, so that it is the same on every machine."""
    roots = [
        root.rstrip("/") + "/"
        for root in sys.path
        if root and file.startswith(root.rstrip("/") + "/")
    ]
    return file.removeprefix(max(roots, key=len, default=""))
