"""The state of a run, and the legal transitions of a step as data.

The table ``TRANSITIONS`` is the rule; ``evolve`` applies it and the docs' diagram is drawn from
it. A state is treated as immutable: ``evolve`` makes a new one.

Structs of the hot path say ``gc=False``: nothing in them ever refers back to them, so Python's search
for cycles, a tenth of the coordinator's CPU time, may pass them by.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from orchestrator.definition.plan import Call
from orchestrator.kernel.events import AfterAbort, ApprovalAsked, CommandKind, Failure, Found
from orchestrator.kernel.program import Program
from orchestrator.kernel.standing import Held, Paused


class Phase(StrEnum):
    """Which way a run goes."""

    FORWARD = "forward"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


class Status(StrEnum):
    """Where one step stands."""

    RUNNING = "running"
    WAITING = "waiting"
    SLEEPING = "sleeping"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABANDONED = "abandoned"
    PARKED = "parked"
    BROKEN = "broken"
    UNDOING = "undoing"
    UNDO_FAILED = "undo failed"
    UNDO_PARKED = "undo parked"
    UNDONE = "undone"
    CALLING = "calling back"
    CALL_FAILED = "callback failed"
    CALL_PARKED = "callback parked"
    HEARD = "heard"
    VOTING = "voting"
    RECALLING = "recalling"
    CONFIRMING = "confirming"
    WITHDRAWING = "withdrawing"
    HELD = "held"
    PREPARING = "preparing"
    PREPARED = "prepared"
    READ_ONLY = "read-only"
    COMMITTING = "committing"
    COMMIT_STUCK = "commit stuck"
    COMMIT_ASTRAY = "commit astray"
    ABORTING = "aborting"
    ABORT_STUCK = "abort stuck"
    ABORT_ASTRAY = "abort astray"
    ABORTED = "aborted"


class StepState(msgspec.Struct, gc=False, frozen=True):
    """One step of one run."""

    name: str
    index: tuple[int, ...]
    status: Status
    since: float
    """When this direction (do, undo) became due first; a retry budget counts from here."""
    due: float
    """When the current attempt may be dispatched."""
    attempt: int = 1
    base: int = 0
    """Attempts made before an operator's retry; a retry's count starts after them."""
    limit: int | None = None
    """How many attempts an operator allows after ``base``; None leaves it to the plan."""
    round: int = 0
    args: dict[str, Any] = {}
    result: Any = None
    doubt: bool = False
    """Some attempt may have taken effect without our knowing."""
    reached: bool = False
    """Some attempt may have left something behind: an effect, or a copy of itself still on its
    way."""
    refused: bool = False
    """The last attempt's answer was a definite no."""
    released: bool = False
    """Its undo was parked, so earlier steps no longer wait for it."""
    failure: Failure | None = None
    reason: str = ""
    then: AfterAbort = "fail"
    """For an atomic group that is being taken back: what becomes of it."""
    retry_at: float = 0.0
    """When it is tried again, if it is."""
    counts: bool = True
    """Whether the attempt being taken back counts."""
    heuristic: Found | None = None
    """For a branch: what it did against its group's decision."""


class OpenIncident(msgspec.Struct, gc=False, frozen=True):
    """Since when a step needs a person, and who has taken that on."""

    since: float
    acked_at: float | None = None
    acked_by: str = ""
    ack_reason: str = ""


