"""What participants answer in a world, and what the coordinator hears of it."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.two_phase import is_one_phase
from orchestrator.testing.participants import (
    DONE,
    REFUSED,
    TOMBSTONE,
    UNDONE,
    Answer,
    Record,
    carry_out,
)
from orchestrator.testing.world import Copy, Space, World

SAID_NO = ev.Failure("Refused", "it said no", ("orchestrator.errors.Refused",))
FAILED = ev.Failure("OSError", "something passing", ("builtins.OSError",))
FINALLY = ev.Failure("Error", "it fails each time", ("orchestrator.errors.InvalidInputError",))
"""Of a kind that isn't retried: what would fail each time is parked at once."""


def answered(space: Space, world: World, command: Execute | Copy) -> Answer:
    """What the participant makes of a command."""
    name = world.run.steps[command.step].name
    return carry_out(
        command.kind,
        space.program.call(name),
        world.records.get(command.step, Record()),
        space.facts[name],
        result_known=world.run.steps[command.step].result is not None,
        careless=space.careless,
        one_phase=is_one_phase(world.run, world.run.steps[command.step]),
    )


def reply_of(world: World, command: Execute | Copy, answer: Answer) -> msg.Reply:
    """What the coordinator hears of it."""
    failure = None
    if answer.outcome == "refused":
        failure = SAID_NO
    elif answer.outcome == "failed":
        failure = FINALLY if answer.final else FAILED
        if answer.remark:
            failure = replace(failure, message=answer.remark)
    gives = command.kind in {"do", "commit"} or answer.vote in {"committed", "read_only"}
    done = answer.outcome == "succeeded" and gives
    return msg.Reply(
        at=world.now,
        step=command.step,
        kind=command.kind,
        attempt=command.attempt,
        outcome=answer.outcome,
        vote=answer.vote,
        result=1 if done else None,
        failure=failure,
    )


def is_fenced(space: Space, world: World, copy: Copy) -> bool:
    """Whether a barrier has heard from the present coordinator, so that it rejects what an earlier one sent."""
    call = space.program.call(world.run.steps[copy.step].name)
    return call.barrier and call.service in world.heard


def is_settled(copy: Copy, record: Record) -> bool:
    """Whether a copy can change nothing any more."""
    if copy.kind in {"prepare", "commit"} and record.row == DONE:
        return True
    return record.row in {UNDONE, TOMBSTONE} or (
        copy.kind in {"do", "prepare", "abort"} and record.row == REFUSED
    )
