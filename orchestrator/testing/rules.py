"""The built-in invariants: what must hold of every world, and of every step from one to the next.

They are said in terms of participants and messages, not of the kernel's own bookkeeping, which they are to check.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.definition.invariant import Ledger, Outcome
from orchestrator.definition.plan import Call, instance_key
from orchestrator.kernel import events as ev
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.state import ENDED, Phase, RunState, Status
from orchestrator.kernel.two_phase import branches_of, group_of, is_group
from orchestrator.testing.participants import DONE, PREPARED, TOMBSTONE, UNDONE
from orchestrator.testing.participants import REFUSED as NO
from orchestrator.testing.world import Space, World

ENDINGS = "every run ends completed, compensated, or stuck with a reason"
COMPENSATED = "compensated means that every effect is undone"
COMPLETED = "completed means that every step took effect"
FORWARD = "nothing runs forward once compensation has begun"
UNDO = "no undo without its action having been sent, nor before the undo of what came after it"
PIVOT = "nothing is undone past the pivot"
ONCE = "each effect happens at most once"
PASSING = "trouble that passes never leaves a run stuck"
REFUSED = "no step can be refused past the pivot"
ATOMIC = "the branches of a group take effect together or not at all"
DECIDED = "no branch is told to commit before its group is decided"
LEFT = "nothing is left prepared at the end"
KERNEL = "the kernel knows what to do with every message"
IGNORED = "an answer that nobody waits for changes nothing"
RECOVERY = "a coordinator that takes over finds the same state in the journal"

BUILT_IN = (
    ENDINGS, COMPENSATED, COMPLETED, FORWARD, UNDO, PIVOT, ONCE, PASSING, REFUSED, KERNEL, IGNORED,
    RECOVERY, ATOMIC, DECIDED, LEFT,
)  # fmt: skip


class Violated(AssertionError):  # noqa: N818 - what happened, as the other outcomes
    """An invariant doesn't hold: which, and what was seen. ``move`` led to it."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        self.what = what


def check_events(world: World, events: Iterable[ev.Event]) -> None:
    """What the kernel may not decide in this world."""
    for event in events:
        if isinstance(event, ev.CompensationStarted) and world.past:
            raise Violated(PIVOT, "compensation begins although the pivot has taken effect")


def check_sent(space: Space, world: World, run: RunState, command: Execute) -> None:
    """Whether ``command`` may be sent, which it hasn't been before."""
    step = command.step
    if command.kind in {"do", "prepare"} and (world.back or run.phase is Phase.COMPENSATING):
        raise Violated(FORWARD, f"{step} is sent")
    if command.kind == "commit":
        group = group_of(run, step)
        if group is None or run.steps[group].status is not Status.CONFIRMING:
            raise Violated(DECIDED, f"the commit of {step} is sent")
    if command.kind != "undo":
        return
    if world.past:
        raise Violated(PIVOT, f"the undo of {step} is sent although the pivot has taken effect")
    if step not in world.records:
        raise Violated(UNDO, f"the undo of {step} is sent, and {step} never was")
    state = run.steps[step]
    for name, depth in space.later[state.name]:
        for key in _alongside(run, name, state.index[:depth]):
            other = world.records.get(key)
            parked = run.steps[key].status is Status.UNDO_PARKED or run.steps[key].released
            if other is not None and other.row in {DONE, PREPARED} and not parked:
                raise Violated(UNDO, f"the undo of {step} is sent while {key} still stands")


def check_round(world: World, run: RunState, step: str) -> None:
    """Whether a branch may be asked for its vote anew."""
    record = world.records.get(step)
    if record is None or run.program.call(run.steps[step].name).read_only:
        return
    if record.row not in {TOMBSTONE, NO}:
        raise Violated(ATOMIC, f"{step} is asked to vote again, and isn't taken back")


def _alongside(run: RunState, name: str, index: tuple[int, ...]) -> list[str]:
    if name in run.steps:
        return [name]
    return [
        key
        for key, step in run.steps.items()
        if step.name == name and step.index[: len(index)] == index
    ]


def check_world(space: Space, world: World) -> None:
    """What must hold at any moment."""
    for step, record in world.records.items():
        if record.did > 1:
            raise Violated(ONCE, f"{step} took effect {record.did} times")
    if world.run.program.grouped:
        _check_groups(world)
    phase = world.run.phase
    if phase is Phase.COMPENSATED:
        left = [step for step, record in world.records.items() if record.stands]
        if left:
            raise Violated(COMPENSATED, f"the effect of {', '.join(left)} is left")
    elif phase is Phase.COMPLETED:
        _check_completed(world)
    if phase in ENDED and space.invariants:
        check_own(space, world)


def _check_groups(world: World) -> None:
    run = world.run
    for key in [key for key in run.steps if is_group(run, key)]:
        rows = {
            branch: world.records[branch].row
            for branch, _, call in branches_of(run, key)
            if branch in world.records and not call.read_only
        }
        did = [branch for branch, row in rows.items() if row in {DONE, UNDONE}]
        did_not = [branch for branch, row in rows.items() if row not in {DONE, UNDONE, PREPARED}]
        if did and did_not:
            raise Violated(ATOMIC, f"{', '.join(did)} did, and {', '.join(did_not)} did not")
        left = [branch for branch, row in rows.items() if row == PREPARED]
        if left and run.phase in ENDED:
            raise Violated(LEFT, f"{', '.join(left)} is")


def _check_completed(world: World) -> None:
    run = world.run
    for step in run.steps.values():
        node = run.program.named[step.name]
        if isinstance(node, Call) and not node.read_only and step.name in run.program.places:
            record = world.records.get(instance_key(step.name, step.index))
            if record is None or not record.stands:
                raise Violated(COMPLETED, f"{step.name} has no effect")


def check_rest(space: Space, world: World) -> None:
    """What must hold where nothing goes on by itself."""
    run = world.run
    if run.phase in ENDED and not run.parked:
        return
    if not run.parked:
        raise Violated(ENDINGS, f"it is {run.phase.value}, nothing is pending, and nobody is told")
    for key in run.parked:
        if not run.steps[key].reason:
            raise Violated(ENDINGS, f"{key} is parked without a reason")
    why = "; ".join(f"{key}: {run.steps[key].reason}" for key in run.parked)
    if not world.lasting:
        raise Violated(PASSING, why)
    if run.pivoted and run.phase is Phase.FORWARD:
        for key in run.parked:
            step = run.steps[key]
            if step.refused and space.facts[step.name].may_refuse:
                raise Violated(REFUSED, f"{key} is refused, and nothing can be undone any more")
    if run.phase not in ENDED and space.invariants:
        check_own(space, world)


def check_own(space: Space, world: World) -> None:
    """The saga's own invariants."""
    outcome = outcome_of(world.run)
    for invariant in space.invariants:
        name = getattr(invariant, "__name__", repr(invariant))
        try:
            holds = invariant(Ledger(world.ledger), outcome)
        except AssertionError as error:
            said = str(error).partition("\n")[0]
            raise Violated(name, said or f"it fails of {Ledger(world.ledger)}") from error
        if holds is False:
            raise Violated(name, f"it is False of {Ledger(world.ledger)}")


def outcome_of(run: RunState) -> Outcome:
    """How a run that has come to rest ended."""
    if run.phase is Phase.COMPLETED:
        return Outcome("completed", "")
    if run.phase is Phase.COMPENSATED:
        return Outcome("compensated", run.reason)
    return Outcome("stuck", "; ".join(f"{key}: {run.steps[key].reason}" for key in run.parked))
