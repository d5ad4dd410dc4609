"""What travels between coordinator and participants: work to do, and what came of it.

Field names are short where they repeat per command; the envelope around them is in ``envelope``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.kernel.events import CommandKind, Failure, Vote
from orchestrator.kernel.messages import Outcome

STALE_EPOCH = "StaleEpoch"
"""The type of the failure with which a participant rejects a command of a tenure that is over."""


def stale_epoch(message: str, newest: int) -> Failure:
    """The failure of such a rejection. ``newest`` is the tenure that the participant has heard of."""
    return Failure(STALE_EPOCH, message, data={"epoch": newest})


class Work(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """One command to one participant."""

    run: str
    shard: int
    epoch: int
    """The sender's tenure of the shard; participants refuse an older one than they have seen."""
    step: str
    kind: CommandKind
    attempt: int
    participant: str
    """Qualified: ``service.action``; for an undo it names the action that is undone."""
    args: dict[str, Any]
    timeout_s: float
    round: int = 0
    result: Any = None
    saga: str = ""
    trace: dict[str, str] = {}
    one_phase: bool = False
    """To ``prepare``: the branch may commit at once, as all others have voted yes or there are none;
    to ``abort``: it may have, and then answers the vote ``committed``."""

    @property
    def effect_key(self) -> str:
        """Names the effect, the same for every attempt: the idempotency key."""
        base = f"{self.run}:{self.step}"
        return f"{base}:{self.round}" if self.round else base


class Answer(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """What came of one command; the first six fields are those of the command it answers."""

    run: str
    shard: int
    epoch: int
    step: str
    kind: CommandKind
    attempt: int
    outcome: Outcome
    participant: str = ""
    result: Any = None
    failure: Failure | None = None
    took_s: float = 0.0
    worker: str = ""
    """The worker process that did it: ``host:pid``."""
    duplicate: bool = False
    """The barrier knew the command already and returned its stored reply."""
    vote: Vote | None = None
    """With ``succeeded``: the answer to ``prepare``, and to ``abort`` if it had committed in one
    phase."""

    @property
    def heard_epoch(self) -> int | None:
        """The newer tenure for whose sake the participant rejected the command; None if that wasn't why."""
        failure = self.failure
        if self.outcome != "rejected" or failure is None or failure.type != STALE_EPOCH:
            return None
        epoch = failure.data.get("epoch") if isinstance(failure.data, dict) else None
        return epoch if isinstance(epoch, int) else None
