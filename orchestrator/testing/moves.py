"""What can happen next in a world: what is expected to, for nothing, and every kind of trouble, for one fault each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from orchestrator.definition.plan import Call, Wait
from orchestrator.errors import InvalidInputError
from orchestrator.kernel.commands import Execute, Timer
from orchestrator.kernel.state import Status
from orchestrator.testing.participants import REFUSED
from orchestrator.testing.world import Copy, Space, World


class Move(NamedTuple):
    """One thing that happens. ``step`` is a step, or a signal's name, or nothing."""

    what: str
    step: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.step}".strip()


COST: dict[str, int] = {
    "do": 0, "undo": 0, "callback": 0,  # it is carried out, and the answer is heard
    "prepare": 0, "commit": 0, "abort": 0,
    "wake": 0,  # a retry's time has come
    "slept": 0,
    "signal": 0,  # in time
    "arrive-do": 0, "arrive-undo": 0, "arrive-callback": 0,  # a copy, at last
    "old-do": 0, "old-undo": 0, "old-callback": 0,  # a copy sent by a coordinator since replaced
    "arrive-prepare": 0, "arrive-commit": 0, "arrive-abort": 0,
    "old-prepare": 0, "old-commit": 0, "old-abort": 0,
    "refuse": 1,
    "fail": 1,
    "fail-after": 1,
    "lose": 1,
    "late": 1,
    "double": 1,
    "never-undone": 1,
    "crash": 1,
    "crash-unwritten": 1,  # with votes and acknowledgements that weren't written yet
    "group-timeout": 1,
    "cancel": 1,
    "saga-timeout": 1,
    "no-signal": 1,
    "early-signal": 1, "again-signal": 1, "double-signal": 1,
}  # fmt: skip
"""Every kind of move, and how many faults it costs."""

SIGNALS_MAX = 3


def parse(trace: str) -> list[Move]:
    """Read moves as a counterexample prints them. Raises ``InvalidInputError``."""
    moves = []
    for part in filter(None, (text.strip() for text in trace.split(";"))):
        what, _, step = part.partition(" ")
        if what not in COST:
            raise InvalidInputError(
                f"{part!r} is no move of a trace; known are {', '.join(sorted(COST))}"
            )
        moves.append(Move(what, step.strip()))
    return moves


def possible(
    space: Space, world: World, *, trouble: bool, every_order: bool = True
) -> Iterator[Move]:
    """Every move, those for nothing first; with ``trouble`` those that cost a fault too.

    Without ``every_order`` only one of the steps that run beside each other goes on: docs/verify.md says when that
    loses nothing.
    """
    ahead = onward(world)
    yield from ahead if every_order else islice(ahead, 1)
    for copy in sorted(world.copies):  # a set's order isn't the same in every process
        yield Move(f"{'old' if copy.old else 'arrive'}-{copy.kind}", copy.step)
    if not trouble:
        return
    for command in world.commands:
        if isinstance(command, Execute):
            if (command.step, command.kind, command.attempt) in world.out:
                yield from _troubles(space, world, command)
        elif command.step is None:
            yield Move("saga-timeout")
        elif world.run.steps[command.step].status is Status.WAITING:
            yield Move("no-signal", command.step)
        elif world.run.steps[command.step].status is Status.VOTING:
            yield Move("group-timeout", command.step)
    yield Move("cancel")
    yield Move("crash")
    if world.unwritten:
        yield Move("crash-unwritten")
    yield from _signals(space, world)


def onward(world: World) -> Iterator[Move]:
    """What happens by itself when nothing goes wrong, and nothing comes late."""
    for command in world.commands:
        match command:
            case Execute():
                sent = (command.step, command.kind, command.attempt) in world.out
                yield Move(command.kind if sent else "wake", command.step)
            case Timer(step=str() as step) if world.run.steps[step].status is Status.SLEEPING:
                yield Move("slept", step)
            case _:
                pass
    for state in world.run.steps.values():
        node = world.run.program.named[state.name]
        if state.status is Status.WAITING and isinstance(node, Wait):
            yield Move("signal", node.signal)


def _troubles(space: Space, world: World, command: Execute) -> Iterator[Move]:
    step = command.step
    state = world.run.steps[step]
    call = space.program.call(state.name)
    if command.kind in {"do", "prepare"}:
        yield from _troubles_of_action(space, world, step, call)
    yield Move("fail", step)
    yield Move("lose", step)
    yield Move("late", step)
    yield Move("double", step)
    if command.kind == "undo":
        yield Move("never-undone", step)


def _troubles_of_action(space: Space, world: World, step: str, call: Call) -> Iterator[Move]:
    record = world.records[step]
    settled = record.stands and not call.read_only
    refusing = space.facts[call.name].may_refuse is not False or not world.past
    if refusing and not settled and record.row != REFUSED:
        yield Move("refuse", step)
    if not call.barrier and not call.read_only and not settled:
        yield Move("fail-after", step)


def _signals(space: Space, world: World) -> Iterator[Move]:
    if len(world.sent) >= SIGNALS_MAX:
        return
    waits = [node for node in space.program.named.values() if isinstance(node, Wait)]
    awaited = {
        node.signal
        for node in waits
        if (step := world.run.steps.get(node.name)) is not None and step.status is Status.WAITING
    }
    for signal in sorted({node.signal for node in waits}):
        if signal in world.sent:
            yield Move("again-signal", signal)
            yield Move("double-signal", signal)
        elif signal not in awaited:
            yield Move("early-signal", signal)


def copy_of(world: World, move: Move) -> Copy | None:
    """The copy that a move is about."""
    age, _, kind = move.what.partition("-")
    for copy in sorted(world.copies):
        if copy.step == move.step and copy.kind == kind and copy.old == (age == "old"):
            return copy
    return None
