"""What became of an operation: the events that carry the id under which it was asked for.

It is durable in the inbox at once, but only a coordinator carries it out, so whoever asked waits a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from orchestrator.errors import OperationRefusedError, SagaError
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel.asked import LEADS_TO

_FIRST_LOOK_S = 0.01
_SLOWEST_LOOK_S = 0.2
_FIRST_OF = {**LEADS_TO, "budget": (ev.BudgetSet, ev.StepRetried)}
"""What an operation's events begin with: of a step that was given up, a budget first makes a retry."""


class KeyReusedError(SagaError):
    """An idempotency key was used before, for something else."""


def awaited(
    records: Callable[[], Sequence[Recorded]],
    found: Callable[[Sequence[Recorded]], list[ev.Event]],
    wait_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[Sequence[Recorded], list[ev.Event]]:
    """Look at a run's events until there are some of an operation, or the time is over; raises as ``found``."""
    ends_at = clock() + wait_s
    pause_s = _FIRST_LOOK_S
    while True:
        now = records()
        events = found(now)
        if events or clock() >= ends_at:
            return now, events
        sleep(pause_s)
        pause_s = min(pause_s * 1.5, _SLOWEST_LOOK_S)


def events_of(records: Iterable[Recorded], operation: str, request: str) -> list[ev.Event]:
    """The events of a request; of an approval, those of what was approved too.

    Raises ``OperationRefusedError``, ``KeyReusedError``.
    """
    records = list(records)
    found: list[ev.Event] = []
    for event in caused_by(records, request):
        if isinstance(event, ev.OperationRefused):
            if event.operation != operation:
                raise KeyReusedError(f"this idempotency key was used for {event.operation} before")
            raise OperationRefusedError(event.why)
        found.append(event)
    first = found[0] if found else None
    waits = isinstance(first, ev.ApprovalAsked) and first.operation == operation
    if first is not None and not waits and not isinstance(first, _FIRST_OF[operation]):
        raise KeyReusedError("this idempotency key was used for another operation before")
    if isinstance(first, ev.ApprovalGiven):
        found += _approved(records, first)
    return found


def caused_by(records: Iterable[Recorded], request: str) -> Iterator[ev.Event]:
    """Every event that carries this id."""
    for record in records:
        event: Any = record.event
        if event is not None and request in {event.request, getattr(event, "signal_id", "")}:
            yield event


def waits_as(records: Iterable[Recorded], found: Sequence[ev.Event]) -> int | None:
    """The number under which it waits for a second person, if it does."""
    asked = next((event for event in found if isinstance(event, ev.ApprovalAsked)), None)
    if asked is None or any(_answers(record.event, asked.number) for record in records):
        return None
    return asked.number


def _answers(event: ev.Event | None, number: int) -> bool:
    return isinstance(event, ev.ApprovalGiven | ev.ApprovalDenied) and event.number == number


def _approved(records: Iterable[Recorded], yes: ev.ApprovalGiven) -> Iterator[ev.Event]:
    """What this approval led to."""
    for record in records:
        event = record.event
        if event is not None and (event.second, event.at) == (yes.actor, yes.at):
            yield event
