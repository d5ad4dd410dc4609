"""The explorer: every world that can be reached with so many faults, each once, those with fewer faults first.

A world that was reached with fewer faults needs no second look with more, so the number of faults is no part of what
makes two worlds the same; and the first counterexample found has the fewest faults, and of those the fewest moves.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from orchestrator.kernel.state import ENDED
from orchestrator.testing.moves import COST, Move, onward, possible
from orchestrator.testing.rules import Violated, check_rest, outcome_of
from orchestrator.testing.steps import first, follow
from orchestrator.testing.world import Space, World, key

Progress = Callable[[int, int, int], None]
"""Told now and then: worlds seen, worlds waiting, faults so far."""

_TELL_EVERY = 500


class Found(msgspec.Struct, frozen=True):
    """A violation, and the moves that lead to it."""

    invariant: str
    what: str
    given: dict[str, Any]
    moves: tuple[Move, ...]
    faults: int


class Explored(msgspec.Struct):
    """What an exploration saw."""

    worlds: int = 0
    transitions: int = 0
    depth: int = 0
    """The most moves from the launch."""
    endings: Counter[str] = msgspec.field(default_factory=Counter)
    """Worlds at rest, by how the run ended."""
    cut: bool = False
    """There were more worlds than it was allowed to see."""
    found: Found | None = None


_Path = tuple["_Path | None", Move]
"""Moves, the latest first; it holds no world, so that a world can go once it has been expanded."""


class _Node(NamedTuple):
    world: World
    path: _Path | None
    depth: int


def explore(
    space: Space,
    given: dict[str, Any],
    *,
    faults: int,
    worlds_max: int,
    into: Explored,
    progress: Progress | None = None,
) -> None:
    """Explore one scenario and add what it shows to ``into``; stops at the first violation."""
    with _uncollected():
        _explore(space, given, faults, worlds_max, into, progress)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for reference cycles: worlds hold none, and going through all of them costs a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _explore(
    space: Space,
    given: dict[str, Any],
    faults: int,
    worlds_max: int,
    into: Explored,
    progress: Progress | None,
) -> None:
    try:
        start = first(space, given)
    except Violated as violated:
        into.found = Found(violated.invariant, violated.what, given, (), 0)
        return
    layers: list[deque[_Node]] = [deque() for _ in range(faults + 1)]
    layers[0].append(_Node(start, None, 0))
    seen: set[Any] = set()
    for spent, layer in enumerate(layers):
        while layer:
            node = layer.popleft()
            mark = key(space, node.world)
            if mark in seen:
                continue
            if into.worlds >= worlds_max:
                into.cut = True
                return
            seen.add(mark)
            into.worlds += 1
            into.depth = max(into.depth, node.depth)
            if progress is not None and into.worlds % _TELL_EVERY == 0:
                progress(into.worlds, sum(map(len, layers)), spent)
            if _expand(space, node, given, spent, layers, into):
                return


def _expand(
    space: Space,
    node: _Node,
    given: dict[str, Any],
    spent: int,
    layers: list[deque[_Node]],
    into: Explored,
) -> bool:
    """Make every move there is; whether one violates an invariant."""
    world = node.world
    move: Move | None = None
    trouble = spent + 1 < len(layers)
    every_order = trouble or not space.one_order
    try:
        if next(onward(world), None) is None:
            check_rest(space, world)
            if world.run.phase in ENDED or world.run.parked:
                into.endings[outcome_of(world.run).status] += 1
        for move in possible(space, world, trouble=trouble, every_order=every_order):
            into.transitions += 1
            after = follow(space, world, move)
            further = _Node(after, (node.path, move), node.depth + 1)
            layers[spent + COST[move.what]].append(further)
    except Violated as violated:
        moves = _moves(node.path if move is None else (node.path, move))
        cost = spent + (COST[move.what] if move is not None else 0)
        into.found = Found(violated.invariant, violated.what, given, moves, cost)
        return True
    return False


def _moves(path: _Path | None) -> tuple[Move, ...]:
    moves: list[Move] = []
    while path is not None:
        moves.append(path[1])
        path = path[0]
    return tuple(reversed(moves))
