"""Following a trace, in the saga it was found in or in one that has been mended since.

A regression test must go on meaning something when the saga changes: what isn't possible where the trace has it is
waited for while the run goes on by itself, what doesn't become possible at all is left out, and the run is brought to
its end.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.definition.plan import Wait
from orchestrator.errors import InvalidInputError
from orchestrator.testing.moves import Move, onward, possible
from orchestrator.testing.rules import Violated, check_rest
from orchestrator.testing.steps import first, follow
from orchestrator.testing.world import Space, World


class Retraced(msgspec.Struct):
    """What was done, so far as it came."""

    moves: list[Move] = []
    left_out: list[Move] = []


def retrace(space: Space, given: dict[str, Any], moves: list[Move], into: Retraced) -> None:
    """Follow a trace and add to ``into`` what was done. Raises ``Violated``, the move that led to it added too.

    Raises ``InvalidInputError`` for steps that the saga hasn't got, and for a trace of which nothing is possible.
    """
    _check_names(space, moves)
    world = first(space, given)
    for move in moves:
        ahead = _way_to(space, world, move)
        if ahead is None:
            into.left_out.append(move)
            continue
        for one in (*ahead, move):
            into.moves.append(one)
            world = follow(space, world, one)
    while (further := next(onward(world), None)) is not None:
        into.moves.append(further)
        world = follow(space, world, further)
    check_rest(space, world)


def _check_names(space: Space, moves: list[Move]) -> None:
    named = space.program.named
    signals = {node.signal for node in named.values() if isinstance(node, Wait)}
    for move in moves:
        name = move.step.partition("[")[0]
        if name and name not in named and name not in signals:
            raise InvalidInputError(
                f"the trace can't be followed: the saga has no {name!r} any more, which {str(move)!r} is about"
            )


def _way_to(space: Space, world: World, move: Move) -> list[Move] | None:
    """What has to happen by itself before ``move`` is possible; None if it doesn't become so."""
    way: list[Move] = []
    while move not in set(possible(space, world, trouble=True)):
        further = next(onward(world), None)
        if further is None:
            return None
        try:
            world = follow(space, world, further)
        except Violated:
            return None  # found again, and told, on the way to the end
        way.append(further)
    return way
