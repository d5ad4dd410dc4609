"""What all events have, and the words they are told in."""

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

Ending = Literal["commit", "abort"]
"""How a prepared branch ends."""

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


class Happened(msgspec.Struct, gc=False, frozen=True, tag=True, omit_defaults=True, kw_only=True):
    """What each event has beside its own."""

    at: float
    """Seconds since the Unix epoch."""
    actor: str = ""
    """Empty for the coordinator itself, else who asked: an operator, a client."""
    request: str = ""
    """The id under which an operator asked for it, if there was one."""
    second: str = ""
    """Who approved what the actor asked for, where that takes two people."""
