"""What operators do to runs, sagas and services beside a step: pauses, holds, budgets, requests for a second person."""

from __future__ import annotations

from typing import Any

from orchestrator.kernel.event import CommandKind, Ending, Happened, HoldKind


class RunPaused(Happened, frozen=True):
    """An operator had the run stand still: nothing new is sent, no time passes for it."""

    reason: str = ""


class RunResumed(Happened, frozen=True):
    """An operator had a paused run go on; what had time left when it was paused has as much now."""

    reason: str = ""


class BudgetSet(Happened, frozen=True):
    """An operator said how often a step may be tried."""

    step: str
    kind: CommandKind
    attempts: int
    """As it was asked for; of a step that needed a person, those made before count among them."""
    limit: int  # counted from the last retry that an operator asked for
    reason: str = ""


class RunHeld(Happened, frozen=True):
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


class RunReleased(Happened, frozen=True):
    """A hold has ended for the run; what had time left has as much now."""

    hold: str
    reason: str = ""


class HoldPlaced(Happened, frozen=True):
    """An operator holds a saga or a service: an event of no run, under ``kind:name`` instead of a run's id."""

    hold: str
    kind: HoldKind
    name: str
    reason: str = ""
    undos: bool = False


class HoldReleased(Happened, frozen=True):
    """An operator ended a hold: an event of no run, as ``HoldPlaced``."""

    hold: str
    kind: HoldKind
    name: str
    reason: str = ""


class BranchAsked(Happened, frozen=True):
    """Somebody says how a prepared branch is to end that the journal can't decide, and that takes two people: an event
    of no run, under ``branch:gid``.
    """

    gid: str
    service: str
    step: str
    kind: Ending
    expires_at: float
    reason: str = ""


class BranchRuled(Happened, frozen=True):
    """Somebody decided how such a branch ends, before it was told so; of no run, as ``BranchAsked``."""

    gid: str
    service: str
    step: str
    kind: Ending
    reason: str = ""


class BulkSteered(Happened, frozen=True):
    """Somebody started, paused, resumed, approved or aborted a recorded bulk operation: an event of no run, under
    ``bulk:id``.
    """

    bulk: str
    what: str
    """``started`` and the like."""
    operation: str
    """What is done to each of its runs."""
    total: int
    """How many runs it is for."""
    reason: str = ""


class OperationRefused(Happened, frozen=True):
    """An operator's action came too late for the state the run was in."""

    operation: str
    why: str


class ApprovalAsked(Happened, frozen=True):
    """An operator asked for something that takes two people."""

    number: int
    """How many events the run had before: the state it was asked for in."""
    operation: str
    sees: str
    """A digest of what it would have done then, see ``kernel.second``."""
    expires_at: float
    step: str | None = None
    args: dict[str, Any] | None = None
    result: Any = None
    undone: bool = False
    cluster: str | None = None
    attempts: int = 0
    reason: str = ""


class ApprovalGiven(Happened, frozen=True):
    """Another person approved it; what it led to follows, with both names."""

    number: int
    reason: str = ""


class ApprovalDenied(Happened, frozen=True):
    """Somebody said no to it, or who had asked took it back."""

    number: int
    reason: str = ""


class IncidentAcknowledged(Happened, frozen=True):
    """An operator took an incident on: nobody needs to be told of it any more."""

    step: str
    reason: str = ""
