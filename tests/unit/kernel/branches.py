"""A model of the branches of atomic groups: what their databases, or the services behind them, make of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.definition.plan import Call
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import Failure, Vote
from orchestrator.kernel.messages import Outcome
from tests.unit.kernel.rows import Row

if TYPE_CHECKING:
    from tests.unit.kernel.world import World


class Said(NamedTuple):
    """What a branch answers."""

    outcome: Outcome
    failure: Failure | None = None
    vote: Vote | None = None


YES = {
    "prepared": Said("succeeded", vote="prepared"),
    "committed": Said("succeeded", vote="committed"),
}


def prepare(  # noqa: C901 - one case for each row
    world: World, command: Execute, call: Call
) -> Said:
    """Vote."""
    key = (command.step, command.round)
    row = world.rows.get(key)
    if row is Row.REFUSED:
        return Said("refused", world.refusal())
    if row in {Row.TOMBSTONE, Row.UNDONE}:
        return Said("rejected") if call.barrier else YES["prepared"]
    if row is Row.DONE:
        return YES["committed" if command.one_phase else "prepared"]
    if row is Row.PREPARED:
        return YES["prepared"]
    choice = world.chosen()
    if choice == "refuse":
        if call.barrier:
            world.rows[key] = Row.REFUSED
        return Said("refused", world.refusal())
    if choice in {"unregistered", "lose", "fail"}:
        return world.trouble(choice)
    if call.branch == "reader":
        return Said("lost") if choice != "succeed" else Said("succeeded", vote="read_only")
    if command.one_phase:
        world.commits(command.step, command.round)
        return Said("lost") if choice == "lose late" else YES["committed"]
    world.rows[key] = Row.PREPARED
    if choice == "fail late" and not call.barrier:
        return Said("failed", world.failure())
    return Said("lost") if choice == "lose late" else YES["prepared"]


def commit(world: World, command: Execute) -> Said:
    """Take the decision; only a branch that voted may be told so."""
    key = (command.step, command.round)
    row = world.rows.get(key)
    if row in {Row.DONE, Row.UNDONE}:
        return Said("succeeded")
    if row is not Row.PREPARED:
        assert key in world.by_hand, f"{command} for a branch that is {row}"
        return Said(world.random.choice(["heuristic_rollback", "protocol_error"]))
    outcome, failure = world.plainly()
    if outcome in {"succeeded", "lost"}:
        world.commits(command.step, command.round)
    return Said(outcome, failure)


def abort(world: World, command: Execute) -> Said:
    """Roll back, and never do it."""
    key = (command.step, command.round)
    row = world.rows.get(key)
    if row is Row.DONE:
        if command.one_phase:
            return YES["committed"]
        assert key in world.by_hand, f"{command} for a branch that has committed"
        return Said("heuristic_commit")
    if row in {Row.TOMBSTONE, Row.UNDONE}:
        return Said("succeeded")
    outcome, failure = world.plainly()
    if outcome in {"succeeded", "lost"} and row is not Row.REFUSED:
        world.rows[key] = Row.TOMBSTONE
    return Said(outcome, failure)
