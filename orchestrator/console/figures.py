"""``/metrics``: what the journal as a whole says, for Prometheus, to whoever may look; of the sagas they may see."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry

from orchestrator.console.security import Using, Viewer
from orchestrator.telemetry.prometheus import CONTENT_TYPE, Collected, gauged, page

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(who: Viewer, parts: Using) -> Response:
    """The metrics of the catalog whose place is the console."""
    desk = parts.desk
    runs: dict[tuple[str, ...], float] = {
        (saga, status): number
        for saga, by_status in desk.counts(who).items()
        for status, number in by_status.items()
    }
    shards = desk.shards()
    now = desk.clock()
    written = sum(lease.expires_at > now for lease in shards.leases)
    states: dict[tuple[str, ...], float] = {
        ("written",): written,
        ("unwritten",): shards.shards - written,
    }
    asked = [bulk for bulk in parts.bulks.list(who) if bulk.state == "waiting"]
    bulks = sum(bulk.expires_at >= now for bulk in asked)
    registry = CollectorRegistry()
    registry.register(
        Collected(
            lambda: (
                gauged("saga_journal_runs", runs),
                gauged("saga_journal_shards", states),
                gauged("saga_journal_coordinators", {(): len(shards.coordinators)}),
                gauged("saga_journal_waiting_bulks", {(): bulks}),
            )
        )
    )
    return Response(page(registry), media_type=CONTENT_TYPE)