class RunState(msgspec.Struct, gc=False):
    """One run. Never changed once it is handed out."""

    run_id: str
    program: Program
    input: dict[str, Any]
    key: str | None
    tags: dict[str, str]
    launched_at: float
    trace: dict[str, str] = {}
    phase: Phase = Phase.FORWARD
    pivoted: bool = False
    steps: dict[str, StepState] = {}
    scopes: dict[str, list[Any]] = {}
    """The items of each ``Each`` that was reached."""
    branches: dict[str, bool] = {}
    """What each condition that was reached said."""
    lets: dict[str, Any] = {}
    """The value of each ``Let`` that was reached."""
    left: dict[tuple[int, tuple[int, ...]], int] = {}
    """For each ``Parallel`` and ``Each`` under way, by place and index: how many branches the walk
    still waits for."""
    signals: tuple[tuple[str, Any], ...] = ()
    """Signals that no step has waited for yet."""
    signal_ids: frozenset[str] = frozenset()
    requests: frozenset[str] = frozenset()
    """The ids of operators' requests that were answered, by doing or by refusing."""
    walked: bool = False
    """The walk in this direction is at its end."""
    broken: tuple[str, ...] = ()
    """Steps found unable to go on, yet to be parked."""
    reason: str = ""
    cause: Failure | None = None
    result: Any = None
    ended_at: float | None = None
    paused: Paused | None = None
    holds: dict[str, Held] = {}
    """Those in force for it, by their ids. A dict of a state is never changed, but replaced."""
    stood_at: float = 0.0
    """When a pause or a hold last began or ended: time that was lost before is accounted for."""
    rested_s: float = 0.0
    """How long its clock has stood still up to ``stood_at``."""
    incidents: int = 0
    """How many were opened so far, those of callbacks aside."""
    open_incidents: dict[str, OpenIncident] = {}
    """By step: exactly those that are parked."""
    length: int = 0
    """How many events made this state."""
    waiting: dict[int, ApprovalAsked] = {}
    """What waits for a second person, by number; what is too old for it too."""

    @property
    def deadline(self) -> float | None:
        """When the saga's own timeout is over, but for what was lost since ``stood_at``; None past the pivot."""
        timeout_s = self.program.plan.timeout_s
        if timeout_s is None or self.pivoted:
            return None
        return self.launched_at + timeout_s + self.rested_s

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do in this direction."""
        if self.phase is not Phase.COMPENSATING:
            return self.walked
        return self.walked and not any(step.status in UNSETTLED for step in self.steps.values())

    @property
    def parked(self) -> list[str]:
        """Steps that need a person."""
        return [key for key, step in self.steps.items() if step.status in PARKED]

    @property
    def open(self) -> bool:
        """Whether anything is outstanding, or may become so without a person's help."""
        if self.phase in ENDED:
            return any(
                step.status in OUTSTANDING or step.status in PARKED for step in self.steps.values()
            )
        return True

    def call(self, key: str) -> Call:
        """The action of a step."""
        return self.program.call(self.steps[key].name)


ENDED = frozenset({Phase.COMPLETED, Phase.COMPENSATED})
EXECUTING = frozenset(
    {
        Status.RUNNING,
        Status.UNDOING,
        Status.CALLING,
        Status.PREPARING,
        Status.COMMITTING,
        Status.COMMIT_STUCK,
        Status.ABORTING,
        Status.ABORT_STUCK,
    }
)
"""A command to a participant is outstanding, or due later."""
OUTSTANDING = EXECUTING | {Status.WAITING, Status.SLEEPING, Status.VOTING}
PARKED = frozenset(
    {
        Status.PARKED,
        Status.UNDO_PARKED,
        Status.CALL_PARKED,
        Status.COMMIT_STUCK,
        Status.COMMIT_ASTRAY,
        Status.ABORT_STUCK,
        Status.ABORT_ASTRAY,
    }
)
"""A person is needed. What is stuck in its second phase is tried on all the same."""
GROUP_OPEN = frozenset({Status.VOTING, Status.RECALLING, Status.CONFIRMING, Status.WITHDRAWING})
"""An atomic group that is neither done nor taken back."""
UNSETTLED = GROUP_OPEN | {
    Status.RUNNING,
    Status.UNDOING,
    Status.UNDO_FAILED,
    Status.UNDO_PARKED,
}
"""What keeps a compensating run from being compensated."""
FORWARD_ONLY = frozenset(
    {Status.RUNNING, Status.WAITING, Status.SLEEPING, Status.SKIPPED, Status.PARKED}
)
"""What no event may make of a step once compensation has started."""
COMPLETE = frozenset({Status.DONE, Status.SKIPPED})

