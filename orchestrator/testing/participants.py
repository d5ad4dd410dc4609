"""A model of participants: what their databases, and the services behind them, make of a command.

With a barrier a row settles every copy of a command, early or late. Without one there is the idempotency key: the
other side does a thing once per key and, unless told to be careless, turns down a key that was cancelled.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.definition.facts import Facts
from orchestrator.definition.plan import Call
from orchestrator.kernel.events import CommandKind, Vote
from orchestrator.kernel.messages import Outcome

NONE, DONE, REFUSED, UNDONE, TOMBSTONE, PREPARED = range(6)


class Record(NamedTuple):
    """What is known of one step's effect, and how often it really happened and was really taken back."""

    row: int = NONE
    did: int = 0
    undid: int = 0

    @property
    def stands(self) -> bool:
        """Whether an effect is there now."""
        return self.did > self.undid


class Answer(NamedTuple):
    """What came of a command: the participant's answer, and the record after it."""

    outcome: Outcome
    record: Record
    final: bool = False
    """No other attempt can end otherwise."""
    remark: str = ""
    vote: Vote | None = None


def carry_out(
    kind: CommandKind,
    call: Call,
    record: Record,
    facts: Facts,
    *,
    result_known: bool,
    careless: bool,
    one_phase: bool = False,
) -> Answer:
    """What a participant that works as it is written answers."""
    if kind == "prepare":
        return _prepare(call, record, one_phase=one_phase)
    if kind == "commit":
        return _commit(record)
    if kind == "abort":
        return _abort(record, one_phase=one_phase)
    if kind == "do":
        return _do(call, record, careless=careless)
    if kind == "undo":
        return _undo(call, record, facts, result_known=result_known)
    return Answer("succeeded", record)


def _do(call: Call, record: Record, *, careless: bool) -> Answer:
    if call.read_only or record.row == DONE:
        return Answer("succeeded", record)
    if record.row == REFUSED:
        return Answer("refused", record)
    if record.row in {UNDONE, TOMBSTONE}:
        if call.barrier:
            return Answer("rejected", record, remark="it comes after its undo, so it isn't done")
        if not careless:
            return Answer("refused", record, remark="its key was cancelled, so it isn't done")
        late = record._replace(row=DONE, did=record.did + 1)
        return Answer("succeeded", late, remark="it takes effect after its undo")
    return Answer("succeeded", record._replace(row=DONE, did=record.did + 1))


def _undo(call: Call, record: Record, facts: Facts, *, result_known: bool) -> Answer:
    if record.row in {UNDONE, TOMBSTONE}:
        return Answer("succeeded", record)
    if not call.barrier and facts.undo_needs_result and not result_known:
        remark = "it needs the action's result, which nobody heard, and fails each time"
        return Answer("failed", record, final=True, remark=remark)
    if record.row != DONE:
        return Answer("succeeded", record._replace(row=TOMBSTONE))
    if call.undo is None:
        remark = "it took effect and has no undo"
        return Answer("failed", record, final=True, remark=remark)
    if facts.undo_is_empty:
        return Answer("succeeded", record._replace(row=UNDONE), remark="its body is empty")
    return Answer("succeeded", record._replace(row=UNDONE, undid=record.undid + 1))


def _prepare(call: Call, record: Record, *, one_phase: bool) -> Answer:
    if record.row == REFUSED:
        return Answer("refused", record)
    if record.row in {UNDONE, TOMBSTONE}:
        return Answer("rejected", record, remark="its group was taken back, so it isn't done")
    if call.branch == "reader":
        return Answer("succeeded", record, vote="read_only")
    if record.row == DONE:
        return Answer("succeeded", record, vote="committed" if one_phase else "prepared")
    if one_phase:
        done = record._replace(row=DONE, did=record.did + 1)
        return Answer("succeeded", done, vote="committed")
    return Answer("succeeded", record._replace(row=PREPARED), vote="prepared")


def _commit(record: Record) -> Answer:
    if record.row in {DONE, UNDONE}:
        return Answer("succeeded", record)
    if record.row != PREPARED:
        return Answer("heuristic_rollback", record, remark="it isn't prepared")
    return Answer("succeeded", record._replace(row=DONE, did=record.did + 1))


def _abort(record: Record, *, one_phase: bool) -> Answer:
    if record.row == DONE:
        if one_phase:
            return Answer("succeeded", record, remark="it has committed", vote="committed")
        return Answer("heuristic_commit", record, remark="it has committed")
    if record.row in {REFUSED, UNDONE, TOMBSTONE}:
        return Answer("succeeded", record)
    return Answer("succeeded", record._replace(row=TOMBSTONE))
