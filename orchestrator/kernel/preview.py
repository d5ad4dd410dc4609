"""``preview``: what an operation would do, found by doing it to a copy.

The kernel's own ``react`` and ``pending`` are asked, so a preview can't disagree with the coordinator. Undos don't
depend on values, so compensation is played to its end, every answer a yes; going forward does, so what comes after
the first commands is only named. Where an answer is awaited that decides what is undone at all, the play goes on with
the one after which most has to be, and what depends on it says so.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.definition.plan import Call
from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.caveats import caveats, was
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.decide import react
from orchestrator.kernel.operate import possible
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import KIND, PARKED, Phase, RunState, Status
from orchestrator.kernel.summary import RunStatus, summarize
from orchestrator.kernel.two_phase import branches_of, group_of

_GUARDED_MAX = 100_000
"""The most answers that are played: far above any run, so that a defect ends as an error."""


class Action(msgspec.Struct, frozen=True):
    """One command to a participant that would be sent."""

    step: str
    kind: ev.CommandKind
    participant: str
    queue: str
    attempt: int
    at_once: bool
    """As soon as the operation is taken; else after others."""
    args: dict[str, Any]
    result: Any
    """For an undo: the result that it is given."""
    only_if: str = ""
    """A step of ``awaits`` whose answer decides whether this comes at all."""


class Left(msgspec.Struct, frozen=True):
    """A step that stays as it is."""

    step: str
    status: str
    why: str


class Change(msgspec.Struct, frozen=True):
    """A step whose status changes without a command: it is stated, skipped or given up."""

    step: str
    before: str
    after: str


class Second(msgspec.Struct, frozen=True):
    """It takes two people: what is sent only asks for it, and waits for the second."""

    approvers: tuple[str, ...]
    """Who may be the second person; anybody else than the first, if nobody is named."""
    expires_s: float
    """How long it waits."""


class Preview(msgspec.Struct, frozen=True):
    """What an operation would do."""

    operation: str
    refused: str
    """Why it can't be done now; empty if it can. Then nothing below says anything."""
    length: int
    """How many events the run has: what the preview is good for."""
    events: tuple[str, ...]
    """The types of the events that it would record at once."""
    status: RunStatus
    """The run's status right after it."""
    runs: tuple[Action, ...]
    """What would be done next: actions, votes and callbacks."""
    settles: tuple[Action, ...]
    """Branches of atomic groups that would be told to commit or to abort."""
    undoes: tuple[Action, ...]
    """What would be undone, in order, if every undo succeeds."""
    awaits: tuple[str, ...]
    """Steps whose outstanding attempt has to be answered first; what took effect is then undone too.
    Of a pause: the steps whose answers are still taken.

    The last branch of a group that may have committed by itself is among them: what it says is its group's decision.
    """
    changes: tuple[Change, ...]
    left: tuple[Left, ...]
    ahead: tuple[str, ...]
    """Steps that haven't begun, and may when the run goes on."""
    ends: RunStatus
    """The run's status when all of ``undoes`` has happened."""
    warnings: tuple[str, ...]
    second: Second | None = None
    """It would only be asked for; all above is what follows once another person has approved it."""


def preview(run: RunState, operation: msg.Operation | msg.Signal) -> Preview:
    """What ``operation`` would do to ``run``, which is left as it is."""
    name = msg.operation_name(operation)
    refused = _refusal(run, operation)
    if refused:
        return nothing(run, name, refused)
    turn = react(run, operation)
    known = {_dispatch(command) for command in _sent(run)}
    now = [command for command in _sent(turn.run) if _dispatch(command) not in known]
    play = _Play(replace(turn.run, paused=None, holds={}))  # what happens once it goes on
    play.to_the_end(operation.at)
    sent = [*now, *(command for command in play.sent if _identity(command) not in _ids(now))]
    touched = {command.step for command in sent} | set(play.awaited) | play.depends.keys()

    def actions(*kinds: ev.CommandKind) -> tuple[Action, ...]:
        return tuple(
            _action(
                command,
                at_once=command in now and command.due <= operation.at,
                only_if="" if command in now else play.depends.get(command.step, ""),
            )
            for command in sent
            if command.kind in kinds
        )

    under_way = [command.step for command in _sent(run)]
    pausing = isinstance(operation, msg.Pause)
    return Preview(
        operation=name,
        refused="",
        length=run.length,
        events=tuple(type(event).__name__ for event in turn.events),
        status=_status(turn.run),
        runs=actions("do", "prepare", "callback"),
        settles=actions("commit", "abort"),
        undoes=actions("undo"),
        awaits=tuple(under_way if pausing else play.awaited),
        changes=tuple(_changes(run, play.run, touched)),
        left=tuple(_left(run, play.run, touched)),
        ahead=_ahead(turn.run),
        ends=_status(play.run),
        warnings=(*caveats(run, play.run, operation, sent), *_wait(turn.run, operation)),
    )


