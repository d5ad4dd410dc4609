"""Incidents that are open, clustered by their cause, and who has been told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from orchestrator.kernel.events import CommandKind


class Cluster(msgspec.Struct, frozen=True, omit_defaults=True):
    """Open incidents of one cause, in the words of the newest. Times are epoch seconds."""

    cluster: str
    saga: str
    step: str
    """Of a fan-out's instances, the step they are made from."""
    kind: CommandKind
    message: str
    incidents: int
    runs: int
    acked: int
    """How many of the incidents somebody has taken on."""
    first: float
    """When the oldest was opened."""
    last: float
    newest: str
    """The run of the newest."""
    error: str = ""
    frame: str = ""


class ClusterPage(msgspec.Struct, frozen=True):
    """One page of clusters: those with incidents that nobody took on first, then the largest."""

    clusters: tuple[Cluster, ...]
    cursor: str | None


class IncidentJournal(Protocol):
    """What is asked about incidents."""

    def clusters(
        self,
        sagas: Sequence[str] = (),
        cursor: str | None = None,
        limit: int = 50,
        prefix: str = "",
    ) -> ClusterPage:
        """A page of clusters of open incidents, of these sagas if any are named, with ids that begin so."""
        ...

    def noticed(self) -> dict[str, float]:
        """When people were last told of a cluster."""
        ...

    def claim_notice(self, cluster: str, now: float, every_s: float) -> bool:
        """Whether it is the caller who tells people of a cluster now: true for one caller in ``every_s``."""
        ...
