"""What must hold of atomic groups in any play."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.definition.plan import Call, instance_key
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.state import ENDED, Phase, RunState, Status
from orchestrator.kernel.two_phase import branches_of, group_of, is_group, node_of
from tests.unit.kernel.flights import Flight
from tests.unit.kernel.rows import Row
from tests.unit.kernel.world import World, describe


def check_dispatch(
    run: RunState,
    world: World,
    events: Sequence[ev.Event],
    command: Execute,
    mine: Sequence[Flight],
) -> None:
    """What may go out when."""
    key = group_of(run, command.step)
    assert key is not None
    group = run.steps[key]
    decided = [event for event in events if getattr(event, "step", None) == key]
    if command.kind == "prepare":
        assert run.phase is Phase.FORWARD, f"{command} goes forward while compensating"
        assert group.status is Status.VOTING
        assert command.round == group.round
    if command.kind == "commit":
        assert any(isinstance(event, ev.CommitDecided) for event in decided), "before the decision"
        for branch, step, call in branches_of(run, key):
            row = world.rows.get((branch, step.round))
            fine = call.read_only or row in {Row.PREPARED, Row.DONE, Row.UNDONE, Row.TOMBSTONE}
            assert fine or (branch, step.round) in world.by_hand, f"{branch} never voted: {row}"
    if command.kind == "abort":
        assert group.status in {Status.WITHDRAWING, Status.RECALLING}
        assert command.one_phase or group.status is Status.WITHDRAWING
        beside = [flight for flight in mine if flight.may_come and not flight.call.barrier]
        assert not any(f.command.kind == "prepare" for f in beside), f"{command} beside its try"


def check_world(run: RunState, world: World) -> None:
    """All or nothing, in every round that nobody meddled with; and nothing is left prepared."""
    assert run.phase in ENDED
    for key in [key for key in run.steps if is_group(run, key)]:
        branches = [branch for branch, _, call in branches_of(run, key) if not call.read_only]
        if any(branch in branches for branch, _ in world.by_hand):
            continue
        for round_ in range(run.steps[key].round + 1):
            keys = {(branch, round_) for branch in branches}
            committed = keys & world.committed
            assert committed in (set(), keys), (key, round_, describe(world))
            left = [one for one in keys if world.rows.get(one) is Row.PREPARED]
            assert not left, (left, describe(world))


def make_done(world: World, step: str, round_: int, call: Call) -> None:
    """An operator sees to it by hand that a branch is done."""
    world.by_hand.add((step, round_))
    if not call.read_only and not world.effects[step]:
        world.effects[step] = 1
    world.rows[step, round_] = Row.DONE
    world.possible.add(step)


def resolve(world: World, run: RunState, operation: msg.Resolve) -> None:
    """An operator sees to it by hand that a whole group is done, or has no effect."""
    group = run.steps[operation.step]
    for call in node_of(run, operation.step).branches:
        branch = instance_key(call.name, group.index)
        if branch not in run.steps:
            continue
        step = run.steps[branch]
        world.by_hand.add((branch, step.round))
        if operation.undone:
            world.make_undone(branch, step.round)
        elif step.status is not Status.DONE:
            make_done(world, branch, step.round, call)
