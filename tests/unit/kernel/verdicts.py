"""What must hold of a run against the world it ran in: of what it sends, and of what it says at its end."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.definition.plan import Call
from orchestrator.kernel import events as ev
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.state import Phase, RunState, Status
from tests.unit.kernel import groups
from tests.unit.kernel.flights import Flight
from tests.unit.kernel.world import World, describe

_CALLBACK = {Status.CALLING, Status.CALL_FAILED, Status.CALL_PARKED, Status.HEARD}


def check_world(run: RunState, world: World) -> None:
    """What the run says of itself is true."""
    groups.check_world(run, world)
    assert world.by_hand or all(times <= 1 for times in world.times.values()), describe(world)
    if run.phase is Phase.COMPENSATED:
        assert not any(world.effects.values()), describe(world)
    for key, step in run.steps.items():
        node = run.program.named[step.name]
        if run.phase is Phase.COMPLETED and isinstance(node, Call) and not node.read_only:
            if step.status is Status.DONE:
                assert world.effects[key] == 1, (key, describe(world))
            assert step.status in {Status.DONE, Status.SKIPPED, *_CALLBACK}


def check_dispatch(
    run: RunState,
    world: World,
    events: Sequence[ev.Event],
    command: Execute,
    mine: Sequence[Flight],
    *,
    about: bool,
) -> None:
    """What may go out when. ``mine`` are the step's commands so far; some of them are still ``about``."""
    if command.kind in {"prepare", "commit", "abort"}:
        groups.check_dispatch(run, world, events, command, mine)
    if command.kind == "do":
        assert run.phase is Phase.FORWARD, f"{command} goes forward while compensating"
    if command.kind == "undo":
        assert not run.pivoted, f"{command} undoes past the pivot"
        assert about or command.step in world.possible, f"{command} has nothing to undo"
        beside = [f for f in mine if f.may_come and not f.call.barrier]
        assert not any(f.command.kind == "do" for f in beside), f"{command} beside its action"
        assert not run.program.call(run.steps[command.step].name).read_only
