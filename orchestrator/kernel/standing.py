"""Why a run stands still, as data: it is paused itself, or its saga or a service that it calls is held."""

from __future__ import annotations

import msgspec

from orchestrator.kernel.events import HoldKind


class Paused(msgspec.Struct, gc=False, frozen=True):
    """Who had a run stand still, and what was under way then."""

    at: float
    actor: str
    reason: str
    under_way: dict[str, int]
    """Steps that may have been sent before, with their attempt; all else that is outstanding never was."""


class Held(msgspec.Struct, gc=False, frozen=True):
    """A hold as it is in force for one run."""

    kind: HoldKind
    name: str
    at: float
    actor: str
    reason: str
    undos: bool
    """Of a saga: compensation stands still too."""
    under_way: dict[str, int]
    """As in ``Paused``."""
