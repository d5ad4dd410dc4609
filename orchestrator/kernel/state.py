"""The state of a run, and the legal transitions of a step as data.

The table ``TRANSITIONS`` is the rule; ``evolve`` applies it and the docs' diagram is drawn from
it. A state is treated as immutable: ``evolve`` makes a new one.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from orchestrator.definition.plan import Call
from orchestrator.kernel.events import CommandKind, Failure
from orchestrator.kernel.program import Program


class Phase(Enum):
    """Which way a run goes."""

    FORWARD = "forward"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


class Status(Enum):
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


class StepState(msgspec.Struct, frozen=True):
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
    round: int = 0
    args: dict[str, Any] = {}
    result: Any = None
    doubt: bool = False
    """Some attempt may have taken effect without our knowing."""
    failure: Failure | None = None
    reason: str = ""


class RunState(msgspec.Struct):
    """One run. Never changed once it is handed out."""

    run_id: str
    program: Program
    input: dict[str, Any]
    key: str | None
    tags: dict[str, str]
    launched_at: float
    phase: Phase = Phase.FORWARD
    pivoted: bool = False
    steps: dict[str, StepState] = {}
    scopes: dict[str, list[Any]] = {}
    """The items of each ``Each`` that was reached."""
    branches: dict[str, bool] = {}
    """What each condition that was reached said."""
    signals: tuple[tuple[str, Any], ...] = ()
    """Signals that no step has waited for yet."""
    signal_ids: frozenset[str] = frozenset()
    finished: bool = False
    """Nothing is left to do in this direction."""
    broken: tuple[str, ...] = ()
    """Steps whose arguments, condition or items have no value."""
    reason: str = ""
    cause: Failure | None = None
    result: Any = None
    ended_at: float | None = None
    incidents: int = 0
    length: int = 0
    """How many events made this state."""

    @property
    def deadline(self) -> float | None:
        """When the saga's own timeout is over; None when it has none, or past the pivot."""
        timeout_s = self.program.plan.timeout_s
        return None if timeout_s is None or self.pivoted else self.launched_at + timeout_s

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
OUTSTANDING = frozenset(
    {Status.RUNNING, Status.UNDOING, Status.CALLING, Status.WAITING, Status.SLEEPING}
)
PARKED = frozenset({Status.PARKED, Status.UNDO_PARKED, Status.CALL_PARKED})
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
}
"""Which kind of command a status is about."""

_S = Status
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

COMPENSATION_STARTED: dict[Status, Status] = {
    _S.RUNNING: _S.FAILED,
    _S.WAITING: _S.ABANDONED,
    _S.SLEEPING: _S.ABANDONED,
    _S.PARKED: _S.FAILED,
    _S.BROKEN: _S.ABANDONED,
}
"""What the start of compensation makes of a step that isn't finished. A running step that only its
own reply can settle (no barrier, an attempt outstanding) stays running until that reply or its
deadline."""
