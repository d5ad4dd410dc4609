"""One world: a run, its participants, what is on its way between them. And when two worlds are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from orchestrator.definition.facts import NOTHING_KNOWN, Facts
from orchestrator.definition.invariant import Effect, Invariant
from orchestrator.definition.plan import Call, Each, Node, Parallel, Sequence, children
from orchestrator.kernel.commands import Command, Execute
from orchestrator.kernel.events import CommandKind, Event
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import EXECUTING, GROUP_OPEN, Phase, RunState, Status, StepState
from orchestrator.testing.participants import Record

Identity = tuple[str, CommandKind, int]
"""Step, kind, attempt."""
Log = tuple["Log | None", list[Event]]
"""Events, the latest first."""


class Copy(NamedTuple):
    """A command still on its way although nobody waits for it, or one more of a kind."""

    step: str
    kind: CommandKind
    attempt: int
    old: bool
    """Sent by a coordinator that has been replaced."""


class Space:
    """What all worlds of one exploration share."""

    def __init__(
        self,
        program: Program,
        facts: Mapping[str, Facts],
        invariants: tuple[Invariant, ...] = (),
        *,
        careless: bool = False,
        one_order: bool = True,
    ) -> None:
        self.program = program
        self.invariants = invariants
        self.careless = careless
        self.one_order = one_order and not invariants
        """Steps beside each other go on in one order where no fault can come between them."""
        self.facts = {
            name: facts.get(f"{node.service}.{node.participant}", NOTHING_KNOWN)
            for name, node in program.named.items()
            if isinstance(node, Call)
        }
        self.later = dict(_later(program))
        self.symmetric = () if invariants else tuple(_symmetric(program.plan.body, self.facts))
        """Groups of branches, each a tuple of step names, that nothing but their names tells apart."""


class World(msgspec.Struct, frozen=True):
    """A moment of a run and everything around it. Only ever replaced, never changed."""

    run: RunState
    now: float
    commands: tuple[Command, ...]
    """What is pending."""
    out: frozenset[Identity]
    """Of that, what has been sent; each is on its way once."""
    log: Log
    records: dict[str, Record] = {}
    copies: frozenset[Copy] = frozenset()
    heard: frozenset[str] = frozenset()
    """Services that have heard from the present coordinator."""
    sent: tuple[str, ...] = ()
    """Signals sent, in order."""
    past: bool = False
    """The pivot has succeeded."""
    back: bool = False
    """Compensation has begun."""
    lasting: bool = False
    """Something happened that no waiting mends: it may well be stuck."""
    ledger: tuple[Effect, ...] = ()
    unwritten: int = 0
    """How many of the latest turns a coordinator may not have written yet: nothing depends on them."""

    def command(self, step: str) -> Execute | None:
        """What is pending for a step."""
        for command in self.commands:
            if isinstance(command, Execute) and command.step == step:
                return command
        return None


def key(space: Space, world: World) -> Any:
    """Equal for worlds whose futures are the same: times count from now, history only as far as it matters."""
    run, now = world.run, world.now
    steps = {
        name: _step(space, step, world, name)
        for name, step in run.steps.items()
        if name[0] != "@" or step.status in _CALLBACKS
    }
    for copy in world.copies:
        if copy.step not in steps:
            steps[copy.step] = ()
    for copy in world.copies:
        current = copy.attempt if (copy.step, copy.kind, copy.attempt) in world.out else 0
        steps[copy.step] = (*steps[copy.step], (copy.kind, current, copy.old))
    if world.copies:
        steps = {name: _ordered(step) for name, step in steps.items()}
    stale = {copy.step for copy in world.copies if copy.old}
    heard = (
        frozenset(name for name in stale if _service(space, world, name) in world.heard)
        if stale
        else None
    )
    deadline = run.deadline
    left = None if deadline is None or run.phase is not Phase.FORWARD else round(deadline - now, 3)
    return (
        id(run.phase),
        run.pivoted,
        world.past,
        world.back,
        world.lasting,
        left,
        run.signals,
        world.sent if run.phase is Phase.FORWARD else None,
        heard,
        world.ledger if space.invariants else None,
        world.unwritten,
        _folded(space, steps) if space.symmetric and heard is None else frozenset(steps.items()),
    )


def _ordered(step: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies in one order: they follow the first ten parts of a step."""
    return step[:_PARTS] + tuple(sorted(step[_PARTS:]))


