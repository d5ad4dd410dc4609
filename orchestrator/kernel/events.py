"""The events of a run: facts in the past tense, the only truth there is.

Each one carries when it happened and who caused it. In the happy path a step costs one event: a
dispatch is implied by the state, so it isn't recorded.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

CommandKind = Literal["do", "undo", "callback", "prepare", "commit", "abort"]
"""What a command asks of a participant: the action, its compensation, or to hear how a run
ended; of a branch of an atomic group: to vote, and to take the group's decision.
"""

Vote = Literal["prepared", "read_only", "committed"]
"""What a branch answers to ``prepare`` when it doesn't say no.

``prepared``: it can commit and can abort, and does neither by itself; ``read_only``: it changed
nothing and needs no second phase; ``committed``: asked to commit in one phase, it did.
"""

AfterAbort = Literal["retry", "fail", "refuse", "park"]
"""What becomes of an atomic group once it is taken back."""

HoldKind = Literal["saga", "service"]
"""What an operator can hold as a whole."""

Found = Literal["rollback", "commit", "protocol error"]
"""What a branch did against the decision; the last: it says that it was never asked to vote."""


class Failure(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """An error as data. ``kinds`` are the qualified names of the error's type and its bases."""

    type: str
    message: str
    kinds: tuple[str, ...] = ()
    traceback: str = ""
    data: Any = None
    frame: str = ""
    """The innermost function of the user's own code that it came through, as ``module:function``."""


class _Event(msgspec.Struct, gc=False, frozen=True, tag=True, omit_defaults=True, kw_only=True):
    at: float
    """Seconds since the Unix epoch."""
    actor: str = ""
    """Empty for the coordinator itself, else who asked: an operator, a client."""
    request: str = ""
    """The id under which an operator asked for it, if there was one."""


class RunLaunched(_Event, frozen=True):
    """A run was accepted, durably."""

    run_id: str
    saga: str
    version: int
    plan: str
    """The content hash of the plan this run keeps."""
    input: dict[str, Any]
    key: str | None = None
    tags: dict[str, str] = {}
    trace: dict[str, str] = {}
    """The trace the launch belongs to, as W3C headers; the run's commands go on with it."""


class StepSucceeded(_Event, frozen=True):
    """An action took effect and returned."""

    step: str
    attempt: int
    result: Any = None
    took_s: float = 0.0


class StepRefused(_Event, frozen=True):
    """A participant said no: a business answer, without effect."""

    step: str
    attempt: int
    failure: Failure


class StepFailed(_Event, frozen=True):
    """An attempt ended in an error. Without ``retry_at`` it was the last one."""

    step: str
    kind: CommandKind
    attempt: int
    failure: Failure
    retry_at: float | None = None


class StepInDoubt(_Event, frozen=True):
    """An attempt's outcome is unknown: it may have taken effect. Without ``retry_at`` it was the last one."""

    step: str
    kind: CommandKind
    attempt: int
    reason: str
    retry_at: float | None = None


class StepUndone(_Event, frozen=True):
    """A compensation is confirmed."""

    step: str
    attempt: int


class StepParked(_Event, frozen=True):
    """A step needs a person: an incident was opened."""

    step: str
    kind: CommandKind
    reason: str
    failure: Failure | None = None


class SleepEnded(_Event, frozen=True):
    """A sleep's time was over."""

    step: str


class WaitExpired(_Event, frozen=True):
    """A signal didn't come in time."""

    step: str


class SignalReceived(_Event, frozen=True):
    """A signal arrived; kept until a step waits for it. ``trace`` is its sender's, if the run is traced too."""

    name: str
    data: Any = None
    signal_id: str = ""
    reason: str = ""
    trace: dict[str, str] = {}


class CompensationStarted(_Event, frozen=True):
    """From here on the run only undoes."""

    reason: str
    step: str | None = None
    failure: Failure | None = None
    operation: str = ""
    """What an operator asked for that led to it: cancel, compensate, resolve."""


class RunPaused(_Event, frozen=True):
    """An operator had the run stand still: nothing new is sent, no time passes for it."""

    reason: str = ""


class RunResumed(_Event, frozen=True):
    """An operator had a paused run go on; what had time left when it was paused has as much now."""

    reason: str = ""


class BudgetSet(_Event, frozen=True):
    """An operator said how often a step may be tried."""

    step: str
    kind: CommandKind
    attempts: int
    """As it was asked for; of a step that needed a person, those made before count among them."""
    limit: int  # counted from the last retry that an operator asked for
    reason: str = ""