class _Play:
    """A copy of a compensating run, every command of which is answered with a yes."""

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.sent: list[Execute] = []
        self.awaited: list[str] = []
        self.depends: dict[str, str] = {}
        """Steps, and groups, to the awaited one whose answer decides on them."""

    def to_the_end(self, at: float) -> None:
        """Answer until nothing is outstanding; going forward there is nothing to answer."""
        for _ in range(_GUARDED_MAX):
            command = next(iter(_sent(self.run)), None)
            if self.run.phase is not Phase.COMPENSATING or command is None:
                break
            self.run = react(self.run, self._answered(command, max(at, command.due))).run
        else:
            raise AssertionError(f"run {self.run.run_id} doesn't come to rest")
        if self.run.phase is Phase.COMPENSATED:
            self.sent += _sent(self.run)

    def _answered(self, command: Execute, at: float) -> msg.Reply:
        key = command.step
        group = group_of(self.run, key)
        recalled = group is not None and self.run.steps[group].status is Status.RECALLING
        if group is not None and recalled and command.kind == "abort":
            self.awaited.append(key)
            branches = (branch for branch, _, _ in branches_of(self.run, group))
            self.depends |= dict.fromkeys((group, *branches), key)
            return _yes(command, at, "committed")
        if command.kind in {"do", "prepare"}:
            self.awaited.append(key)
            self.depends[key] = key
            return _yes(command, at, None if command.kind == "do" else "prepared")
        self.sent.append(command)
        return _yes(command, at)


def _refusal(run: RunState, operation: msg.Operation | msg.Signal) -> str:
    if isinstance(operation, msg.Signal):
        if run.phase is not Phase.FORWARD:
            return f"the run is {run.phase.value}: a signal does nothing to it"
        if operation.signal_id and operation.signal_id in run.signal_ids:
            return f"a signal with the id {operation.signal_id!r} was received before"
        return ""
    try:
        possible(run, operation)
    except OperationRefusedError as error:
        return str(error)
    return ""


def nothing(run: RunState, name: str, refused: str) -> Preview:
    """The preview of what can't be done, or does nothing to the run's steps."""
    status = _status(run)
    return Preview(
        operation=name,
        refused=refused,
        length=run.length,
        events=(),
        status=status,
        runs=(),
        settles=(),
        undoes=(),
        awaits=(),
        changes=(),
        left=(),
        ahead=(),
        ends=status,
        warnings=(),
    )


def _sent(run: RunState) -> list[Execute]:
    return [command for command in pending(run) if isinstance(command, Execute)]


def _identity(command: Execute) -> tuple[str, str, int]:
    return command.step, command.kind, command.attempt


def _ids(commands: list[Execute]) -> set[tuple[str, str, int]]:
    return {_identity(command) for command in commands}


def _dispatch(command: Execute) -> tuple[str, str, int, float]:
    """What is sent anew has another one: a round of votes that rests may be had at once."""
    return *_identity(command), command.due


def _yes(command: Execute, at: float, vote: ev.Vote | None = None) -> msg.Reply:
    return msg.Reply(
        at=at,
        step=command.step,
        kind=command.kind,
        attempt=command.attempt,
        outcome="succeeded",
        vote=vote,
    )


def _action(command: Execute, *, at_once: bool, only_if: str) -> Action:
    return Action(
        step=command.step,
        kind=command.kind,
        participant=command.participant,
        queue=command.queue,
        attempt=command.attempt,
        at_once=at_once,
        args=command.args,
        result=command.result,
        only_if=only_if,
    )


def _status(run: RunState) -> RunStatus:
    return summarize(run, 0, 0.0).status


def _changes(before: RunState, after: RunState, touched: set[str]) -> list[Change]:
    return [
        Change(key, before.steps[key].status.value, step.status.value)
        for key, step in after.steps.items()
        if key in before.steps and key not in touched and step.status is not was(before, key)
    ]


def _left(before: RunState, after: RunState, touched: set[str]) -> list[Left]:
    return [
        Left(key, step.status.value, _why_left(after, key))
        for key, step in after.steps.items()
        if key not in touched and step.status is was(before, key)
    ]


def _why_left(run: RunState, key: str) -> str:
    step = run.steps[key]
    node = run.program.named[step.name]
    if step.status in PARKED:
        return "needs a person"
    if run.phase in {Phase.COMPENSATING, Phase.COMPENSATED} and isinstance(node, Call):
        if step.status is Status.UNDONE:
            return ""
        if step.status is Status.ABORTED:
            return "rolled back with its group"
        if node.read_only:
            return "read-only: nothing to undo"
        if not step.reached and step.status is not Status.DONE:
            return "it can't have left anything behind"
    if step.status in KIND and KIND[step.status] == "do" and step.status is Status.RUNNING:
        return "under way"
    return ""


def _ahead(run: RunState) -> tuple[str, ...]:
    if run.phase is not Phase.FORWARD:
        return ()
    begun = {step.name for step in run.steps.values()}
    return tuple(node.name for node, _ in run.program.plan.steps() if node.name not in begun)


def _wait(run: RunState, operation: msg.Operation | msg.Signal) -> list[str]:
    """What somebody should know of a run that is paused and stays so."""
    if isinstance(operation, msg.Pause):
        return []
    found = [
        f"{hold.kind} {hold.name} is held: what it stops is sent once it is released"
        for hold in run.holds.values()
    ]
    if run.paused is not None:
        found.append("the run is paused: nothing of this is sent before it is resumed")
    return found