_PARTS = 10
_CALLBACKS = EXECUTING | {Status.CALL_PARKED}
"""What is left to say of a callback."""


def _step(space: Space, step: StepState, world: World, name: str) -> tuple[Any, ...]:
    """Ten parts: the kernel's view and the participant's."""
    status, now = step.status, world.now
    record = world.records.get(name, _NO_RECORD)
    known = step.result is not None
    if status in GROUP_OPEN:
        again = round(step.retry_at - now, 3) if step.retry_at > now else 0.0
        return (
            id(status), step.attempt - step.base, round(step.due - now, 3), again, step.then,
            step.counts, False, round(now - step.since, 3), False, record,
        )  # fmt: skip
    if status in EXECUTING:
        since = 0.0
        call = space.program.call(step.name)
        undo = status is Status.UNDOING and call.undo is not None
        policy = call.undo.retry if undo and call.undo is not None else call.retry
        if policy.budget_s is not None:
            since = round(now - step.since, 3)
        due = round(step.due - now, 3) if step.due > now else 0.0
        return (
            id(status), step.attempt - step.base, due, since, step.doubt, step.reached,
            step.refused, known, step.released, record,
        )  # fmt: skip
    due = 0.0
    if status is Status.WAITING or status is Status.SLEEPING:
        due = step.due if step.due == math.inf else round(step.due - now, 3)
    return (
        id(status), 0, due, 0.0, step.doubt, step.reached, False, known, step.released, record,
    )  # fmt: skip


_NO_RECORD = Record()


def _folded(space: Space, steps: dict[str, tuple[Any, ...]]) -> Any:
    rest = dict(steps)
    groups = [
        tuple(sorted(tuple(rest.pop(name, ()) for name in branch) for branch in group))
        for group in space.symmetric
    ]
    return (*groups, frozenset(rest.items()))


def _service(space: Space, world: World, step: str) -> str:
    return space.program.call(world.run.steps[step].name).service


def _later(program: Program) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """For each action, those that a sequence puts after it, and how many fan-outs both are inside of."""
    calls = [step.name for step, _ in program.plan.steps() if isinstance(step, Call)]
    for name in calls:
        after = [(other, _precedes(program, name, other)) for other in calls if other != name]
        yield name, [(other, depth) for other, depth in after if depth is not None]


def _precedes(program: Program, first: str, second: str) -> int | None:
    one, other = (_path(program, name) for name in (first, second))
    depth = 0
    for (node, mine), (_, its) in zip(one, other, strict=False):
        if mine != its:
            return depth if isinstance(node, Sequence) and mine < its else None
        depth += isinstance(node, Each)
    return None


def _path(program: Program, name: str) -> list[tuple[Node, int]]:
    path: list[tuple[Node, int]] = []
    place = program.places[name]
    while place.parent is not None:
        path.append((place.parent.node, place.position))
        place = place.parent
    return path[::-1]


def _symmetric(node: Node, facts: Mapping[str, Facts]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Branches of a ``parallel()`` made of the same actions but for their names; outermost blocks only."""
    if isinstance(node, Parallel):
        alike: dict[Any, list[tuple[str, ...]]] = {}
        for branch in node.branches:
            parts = branch.nodes if isinstance(branch, Sequence) else (branch,)
            calls = [part for part in parts if isinstance(part, Call)]
            if len(calls) == len(parts):
                shape = tuple(_shape(call, facts[call.name]) for call in calls)
                alike.setdefault(shape, []).append(tuple(call.name for call in calls))
        yield from (tuple(group) for group in alike.values() if len(group) > 1)
        return
    if not isinstance(node, Each):
        for child in children(node):
            yield from _symmetric(child, facts)


def _shape(call: Call, facts: Facts) -> Any:
    undo = None if call.undo is None else (call.undo.timeout_s, call.undo.retry)
    known = (facts.may_refuse, facts.undo_is_empty, facts.undo_needs_result)
    return (
        call.timeout_s, call.retry, undo, call.pivot, call.read_only, call.barrier, known,
    )  # fmt: skip
