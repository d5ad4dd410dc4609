"""What became of an operation: it is durable in the inbox at once, but only a coordinator carries it out.

So a command waits a moment for the events it leads to, and otherwise says who would have to take it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from orchestrator.cli.invocation import Invocation
from orchestrator.errors import OperationRefusedError
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel.asked import LEADS_TO
from orchestrator.views.timeline import sentence

WAIT_S = 3.0
"""How long a command waits for a coordinator to take its operation."""
_FIRST_LOOK_S = 0.01
_SLOWEST_LOOK_S = 0.2


class Taken(msgspec.Struct, frozen=True):
    """What came of one operation."""

    run_id: str
    operation: str
    taken: bool
    """A coordinator has carried it out."""
    events: tuple[str, ...]
    """What it led to, in words."""
    status: str
    """The run's status after it."""
    writer: str
    """The coordinator that writes the run's shard; empty if none is alive."""
    waits: tuple[int, ...] = ()
    """It takes two people, and waits for the second under this number."""


def carry_out(
    call: Invocation, run_id: str, operation: str, send: Callable[[], None], wait_s: float = WAIT_S
) -> Taken:
    """Send an operation and wait for what it leads to. Raises ``OperationRefusedError``."""
    after = _end(call, run_id)
    send()
    return await_taken(call, run_id, operation, after, wait_s)


def await_taken(call: Invocation, run_id: str, operation: str, after: int, wait_s: float) -> Taken:
    """Wait up to ``wait_s`` for the events of an operation behind offset ``after``."""
    ends_at = call.now() + wait_s
    pause_s = _FIRST_LOOK_S
    while True:
        new = [record for record in call.journal.history(run_id) if record.offset > after]
        found = _caused(new, operation, call.settings.actor)
        row = call.journal.find(run_id)
        if found or call.now() >= ends_at:
            told = call.curtains.texts(row, (sentence(event)[0] for event in found))
            writer = writer_of(call, row.shard)
            waits = tuple(one.number for one in found if isinstance(one, ev.ApprovalAsked))
            return Taken(run_id, operation, bool(found), told, row.status, writer, waits)
        call.backend.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _SLOWEST_LOOK_S)


def writer_of(call: Invocation, shard: int) -> str:
    """The coordinator that holds the shard's lease now; empty if none does."""
    now = call.now()
    for lease in call.journal.leases():
        if lease.shard == shard and lease.expires_at > now:
            return lease.owner
    return ""


def _end(call: Invocation, run_id: str) -> int:
    records = call.journal.history(run_id)
    return records[-1].offset if records else 0


def _caused(records: Sequence[Recorded], operation: str, actor: str) -> list[ev.Event]:
    """The operation's events. Raises ``OperationRefusedError`` when the coordinator refused it."""
    found: list[ev.Event] = []
    for record in records:
        event = record.event
        if event is not None and operation == "approve" and event.second == actor:
            found.append(event)  # what the approval led to
        if event is None or record.actor != actor:
            continue
        if isinstance(event, ev.ApprovalAsked) and event.operation == operation:
            found.append(event)
        if isinstance(event, ev.OperationRefused) and event.operation == operation:
            raise OperationRefusedError(f"the coordinator refused it: {event.why}")
        if isinstance(event, LEADS_TO[operation]):
            found.append(event)
    return found
