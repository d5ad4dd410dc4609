"""The events of a run: facts in the past tense, the only truth there is.

Each one carries when it happened and who caused it. In the happy path a step costs one event: a
dispatch is implied by the state, so it isn't recorded.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

CommandKind = Literal["do", "undo", "callback"]
"""What a command asks of a participant: the action, its compensation, or to hear how a run
ended.
"""


class Failure(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """An error as data. ``kinds`` are the qualified names of the error's type and its bases."""

    type: str
    message: str
    kinds: tuple[str, ...] = ()
    traceback: str = ""
    data: Any = None


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
    """An attempt's outcome is unknown: it may have taken effect. Without ``retry_at`` it was
    the last one.
    """

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
    """A signal arrived; kept until a step waits for it."""

    name: str
    data: Any = None
    signal_id: str = ""
    reason: str = ""


class CompensationStarted(_Event, frozen=True):
    """From here on the run only undoes."""

    reason: str
    step: str | None = None
    failure: Failure | None = None


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
)
