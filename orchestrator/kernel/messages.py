"""What reaches a run from outside: the second argument of ``decide``.

Time comes in with the message, so the kernel needs no clock.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.kernel.events import (
    BranchAsked,
    BranchRuled,
    BulkSteered,
    CommandKind,
    Failure,
    HoldKind,
    HoldPlaced,
    HoldReleased,
    Vote,
)

Outcome = Literal[
    "succeeded",
    "refused",
    "failed",
    "lost",
    "unregistered",
    "rejected",
    "heuristic_commit",
    "heuristic_rollback",
    "protocol_error",
]
"""How a participant's attempt ended.

``succeeded``: took effect, or undone; ``refused``: a business no; ``failed``: an error; ``lost``:
the worker died, so unknown; ``unregistered``: no such participant in that worker; ``rejected``:
the barrier or the epoch forbade it; ``heuristic_commit``: the answer to ``abort`` where the proof row
says that somebody committed the branch; ``heuristic_rollback``: the answer to ``commit`` where neither
the branch nor its proof row is there; ``protocol_error``: the answer to ``commit`` for a branch that is
known to have been aborted, or never to have voted.
"""


class _Message(msgspec.Struct, gc=False, frozen=True, tag=True, omit_defaults=True, kw_only=True):
    at: float
    actor: str = ""


class Launch(_Message, frozen=True):
    """Start a run. ``plan`` is a content hash."""

    run_id: str
    saga: str
    version: int
    plan: str
    input: dict[str, Any]
    key: str | None = None
    tags: dict[str, str] = {}
    trace: dict[str, str] = {}


class Reply(_Message, frozen=True):
    """A participant's answer to one command."""

    step: str
    kind: CommandKind
    attempt: int
    outcome: Outcome
    vote: Vote | None = None
    """The answer to ``prepare``; to ``abort``, ``committed`` says that the branch had committed in
    one phase, so that the decision is commit."""
    result: Any = None
    failure: Failure | None = None
    took_s: float = 0.0


class Expired(_Message, frozen=True):
    """The deadline of a dispatched command passed without a reply."""

    step: str
    kind: CommandKind
    attempt: int


class TimerFired(_Message, frozen=True):
    """A sleep ended, a wait ran out, or, without a step, the saga's own time is over."""

    step: str | None = None


class Signal(_Message, frozen=True):
    """Data for a step that waits for ``name``."""

    name: str
    data: Any = None
    signal_id: str = ""
    reason: str = ""
    trace: dict[str, str] = {}


MANY = "many"


class _Asked(_Message, frozen=True, kw_only=True):
    """What an operator asks for."""

    request: str = ""
    """Asked again under this id, it is done once."""
    expects: int | None = None
    """How many events the run had when the operator looked: refused if it has others by now."""
    bulk: str = ""
    """The bulk operation that it is a part of; ``MANY`` for one of many that nothing records as a whole."""


class Retry(_Asked, frozen=True):
    """Try parked or backing-off steps again now; all of them without ``step``."""

    step: str | None = None
    args: dict[str, Any] | None = None
    reason: str = ""


class Skip(_Asked, frozen=True):
    """Go on past a step with this result."""

    step: str
    result: Any = None
    reason: str = ""


class Resolve(_Asked, frozen=True):
    """State what really happened to a step."""

    step: str
    undone: bool = False
    result: Any = None
    reason: str = ""


class Compensate(_Asked, frozen=True):
    """Undo the run from where it is."""

    reason: str = ""


class Cancel(_Asked, frozen=True):
    """Stop the run and undo it."""

    reason: str = ""


class Budget(_Asked, frozen=True):
    """Have a step tried up to so often; one that needs a person because it failed too often is tried again."""

    step: str
    attempts: int
    reason: str = ""


class Forget(_Asked, frozen=True):
    """Close the file of a branch that went against its group's decision."""

    step: str
    reason: str = ""


class Acknowledge(_Asked, frozen=True):
    """Take on incidents of the run: all that are open, without ``step`` or ``cluster``."""

    step: str | None = None
    cluster: str | None = None
    """Only those of this cluster."""
    reason: str = ""


class Pause(_Asked, frozen=True):
    """Have the run stand still."""

    reason: str = ""


class Resume(_Asked, frozen=True):
    """Have a paused run go on."""

    reason: str = ""


class Hold(_Message, frozen=True):
    """A hold is in force for the run. ``at`` is when the coordinator found that; the actor is the hold's."""

    hold: str
    kind: HoldKind
    name: str
    reason: str = ""
    undos: bool = False
    unsent: tuple[str, ...] = ()
    """Atomic groups of which the coordinator knows that none of their branches was asked for a vote."""


class Release(_Message, frozen=True):
    """A hold is in force no more."""

    hold: str
    reason: str = ""


class Noted(_Message, frozen=True):
    """What an operator did to no run but to a saga, a service, a prepared branch or a bulk operation, and has to be in
    the log.
    """

    event: HoldPlaced | HoldReleased | BranchAsked | BranchRuled | BulkSteered


class Approve(_Asked, frozen=True):
    """Be the second person for what somebody asked for."""

    number: int
    """Of the request: how many events the run had before it."""
    reason: str = ""


class Deny(_Asked, frozen=True):
    """Say no to what somebody asked for; one's own request too."""

    number: int
    reason: str = ""


class Recovered(_Message, frozen=True):
    """Another coordinator took the run over from the journal: what wasn't decided is aborted."""


Operation = (
    Retry | Skip | Resolve | Compensate | Cancel | Forget | Acknowledge | Pause | Resume | Budget
)
"""What an operator does to a run."""
Message = (
    Launch | Reply | Expired | TimerFired | Signal | Recovered | Hold | Release | Noted | Operation
)
"""What ``decide`` knows."""
Asked = Operation | Approve | Deny
"""What an operator may ask for."""
Inbound = Message | Approve | Deny
"""Whatever reaches a run; ``second`` comes before ``decide``."""


def operation_name(message: Asked | Signal) -> str:
    """What an operator asked for, in one word: the name in events, previews, audits and commands."""
    return type(message).__name__.lower()
