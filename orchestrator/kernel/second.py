"""The second person: which operations take two people, asking for one, approving it, saying no.

``take`` stands where a coordinator has anything done to a run, whatever sent it, so there is no way around it. A
request is an event of the run, numbered by how many events the run had: the state it was made against. Approving it is
carried out by the same code that would have done it at once; if it would do something else by now, it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.caveats import against_the_decision
from orchestrator.kernel.decide import Turn, carried_out, react
from orchestrator.kernel.evolve import evolve
from orchestrator.kernel.operate import operate, refusal
from orchestrator.kernel.operate import possible as _possible
from orchestrator.kernel.preview import Preview, Second, nothing
from orchestrator.kernel.preview import preview as _preview
from orchestrator.kernel.state import RunState

FORCE, BULK = "force", "bulk"
"""Further names in ``TwoPeople.operations``: stating against a group's decision; anything done to many runs."""
_MADE: dict[str, type[msg.Operation]] = {
    "retry": msg.Retry,
    "skip": msg.Skip,
    "resolve": msg.Resolve,
    "forget": msg.Forget,
    "acknowledge": msg.Acknowledge,
    "compensate": msg.Compensate,
    "cancel": msg.Cancel,
    "pause": msg.Pause,
    "resume": msg.Resume,
    "budget": msg.Budget,
}
NAMES = (*_MADE, FORCE, BULK)
"""What ``TwoPeople.operations`` may name."""
_GIVEN = ("step", "args", "result", "undone", "cluster", "attempts")


class TwoPeople(msgspec.Struct, frozen=True):
    """What takes two people. Nothing does, unless operations are named."""

    operations: frozenset[str] = frozenset()
    """Of ``NAMES``."""
    sagas: frozenset[str] = frozenset()
    """Only of runs of these, if any are named."""
    approvers: frozenset[str] = frozenset()
    """Who may be the second person; anybody else than the first, if nobody is named."""
    expires_s: float = 24 * 3600.0
    """How long a request waits."""

    def of_many(self, operation: str, sagas: tuple[str, ...]) -> bool:
        """Whether this operation on runs of these sagas takes two people as a whole."""
        named = {operation, BULK} & self.operations
        return bool(named) and (not self.sagas or not self.sagas.isdisjoint(sagas))

    @property
    def told(self) -> Second:
        """What a preview says of it."""
        return Second(tuple(sorted(self.approvers)), self.expires_s)

    def whole(self, operation: str, sagas: tuple[str, ...]) -> Second | None:
        """What a preview says of a bulk operation that waits as a whole; None if it doesn't."""
        return self.told if self.of_many(operation, sagas) else None

    def needed(self, run: RunState, deed: msg.Operation) -> bool:
        """Whether this operation on this run does."""
        if not self.operations or (self.sagas and run.program.plan.saga not in self.sagas):
            return False
        if msg.operation_name(deed) in self.operations or (deed.bulk and BULK in self.operations):
            return True
        return FORCE in self.operations and _is_forced(run, deed)

    def check(self, first: str, second: str) -> None:
        """Raise ``OperationRefusedError`` unless ``second`` can approve what ``first`` asked for."""
        if not _same(second) or _same(first) == _same(second):
            raise OperationRefusedError(
                f"{second or 'nobody'} can't be the second person for what {first} asked for"
            )
        if self.approvers and second not in self.approvers:
            named = ", ".join(sorted(self.approvers))
            raise OperationRefusedError(f"{second} isn't one of those who may approve it: {named}")


NOBODY = TwoPeople()
"""One person is enough for everything."""


def take(run: RunState, message: msg.Inbound, rule: TwoPeople, *, approved_by: str = "") -> Turn:
    """What a message leads to. What takes two people becomes a request, unless it is approved already, as a part of a
    bulk operation.
    """
    if isinstance(message, msg.Approve | msg.Deny):
        known = message.request in run.requests
        return carried_out(run, [] if known else _answered(run, message, rule), message.at)
    if not isinstance(message, msg.Operation) or not rule.needed(run, message):
        return react(run, message)
    if approved_by:
        done = [replace(event, second=approved_by) for event in operate(run, message)]
        return carried_out(run, done, message.at)
    if message.request in run.requests:
        return Turn([], run)
    event: ev.Event
    try:
        event = _request(run, message, rule)
    except OperationRefusedError as error:
        event = refusal(message, str(error))
    return Turn([event], evolve(run, event))


def possible(run: RunState, operation: msg.Asked) -> None:
    """Raise ``OperationRefusedError`` for what the state doesn't allow: what a client asks before it sends."""
    if isinstance(operation, msg.Approve | msg.Deny):
        _answer(run, operation, NOBODY)
    else:
        _possible(run, operation)


def preview(run: RunState, operation: msg.Asked | msg.Signal, rule: TwoPeople = NOBODY) -> Preview:
    """What an operation would do, or would be asked for, by this rule; of an approval, what is approved."""
    if not isinstance(operation, msg.Approve | msg.Deny):
        return _told(run, operation, rule)
    try:
        possible(run, operation)
    except OperationRefusedError as error:
        return nothing(run, msg.operation_name(operation), str(error))
    if isinstance(operation, msg.Deny):
        return nothing(run, "deny", "")
    return foreseen(run, run.waiting[operation.number], operation.at)


