"""What a client is told beside its journal."""

from __future__ import annotations

import msgspec

from orchestrator.kernel.second import NOBODY, TwoPeople


class ClientOptions(msgspec.Struct, frozen=True):
    """Who the client speaks for, its limits, and what it says beforehand."""

    actor: str = ""
    """Recorded with every launch and every operation."""
    payload_limit_bytes: int = 1024 * 1024
    """The largest input or signal, encoded."""
    two_people: TwoPeople = NOBODY
    """What previews call an operation that takes two people. What really does, the coordinators decide."""
