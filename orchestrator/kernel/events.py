"""The events of a run: facts in the past tense, the only truth there is.

Each one carries when it happened and who caused it. In the happy path a step costs one event: a
dispatch is implied by the state, so it isn't recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.kernel.event import (
    AfterAbort,
    CommandKind,
    Failure,
    Found,
    Happened,
    HoldKind,
    Vote,
)
from orchestrator.kernel.operator_events import (
    ApprovalAsked,
    ApprovalDenied,
    ApprovalGiven,
    BranchAsked,
    BranchRuled,
    BudgetSet,
    BulkSteered,
    HoldPlaced,
    HoldReleased,
    IncidentAcknowledged,
    OperationRefused,
    RunHeld,
    RunPaused,
    RunReleased,
    RunResumed,
)

__all__ = [
    "AbortDecided",
    "AfterAbort",
    "ApprovalAsked",
    "ApprovalDenied",
    "ApprovalGiven",
    "BranchAborted",
    "BranchAsked",
    "BranchCommitted",
    "BranchRuled",
    "BranchVoted",
    "BudgetSet",
    "BulkSteered",
    "CallbackDelivered",
    "CommandKind",
    "CommitDecided",
    "CompensationStarted",
    "Event",
    "Failure",
    "Found",
    "HeuristicForgotten",
    "HeuristicFound",
    "HoldKind",
    "HoldPlaced",
    "HoldReleased",
    "IncidentAcknowledged",
    "OnePhaseRecalled",
    "OperationRefused",
    "RunCompensated",
    "RunCompleted",
    "RunHeld",
    "RunLaunched",
    "RunPaused",
    "RunReleased",
    "RunResumed",
    "SignalReceived",
    "SleepEnded",
    "StepFailed",
    "StepInDoubt",
    "StepParked",
    "StepRefused",
    "StepResolved",
    "StepRetried",
    "StepSkipped",
    "StepSucceeded",
    "StepUndone",
    "Vote",
    "WaitExpired",
]


class RunLaunched(Happened, frozen=True):
    """A run was accepted, durably."""

    run_id: str
    saga: str
    version: int
    plan: str
    """The content hash of the plan this run keeps."""
    input: dict[str, Any]
    key: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    trace: dict[str, str] = msgspec.field(default_factory=dict)
    """The trace the launch belongs to, as W3C headers; the run's commands go on with it."""


class StepSucceeded(Happened, frozen=True):
    """An action took effect and returned."""

    step: str
    attempt: int
    result: Any = None
    took_s: float = 0.0


class StepRefused(Happened, frozen=True):
    """A participant said no: a business answer, without effect."""

    step: str
    attempt: int
    failure: Failure


class StepFailed(Happened, frozen=True):
    """An attempt ended in an error. Without ``retry_at`` it was the last one."""

    step: str
    kind: CommandKind
    attempt: int
    failure: Failure
    retry_at: float | None = None


class StepInDoubt(Happened, frozen=True):
    """An attempt's outcome is unknown: it may have taken effect. Without ``retry_at`` it was
    the last one.
    """

    step: str
    kind: CommandKind
    attempt: int
    reason: str
    retry_at: float | None = None


class StepUndone(Happened, frozen=True):
    """A compensation is confirmed."""

    step: str
    attempt: int


class StepParked(Happened, frozen=True):
    """A step needs a person: an incident was opened."""

    step: str
    kind: CommandKind
    reason: str
    failure: Failure | None = None


class SleepEnded(Happened, frozen=True):
    """A sleep's time was over."""

    step: str


class WaitExpired(Happened, frozen=True):
    """A signal didn't come in time."""

    step: str


class SignalReceived(Happened, frozen=True):
    """A signal arrived; kept until a step waits for it."""

    name: str
    data: Any = None
    signal_id: str = ""
    reason: str = ""
    trace: dict[str, str] = msgspec.field(default_factory=dict)
    """The sender's place in a trace of its own, as W3C headers, if the run is traced too."""


class CompensationStarted(Happened, frozen=True):
    """From here on the run only undoes."""

    reason: str
    step: str | None = None
    failure: Failure | None = None
    operation: str = ""
    """What an operator asked for that led to it: cancel, compensate, resolve."""


class CallbackDelivered(Happened, frozen=True):
    """A participant has heard how the run ended."""

    step: str
    attempt: int


class RunCompleted(Happened, frozen=True):
    """Every step is done."""

    result: Any = None


class RunCompensated(Happened, frozen=True):
    """Every step that may have taken effect has a confirmed undo."""


class StepRetried(Happened, frozen=True):
    """An operator asked for another attempt, perhaps with other arguments."""

    step: str
    kind: CommandKind
    args: dict[str, Any] | None = None
    reason: str = ""


class StepSkipped(Happened, frozen=True):
    """An operator gave a step's result in its place; if it may have taken effect it is still
    undone later.
    """

    step: str
    result: Any = None
    reason: str = ""


class StepResolved(Happened, frozen=True):
    """An operator found out what really happened to a step: done with ``result``, or undone
    (without effect).
    """

    step: str
    undone: bool
    result: Any = None
    reason: str = ""


class BranchVoted(Happened, frozen=True):
    """A branch of an atomic group said yes. ``committed``: in one phase, so that the decision is
    commit.
    """

    step: str
    attempt: int
    vote: Vote
    result: Any = None
    took_s: float = 0.0


class OnePhaseRecalled(Happened, frozen=True):
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


class CommitDecided(Happened, frozen=True):
    """The decision: all branches of an atomic group said yes. Durable before any is told."""

    step: str
    """The group."""


class AbortDecided(Happened, frozen=True):
    """An atomic group is taken back, to be tried again at ``retry_at``, or for good."""

    step: str
    """The group."""
    reason: str
    failure: Failure | None = None
    then: AfterAbort = "fail"
    retry_at: float | None = None
    counts: bool = True
    """This attempt counts as one of those the group has."""


class BranchCommitted(Happened, frozen=True):
    """A branch has acknowledged the commit, and says what it gave where its vote couldn't."""

    step: str
    attempt: int
    result: Any = None
    took_s: float = 0.0


class BranchAborted(Happened, frozen=True):
    """A branch has acknowledged the abort: it has no effect, nor ever will."""

    step: str
    attempt: int


class HeuristicFound(Happened, frozen=True):
    """A branch went against the decision: by hand, or by an error of its participant. An incident
    was opened.
    """

    step: str
    kind: CommandKind
    attempt: int
    found: Found
    reason: str
    failure: Failure | None = None


class HeuristicForgotten(Happened, frozen=True):
    """An operator closed the file of a branch that went against the decision, after saying what
    became of it.
    """

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
    | BranchAsked
    | BranchRuled
    | BulkSteered
    | ApprovalAsked
    | ApprovalGiven
    | ApprovalDenied
)