KIND: dict[Status, CommandKind] = {
    Status.RUNNING: "do",
    Status.WAITING: "do",
    Status.SLEEPING: "do",
    Status.FAILED: "do",
    Status.REFUSED: "do",
    Status.PARKED: "do",
    Status.BROKEN: "do",
    Status.UNDOING: "undo",
    Status.UNDO_FAILED: "undo",
    Status.UNDO_PARKED: "undo",
    Status.CALLING: "callback",
    Status.CALL_FAILED: "callback",
    Status.CALL_PARKED: "callback",
    Status.VOTING: "do",
    Status.PREPARING: "prepare",
    Status.COMMITTING: "commit",
    Status.COMMIT_STUCK: "commit",
    Status.COMMIT_ASTRAY: "commit",
    Status.ABORTING: "abort",
    Status.ABORT_STUCK: "abort",
    Status.ABORT_ASTRAY: "abort",
}
"""Which kind of command a status is about."""


_MAY_BE_DONE = frozenset({Status.RUNNING, Status.PREPARING, Status.ABORTING, Status.ABORT_STUCK})
"""Of the branches of atomic groups, ``irreversible`` has only those asked to commit in one phase."""


def interruptible(run: RunState, but: str | None = None) -> bool:
    """Whether compensation may begin now: not past the pivot, and no pivot (``but`` this step) that
    may take effect and can't be taken back.
    """
    if run.phase is not Phase.FORWARD or run.pivoted:
        return False
    irreversible = run.program.irreversible
    return not irreversible or not any(
        step.name in irreversible
        and key != but
        and (step.status in _MAY_BE_DONE or (step.status is Status.PARKED and step.reached))
        for key, step in run.steps.items()
    )


def backing_off(step: StepState, at: float) -> bool:
    """Whether the present attempt isn't out yet. A first one always is, whatever the clock says."""
    return step.due > at and step.attempt > step.base + 1


def never_sent(run: RunState, key: str) -> bool:
    """Whether an outstanding step surely wasn't: it began while the run stood still."""
    step = run.steps[key]
    if step.reached or (run.paused is None and not run.holds):
        return False
    if run.paused is not None and key not in run.paused.under_way:
        return True
    node = run.program.named[step.name]
    service = node.service if isinstance(node, Call) else ""
    return any(
        key not in hold.under_way and (hold.kind == "saga" or hold.name == service)
        for hold in run.holds.values()
    )


def only_its_reply_settles(run: RunState, step: StepState, at: float) -> bool:
    """Whether a running step has an attempt outstanding beside which an undo isn't safe: without a
    barrier the undo could come first and leave the effect behind.
    """
    node = run.program.named[step.name]
    guarded = not isinstance(node, Call) or node.barrier or node.read_only
    return not guarded and not backing_off(step, at)


_S = Status
STARTS: dict[Status, str] = {
    _S.RUNNING: "a call is reached",
    _S.WAITING: "a wait is reached",
    _S.SLEEPING: "a sleep is reached",
    _S.DONE: "a wait is reached, its signal came before",
    _S.BROKEN: "an expression has no value",
    _S.CALLING: "the run ended, or is stuck",
}
"""How a step begins. A parked step that is no call, or whose arguments had no value, begins anew
when it is retried."""