def _told(run: RunState, operation: msg.Operation | msg.Signal, rule: TwoPeople) -> Preview:
    seen = _preview(run, operation)
    if seen.refused or isinstance(operation, msg.Signal) or not rule.needed(run, operation):
        return seen
    if waits := _waiting_as(run, operation):
        return nothing(run, seen.operation, _waits_already(waits))
    return replace(seen, second=rule.told)


def foreseen(run: RunState, asked: ev.ApprovalAsked, at: float) -> Preview:
    """What a request would do to this state. Raises ``OperationRefusedError``."""
    return _preview(run, replace(deed_of(asked, at), request=""))  # under its own it was asked for


def deed_of(asked: ev.ApprovalAsked, at: float) -> msg.Operation:
    """The operation that was asked for, as its asker's at another time. Raises ``OperationRefusedError``."""
    kind = _MADE.get(asked.operation)
    if kind is None:
        raise OperationRefusedError(f"{asked.operation!r} is no operation of this release")
    given = {name: getattr(asked, name) for name in _GIVEN if name in kind.__struct_fields__}
    return kind(at=at, actor=asked.actor, request=asked.request, reason=asked.reason, **given)


def _request(run: RunState, deed: msg.Operation, rule: TwoPeople) -> ev.ApprovalAsked:
    """Ask for a second person. Raises ``OperationRefusedError`` for what couldn't be done anyway."""
    _possible(run, deed)
    name = msg.operation_name(deed)
    if not _same(deed.actor):
        raise OperationRefusedError(f"{name} takes two people, and nobody says who is the first")
    given: dict[str, Any] = {part: getattr(deed, part) for part in _GIVEN if hasattr(deed, part)}
    asked = ev.ApprovalAsked(
        at=deed.at,
        actor=deed.actor,
        request=deed.request,
        number=run.length,
        operation=name,
        sees=_digest(_preview(run, deed)),
        expires_at=deed.at + rule.expires_s,
        reason=deed.reason,
        **given,
    )
    if number := _waiting_as(run, deed):
        raise OperationRefusedError(_waits_already(number))
    return asked


def _waiting_as(run: RunState, deed: msg.Operation) -> int:
    """The number under which somebody has asked for just this and waits; 0 if nobody has."""
    for number, other in run.waiting.items():
        same = (other.actor, other.operation) == (deed.actor, msg.operation_name(deed))
        given = all(getattr(deed, p) == getattr(other, p) for p in _GIVEN if hasattr(deed, p))
        if other.expires_at >= deed.at and same and given:
            return number
    return 0


def _waits_already(number: int) -> str:
    return f"it waits for a second person already, as number {number}"


def _answered(
    run: RunState, message: msg.Approve | msg.Deny, rule: TwoPeople
) -> Sequence[ev.Event]:
    try:
        return _answer(run, message, rule)
    except OperationRefusedError as error:
        return [refusal(message, str(error))]


def _answer(run: RunState, message: msg.Approve | msg.Deny, rule: TwoPeople) -> Sequence[ev.Event]:
    """The events of a yes or a no. Raises ``OperationRefusedError``."""
    asked = run.waiting.get(message.number)
    if asked is None:
        raise OperationRefusedError(f"nothing waits for a second person as number {message.number}")
    if message.expects is not None and message.expects != run.length:
        raise OperationRefusedError(
            f"the run has changed since: it has {run.length} events, not {message.expects}"
        )
    said: dict[str, Any] = {
        part: getattr(message, part) for part in ("at", "actor", "request", "number", "reason")
    }
    if isinstance(message, msg.Deny):
        return [ev.ApprovalDenied(**said)]
    rule.check(asked.actor, message.actor)
    if message.at > asked.expires_at:
        raise OperationRefusedError("it has waited too long for a second person: ask again")
    deed = deed_of(asked, message.at)
    done = _possible(run, deed)
    if _digest(foreseen(run, asked, message.at)) != asked.sees:
        raise OperationRefusedError(
            f"the run has changed since {asked.actor} asked, and {asked.operation} would do something else now:"
            " look at it, and ask again"
        )
    return [ev.ApprovalGiven(**said), *(replace(event, second=message.actor) for event in done)]


def _digest(seen: Preview) -> str:
    """What a preview says, but for the run's length and values: those of a step are fixed by its attempt, and
    a digest of a secret would be something to guess it by.
    """
    told = msgspec.to_builtins(seen)
    del told["length"], told["second"]
    for action in (*told["runs"], *told["settles"], *told["undoes"]):
        for part in ("args", "result"):
            del action[part]
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:32]


def _is_forced(run: RunState, deed: msg.Operation) -> bool:
    if not isinstance(deed, msg.Resolve) or deed.step not in run.steps:
        return False
    return bool(against_the_decision(run, deed))


def _same(name: str) -> str:
    """Names that differ by case or blanks are one person's."""
    return name.strip().casefold()
