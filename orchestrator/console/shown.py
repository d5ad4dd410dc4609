"""What the desk answers with where the journal has no word for it: a run as seen, a version of a saga, shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from orchestrator.console.archives import Place
from orchestrator.definition.plan import Plan
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


def saga_rows(
    stored: Iterable[Plan], defined: Iterable[Plan], counts: Mapping[str, dict[str, int]]
) -> list[SagaRow]:
    """Every version that is stored or defined, in order."""
    known = {(plan.saga, plan.version): plan for plan in stored}
    ours = {(plan.saga, plan.version): plan for plan in defined}
    return [
        SagaRow(
            saga=plan.saga,
            version=plan.version,
            hash=plan.hash,
            steps=len(list(plan.steps())),
            stored=place in known,
            defined=place in ours and ours[place].hash == plan.hash,
            runs=counts.get(plan.saga, {}),
        )
        for place in sorted(known.keys() | ours.keys())
        for plan in (known.get(place) or ours[place],)
    ]