class RunHeld(_Event, frozen=True):
    """A hold of its saga, or of a service that it calls, has reached the run; actor and reason are the hold's."""

    hold: str
    """The hold's id."""
    kind: HoldKind
    name: str
    reason: str = ""
    undos: bool = False
    """Of a saga: compensation stands still too."""
    unsent: tuple[str, ...] = ()
    """Atomic groups that are outstanding and none of whose branches was asked for a vote."""


class RunReleased(_Event, frozen=True):
    """A hold has ended for the run; what had time left has as much now."""

    hold: str
    reason: str = ""


class HoldPlaced(_Event, frozen=True):
    """An operator holds a saga or a service: an event of no run, under ``kind:name`` instead of a run's id."""

    hold: str
    kind: HoldKind
    name: str
    reason: str = ""
    undos: bool = False


class HoldReleased(_Event, frozen=True):
    """An operator ended a hold: an event of no run, as ``HoldPlaced``."""

    hold: str
    kind: HoldKind
    name: str
    reason: str = ""


class CallbackDelivered(_Event, frozen=True):
    """A participant has heard how the run ended."""

    step: str
    attempt: int


class RunCompleted(_Event, frozen=True):
    """Every step is done."""

    result: Any = None


class RunCompensated(_Event, frozen=True):
    """Every step that may have taken effect has a confirmed undo."""


class StepRetried(_Event, frozen=True):
    """An operator asked for another attempt, perhaps with other arguments."""

    step: str
    kind: CommandKind
    args: dict[str, Any] | None = None
    reason: str = ""


class StepSkipped(_Event, frozen=True):
    """An operator gave a step's result in its place; if it may have taken effect it is still
    undone later.
    """

    step: str
    result: Any = None
    reason: str = ""


class StepResolved(_Event, frozen=True):
    """An operator found out what really happened to a step: done with ``result``, or undone
    (without effect).
    """

    step: str
    undone: bool
    result: Any = None
    reason: str = ""


class OperationRefused(_Event, frozen=True):
    """An operator's action came too late for the state the run was in."""

    operation: str
    why: str


class BranchVoted(_Event, frozen=True):
    """A branch of an atomic group said yes. ``committed``: in one phase, so that the decision is
    commit.
    """

    step: str
    attempt: int
    vote: Vote
    result: Any = None
    took_s: float = 0.0


class OnePhaseRecalled(_Event, frozen=True):
    """The one branch of an atomic group that was asked to commit by itself is asked whether it
    has, and kept from it if not; what follows is decided by its answer.
    """

    step: str
    """The group."""
    reason: str
    failure: Failure | None = None
    then: AfterAbort = "fail"
    retry_at: float | None = None
    counts: bool = True


class CommitDecided(_Event, frozen=True):
    """The decision: all branches of an atomic group said yes. Durable before any is told."""

    step: str
    """The group."""


class AbortDecided(_Event, frozen=True):
    """An atomic group is taken back, to be tried again at ``retry_at``, or for good."""

    step: str
    """The group."""
    reason: str
    failure: Failure | None = None
    then: AfterAbort = "fail"
    retry_at: float | None = None
    counts: bool = True
    """This attempt counts as one of those the group has."""


class BranchCommitted(_Event, frozen=True):
    """A branch has acknowledged the commit, and says what it gave where its vote couldn't."""

    step: str
    attempt: int
    result: Any = None
    took_s: float = 0.0


class BranchAborted(_Event, frozen=True):
    """A branch has acknowledged the abort: it has no effect, nor ever will."""

    step: str
    attempt: int


class HeuristicFound(_Event, frozen=True):
    """A branch went against the decision: by hand, or by an error of its participant. An incident
    was opened.
    """

    step: str
    kind: CommandKind
    attempt: int
    found: Found
    reason: str
    failure: Failure | None = None


class HeuristicForgotten(_Event, frozen=True):
    """An operator closed the file of a branch that went against the decision, after saying what
    became of it.
    """

    step: str
    reason: str = ""


class IncidentAcknowledged(_Event, frozen=True):
    """An operator took an incident on: nobody needs to be told of it any more."""

    step: str
    reason: str = ""


Event = (
    RunLaunched
    | StepSucceeded
    | StepRefused
    | StepFailed
    | StepInDoubt
    | StepUndone
    | StepParked
    | SleepEnded
    | WaitExpired
    | SignalReceived
    | CompensationStarted
    | CallbackDelivered
    | RunCompleted
    | RunCompensated
    | StepRetried
    | StepSkipped
    | StepResolved
    | OperationRefused
    | BranchVoted
    | OnePhaseRecalled
    | CommitDecided
    | AbortDecided
    | BranchCommitted
    | BranchAborted
    | HeuristicFound
    | HeuristicForgotten
    | IncidentAcknowledged
    | RunPaused
    | RunResumed
    | BudgetSet
    | RunHeld
    | RunReleased
    | HoldPlaced
    | HoldReleased
)
