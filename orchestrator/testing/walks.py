"""Random walks: for sagas with more worlds than can be explored, and for more faults than pay.

What isn't found this way isn't proved. The same seed takes the same walks, in every process.
"""

from __future__ import annotations

from random import Random
from typing import Any

from orchestrator.kernel.state import ENDED
from orchestrator.testing.abstract import Abstract
from orchestrator.testing.explorer import Explored, Found, Progress
from orchestrator.testing.moves import COST, Move, onward, possible
from orchestrator.testing.retrace import Retraced, retrace
from orchestrator.testing.rules import Violated, check_rest, outcome_of
from orchestrator.testing.steps import first, follow
from orchestrator.testing.world import Space

_MOVES_MAX = 300
_TROUBLE = 0.25
"""How often, where a fault may still be spent, it is."""
_REST = 0.3
"""How often a run that has come to rest is left to it, while something could still come late."""
_TELL_EVERY = 100


def walk(
    space: Space,
    shape: Abstract,
    *,
    faults: int,
    walks: int,
    seed: int,
    into: Explored,
    progress: Progress | None = None,
) -> None:
    """Take ``walks`` of them, with up to ``faults`` faults each; stops at the first violation, made shorter."""
    for number in range(walks):
        chance = Random(f"{seed}:{number}")
        given = {name: chance.choice(values) for name, values in shape.choices.items()}
        moves: list[Move] = []
        try:
            _one(space, given, chance, faults, moves, into)
        except Violated as violated:
            into.found = _shortened(
                space, Found(violated.invariant, violated.what, given, tuple(moves), _cost(moves))
            )
            return
        into.depth = max(into.depth, len(moves))
        if progress is not None and number % _TELL_EVERY == 0:
            progress(number + 1, walks - number - 1, faults)


def _one(
    space: Space,
    given: dict[str, Any],
    chance: Random,
    faults: int,
    moves: list[Move],
    into: Explored,
) -> None:
    world = first(space, given)
    while len(moves) < _MOVES_MAX:
        into.worlds += 1
        at_rest = next(onward(world), None) is None
        if at_rest:
            check_rest(space, world)
        trouble = _cost(moves) < faults and chance.random() < _TROUBLE
        ahead = [m for m in possible(space, world, trouble=trouble) if trouble or not COST[m.what]]
        if not ahead or (at_rest and chance.random() < _REST):
            break
        move = chance.choice(ahead)
        moves.append(move)
        into.transitions += 1
        world = follow(space, world, move)
    if world.run.phase in ENDED or world.run.parked:
        into.endings[outcome_of(world.run).status] += 1


def _cost(moves: list[Move]) -> int:
    return sum(COST[move.what] for move in moves)


def _shortened(space: Space, found: Found) -> Found:
    """Leave out whatever the violation doesn't need, one move at a time."""
    place = 0
    while place < len(found.moves):
        fewer = [*found.moves[:place], *found.moves[place + 1 :]]
        shorter = _again(space, found, fewer)
        if shorter is None:
            place += 1
        else:
            found = shorter
    return found


def _again(space: Space, found: Found, moves: list[Move]) -> Found | None:
    """The same violation with fewer faults or moves, if these moves lead to it."""
    done = Retraced()
    try:
        retrace(space, found.given, moves, done)
    except Violated as violated:
        size = (_cost(done.moves), len(done.moves))
        if violated.invariant == found.invariant and size < (found.faults, len(found.moves)):
            return Found(violated.invariant, violated.what, found.given, tuple(done.moves), size[0])
    return None
