"""What waits for a second person, and what became of it: from the runs' own events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from orchestrator.errors import InvalidInputError
from orchestrator.journal.port import OperationFilter, ReaderJournal, Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.event import Ending
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.program import Program
from orchestrator.kernel.second import foreseen, preview

LONGEST_S = 30 * 24 * 3600.0
"""The longest that a request may wait."""
_PAGE = 500

Answer = Literal["waiting", "approved", "denied", "expired"]


class Approval(msgspec.Struct, frozen=True):
    """A request for a second person. Times are epoch seconds."""

    run_id: str
    saga: str
    number: int
    """How many events the run had before it: with the run's id, its name."""
    operation: str
    actor: str
    """The first person."""
    reason: str
    at: float
    expires_at: float
    answer: Answer
    step: str = ""
    given: dict[str, Any] = {}
    """The rest of what was asked for: arguments, a result, that it is without effect."""
    second: str = ""
    """Who approved or denied it."""
    why: str = ""
    """What they gave as the reason."""


class BranchApproval(msgspec.Struct, frozen=True):
    """How somebody wants a prepared branch to end that the journal can't decide: another has to say the same."""

    gid: str
    service: str
    step: str
    kind: Ending
    actor: str
    reason: str
    at: float
    expires_at: float


class Judged(msgspec.Struct, frozen=True):
    """A request with what it would have done when it was made, and what it would do now."""

    approval: Approval
    then: Preview
    now: Preview | None
    """``refused`` in it says why it can't be approved any more. None for one that doesn't wait."""


def waiting(
    journal: ReaderJournal, now: float, sagas: Sequence[str] = (), run: str | None = None
) -> list[Approval]:
    """Every request that waits for a second person, the newest first; of these sagas if any are named."""
    since = now - LONGEST_S
    answered = {
        (record.run_id, event.number)
        for name in ("approve", "deny")
        for record, _ in _operations(journal, name, sagas, run, since)
        if isinstance(event := record.event, ev.ApprovalGiven | ev.ApprovalDenied)
    }
    return [
        _approval(record.run_id, saga, event, now)
        for record, saga in _operations(journal, "ask", sagas, run, since)
        if isinstance(event := record.event, ev.ApprovalAsked)
        and event.expires_at >= now
        and (record.run_id, event.number) not in answered
    ]


def branches_waiting(journal: ReaderJournal, now: float) -> list[BranchApproval]:
    """What waits of prepared branches, the newest first: of each what was said last."""
    since = now - LONGEST_S
    last: dict[str, ev.BranchAsked | ev.BranchRuled] = {}
    for name in ("ask", "decide"):
        for record, _ in _operations(journal, name, (), None, since):
            event = record.event
            if isinstance(event, ev.BranchAsked | ev.BranchRuled):
                known = last.get(event.gid)
                if known is None or known.at <= event.at:
                    last[event.gid] = event
    return [
        BranchApproval(
            gid=event.gid,
            service=event.service,
            step=event.step,
            kind=event.kind,
            actor=event.actor,
            reason=event.reason,
            at=event.at,
            expires_at=event.expires_at,
        )
        for event in sorted(last.values(), key=lambda one: -one.at)
        if isinstance(event, ev.BranchAsked) and event.expires_at >= now
    ]


def judged(journal: ReaderJournal, run_id: str, number: int, now: float, actor: str) -> Judged:
    """One request, as ``actor`` could approve it. Raises ``InvalidInputError`` for a number that is none."""
    row = journal.find(run_id)
    events = [one.event for one in journal.history(row.run_id) if one.event is not None]
    asked = events[number] if 0 < number < len(events) else None
    if not isinstance(asked, ev.ApprovalAsked):
        raise InvalidInputError(f"run {row.run_id} has no request for a second person {number}")
    program = Program(journal.plan(row.plan), row.plan)
    state = fold(program, events)
    answer = _answer_of(events, number)
    is_open = number in state.waiting
    answer = None if is_open else answer
    then = foreseen(fold(program, events[:number]), asked, asked.at)
    approve = msg.Approve(at=now, actor=actor, number=number)
    return Judged(
        _approval(row.run_id, row.saga, asked, now, answer),
        then,
        preview(state, approve) if is_open else None,
    )


def _answer_of(
    events: Sequence[ev.Event], number: int
) -> ev.ApprovalGiven | ev.ApprovalDenied | None:
    for event in events:
        if isinstance(event, ev.ApprovalGiven | ev.ApprovalDenied) and event.number == number:
            return event
    return None


def _operations(
    journal: ReaderJournal, name: str, sagas: Sequence[str], run: str | None, since: float
) -> Iterator[tuple[Recorded, str]]:
    where = OperationFilter(operation=name, sagas=tuple(sagas), run=run, after=since)
    cursor = None
    while True:
        page = journal.operations(where, cursor, _PAGE)
        for one in page.operations:
            yield one.record, one.saga
        cursor = page.cursor
        if cursor is None:
            return


def _approval(
    run_id: str,
    saga: str,
    asked: ev.ApprovalAsked,
    now: float,
    answer: ev.ApprovalGiven | ev.ApprovalDenied | None = None,
) -> Approval:
    became: Answer = "waiting" if now <= asked.expires_at else "expired"
    if answer is not None:
        became = "approved" if isinstance(answer, ev.ApprovalGiven) else "denied"
    given = {"args": asked.args, "undone": asked.undone, "cluster": asked.cluster}
    given = {name: value for name, value in given.items() if value}
    if asked.operation in {"skip", "resolve"} and not asked.undone:
        given["result"] = asked.result
    return Approval(
        run_id=run_id,
        saga=saga,
        number=asked.number,
        operation=asked.operation,
        actor=asked.actor,
        reason=asked.reason,
        at=asked.at,
        expires_at=asked.expires_at,
        answer=became,
        step=asked.step or "",
        given=given,
        second="" if answer is None else answer.actor,
        why="" if answer is None else answer.reason,
    )
