"""What the desk answers with where the journal has no word for it: a run as seen, a version of a saga, shards."""

from __future__ import annotations

import msgspec

from orchestrator.console.archives import Place
from orchestrator.journal.port import LeaseState
from orchestrator.views.look import RunLook


class Seen(msgspec.Struct, frozen=True):
    """A run as somebody sees it after its first ``after`` events."""

    look: RunLook
    length: int
    """How many events it has; the run's ETag."""
    after: int
    at: float
    """The time it is seen at."""
    place: Place | None = None
    """Where it is kept, if it was archived: it can't be changed any more."""


class SagaRow(msgspec.Struct, frozen=True):
    """A saga's version: where it is known, and its open runs."""

    saga: str
    version: int
    hash: str
    steps: int
    stored: bool
    defined: bool
    runs: dict[str, int]
    """Of all versions: status to the number of runs."""


class Shards(msgspec.Struct, frozen=True):
    """Who writes what."""

    shards: int
    leases: tuple[LeaseState, ...]
    coordinators: tuple[str, ...]
