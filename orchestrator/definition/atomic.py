"""``with atomic(timeout=20):``: steps that take effect together or not at all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from orchestrator.definition.action import Action
from orchestrator.definition.building import Block, Building, require
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.plan import Atomic, Call, Node
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError

DEFAULT_TIMEOUT_S = 30.0


@contextmanager
def atomic(
    *,
    timeout: Duration = DEFAULT_TIMEOUT_S,
    retry: Retry | None = None,
    last: Action[..., Any] | None = None,
    name: str = "atomic",
) -> Generator[None]:
    """The steps inside commit together or not at all, by two-phase commit; to the saga they are one step.

    ``timeout`` (seconds or a timedelta) is for one attempt, from the first vote that is asked for to its decision:
    the longest that a branch may hold its locks before. ``retry``: how often the group is tried, five times unless
    given; a refusal ends it. ``last``: an action that can't be prepared but has a database; its one step inside is
    carried out after all others have said yes, and its commit decides. ``name`` is the group's, where operators and
    timelines name it.

    Raises ``DefinitionError`` for a participant that can't take part, a group in a group, anything but participants'
    actions inside, and a step that uses the result of another step of its group.
    """
    building = require("atomic()", "move it there")
    if building.in_atomic is not None:
        raise building.error("atomic() inside atomic(): one group is enough, put its steps into it")
    if last is not None and not isinstance(last, Action):
        raise building.error(f"atomic(last=) takes a participant's action, not {last!r}")
    timeout_s = seconds(timeout, "atomic(timeout=)")
    if retry is not None and not isinstance(retry, Retry):
        raise building.error(f"atomic(retry=) takes a Retry, not {retry!r}")
    key = building.name(name)
    with building.block("atomic", last=last) as block:
        yield
    policy = (retry or Retry()).policy()
    building.add(Atomic(key, _branches(building, block), timeout_s, policy, block.source))


def _branches(building: Building, block: Block) -> tuple[Call, ...]:
    """The calls inside, the last one at the end."""
    if not block.nodes:
        raise DefinitionError(
            f"saga {building.saga!r}, {block.source}: atomic() has no step inside"
        )
    calls = [node for node in block.nodes if isinstance(node, Call)]
    if len(calls) < len(block.nodes):
        other = next(node for node in block.nodes if not isinstance(node, Call))
        raise building.error(
            f"atomic() takes participants' actions only, and {_what(other)} is inside; put it before or after",
            block.source,
        )
    last = [call for call in calls if call.branch == "last"]
    if block.last is not None and len(last) != 1:
        raise building.error(
            f"atomic(last=) needs exactly one step of its action inside; there are {len(last)}",
            block.source,
        )
    pivots = [call.name for call in calls if call.pivot]
    if len(pivots) > 1:
        raise building.error(
            f"{' and '.join(pivots)} are pivots of one atomic() group; one makes the whole group the pivot",
            block.source,
        )
    return (*(call for call in calls if call.branch != "last"), *last)


def _what(node: Node) -> str:
    return {"Each": ".map()", "Let": "saga"}.get(
        type(node).__name__, f"{type(node).__name__.lower()}()"
    )