TRANSITIONS: dict[tuple[Status, str], Status] = {
    (_S.RUNNING, "StepSucceeded"): _S.DONE,
    (_S.RUNNING, "StepRefused"): _S.REFUSED,
    (_S.RUNNING, "StepFailed, to be retried"): _S.RUNNING,
    (_S.RUNNING, "StepFailed"): _S.FAILED,
    (_S.RUNNING, "StepInDoubt, to be retried"): _S.RUNNING,
    (_S.RUNNING, "StepInDoubt"): _S.FAILED,
    (_S.RUNNING, "StepParked"): _S.PARKED,
    (_S.RUNNING, "StepRetried"): _S.RUNNING,
    (_S.RUNNING, "StepSkipped"): _S.SKIPPED,
    (_S.RUNNING, "StepResolved as done"): _S.DONE,
    (_S.WAITING, "SignalReceived"): _S.DONE,
    (_S.WAITING, "WaitExpired"): _S.FAILED,
    (_S.WAITING, "StepSkipped"): _S.SKIPPED,
    (_S.SLEEPING, "SleepEnded"): _S.DONE,
    (_S.SLEEPING, "StepSkipped"): _S.SKIPPED,
    (_S.FAILED, "StepParked"): _S.PARKED,
    (_S.REFUSED, "StepParked"): _S.PARKED,
    (_S.BROKEN, "StepParked"): _S.PARKED,
    (_S.PARKED, "StepRetried"): _S.RUNNING,
    (_S.PARKED, "StepSkipped"): _S.SKIPPED,
    (_S.PARKED, "StepResolved as done"): _S.DONE,
    (_S.PARKED, "StepResolved as undone"): _S.UNDONE,
    (_S.UNDOING, "StepUndone"): _S.UNDONE,
    (_S.UNDOING, "StepFailed, to be retried"): _S.UNDOING,
    (_S.UNDOING, "StepFailed"): _S.UNDO_FAILED,
    (_S.UNDOING, "StepInDoubt, to be retried"): _S.UNDOING,
    (_S.UNDOING, "StepInDoubt"): _S.UNDO_FAILED,
    (_S.UNDOING, "StepParked"): _S.UNDO_PARKED,
    (_S.UNDOING, "StepRetried"): _S.UNDOING,
    (_S.UNDOING, "StepResolved as undone"): _S.UNDONE,
    (_S.UNDO_FAILED, "StepParked"): _S.UNDO_PARKED,
    (_S.UNDO_PARKED, "StepRetried"): _S.UNDOING,
    (_S.UNDO_PARKED, "StepResolved as undone"): _S.UNDONE,
    (_S.CALLING, "CallbackDelivered"): _S.HEARD,
    (_S.CALLING, "StepFailed, to be retried"): _S.CALLING,
    (_S.CALLING, "StepFailed"): _S.CALL_FAILED,
    (_S.CALLING, "StepInDoubt, to be retried"): _S.CALLING,
    (_S.CALLING, "StepInDoubt"): _S.CALL_FAILED,
    (_S.CALLING, "StepParked"): _S.CALL_PARKED,
    (_S.CALLING, "StepRetried"): _S.CALLING,
    (_S.CALL_FAILED, "StepParked"): _S.CALL_PARKED,
    (_S.CALL_PARKED, "StepRetried"): _S.CALLING,
    (_S.CALL_PARKED, "StepResolved as done"): _S.HEARD,
}
"""What an event makes of a step, by the step's status. What isn't here is a defect."""

UNDO_DUE = frozenset({_S.DONE, _S.SKIPPED, _S.FAILED, _S.REFUSED})
"""What is undone, if it may have left an effect, once everything after it is: then it is undoing, or,
where the plan has no undo for it, its undo has failed."""

COMPENSATION_STARTED: dict[Status, tuple[Status, ...]] = {
    _S.RUNNING: (_S.FAILED, _S.RUNNING, _S.ABANDONED),
    _S.WAITING: (_S.ABANDONED,),
    _S.SLEEPING: (_S.ABANDONED,),
    _S.PARKED: (_S.FAILED, _S.ABANDONED),
}
"""What the start of compensation makes of a step that isn't finished. A running step that only its
own reply can settle (no barrier, an attempt outstanding) stays running until that reply or its
deadline; a parked step that can't have left anything behind is abandoned, and so is one that began
while the run was paused.
"""
