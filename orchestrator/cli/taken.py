"""What became of an operation: it is durable in the inbox at once, but only a coordinator carries it out.

So a command waits a moment for the events it leads to, and otherwise says who would have to take it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from orchestrator.cli.invocation import Invocation
from orchestrator.errors import OperationRefusedError
from orchestrator.journal.outcome import awaited, events_of, waits_as
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.views.timeline import sentence

WAIT_S = 3.0
"""How long a command waits for a coordinator to take its operation."""
Asked = TypeVar("Asked", bound=msg.Asked | msg.Signal)


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


def carry_out(call: Invocation, run_id: str, message: msg.Asked | msg.Signal) -> Taken:
    """Send an operation and wait for what it leads to. Raises ``OperationRefusedError``."""
    named = under_an_id(message)
    call.client.operate(run_id, named)
    return await_taken(call, run_id, named, WAIT_S)


def under_an_id(message: Asked) -> Asked:
    """With an id of its own, by which its events are known; a signal has one."""
    if isinstance(message, msg.Signal):
        return message
    return replace(message, request=message.request or uuid.uuid4().hex)


def await_taken(
    call: Invocation, run_id: str, message: msg.Asked | msg.Signal, wait_s: float
) -> Taken:
    """Wait up to ``wait_s`` for the events of an operation. Raises ``OperationRefusedError``."""
    operation = msg.operation_name(message)
    request = message.signal_id if isinstance(message, msg.Signal) else message.request

    def found(records: Sequence[Recorded]) -> list[ev.Event]:
        try:
            return events_of(records, operation, request)
        except OperationRefusedError as error:
            raise OperationRefusedError(f"the coordinator refused it: {error}") from error

    def records() -> Sequence[Recorded]:
        return call.journal.history(run_id)

    seen, events = awaited(records, found, wait_s, call.now, call.backend.sleep)
    row = call.journal.find(run_id)
    told = call.curtains.texts(row, (sentence(event)[0] for event in events))
    waits = waits_as(seen, events)
    return Taken(
        run_id,
        operation,
        bool(events),
        told,
        row.status,
        writer_of(call, row.shard),
        () if waits is None else (waits,),
    )


def writer_of(call: Invocation, shard: int) -> str:
    """The coordinator that holds the shard's lease now; empty if none does."""
    now = call.now()
    for lease in call.journal.leases():
        if lease.shard == shard and lease.expires_at > now:
            return lease.owner
    return ""
