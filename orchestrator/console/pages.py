"""Pages to read: overview, runs, a run, sagas, audit, shards. Everything on them works without JavaScript."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.console.access import Principal, Role
from orchestrator.console.bars import bars
from orchestrator.console.filters import AuditQuery, RunQuery
from orchestrator.console.offers import offers
from orchestrator.console.overview import lines
from orchestrator.console.rendering import page
from orchestrator.console.security import Parts, Using, Viewer
from orchestrator.definition.plan import Call
from orchestrator.errors import AmbiguousRunError, RunNotFoundError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.asked import OPERATIONS
from orchestrator.kernel.summary import RunStatus, RunSummary
from orchestrator.views.difference import difference
from orchestrator.views.look import RunLook
from orchestrator.views.steps import steps_of
from orchestrator.views.trouble import Raised

router = APIRouter(include_in_schema=False)

STATUSES: tuple[RunStatus, ...] = (
    *("stuck", "paused", "running", "compensating", "accepted", "completed", "compensated"),
)
_CLUSTERS_SHOWN = 12
_MINUTES = 60
_LISTED = 50
_WINDOW_S = 86_400.0
_EVENTS_SHOWN = 500


@router.get("/")
def overview(request: Request, who: Viewer, parts: Using) -> Response:
    """Who needs help, then how things go."""
    desk = parts.desk
    clusters = desk.clusters(who, limit=_CLUSTERS_SHOWN)
    pulse = desk.pulse(who, _MINUTES)
    counts = desk.counts(who)
    total = {
        status: sum(by_status.get(status, 0) for by_status in counts.values())
        for status in STATUSES
    }
    unexplained = not clusters.clusters and desk.runs(who, RunFilter(stuck=True), None, 1).runs
    values = {
        "clusters": clusters.clusters,
        "unexplained": unexplained,  # the counts may be of a moment ago
        "more_clusters": clusters.cursor is not None,
        "lines": lines(pulse),
        "shortened": pulse.shortened,
        "counts": counts,
        "total": total,
        "statuses": STATUSES,
        "happened": [status for status in STATUSES if total[status]],
        "recent": desk.runs(who, RunFilter(), None, 8).runs,
        "shards": desk.shards(),
        "flying": desk.in_flight(who),
        "services": desk.glance(who),
    }
    return page(request, "overview.html", who, values)


@router.get("/incidents")
def incidents(
    request: Request, who: Viewer, parts: Using, saga: str = "", cursor: str = ""
) -> Response:
    """What needs a person, by its cause."""
    found = parts.desk.clusters(who, saga, cursor or None, _LISTED)
    values = {
        "clusters": found.clusters,
        "cursor": found.cursor,
        "paged": bool(cursor),
        "saga": saga,
        "sagas": sorted(parts.desk.counts(who)),
    }
    return page(request, "incidents.html", who, values)


@router.get("/incidents/{cluster}")
def incident(
    request: Request, who: Viewer, parts: Using, cluster: str, cursor: str = ""
) -> Response:
    """A cause, its newest error, and the runs that it stopped."""
    desk = parts.desk
    found = desk.cluster(who, cluster)
    listed = desk.runs(who, RunFilter(cluster=cluster), cursor or None, _LISTED)
    newest = desk.seen(who, found.newest).look
    values = {
        "cluster": found,
        "runs": listed.runs,
        "cursor": listed.cursor,
        "paged": bool(cursor),
        "newest": newest,
        "errors": _errors_of(newest, cluster),
    }
    return page(request, "incident.html", who, values)


@router.get("/runs")
def runs(
    request: Request,
    who: Viewer,
    parts: Using,
    where: Annotated[RunQuery, Query()],
    cursor: str = "",
) -> Response:
    """The runs that fit a filter, which stands in the URL."""
    desk = parts.desk
    found = desk.runs(who, where.filter(desk.clock()), cursor or None, _LISTED)
    values = {
        "runs": found.runs,
        "cursor": found.cursor,
        "looked_at": found.looked_at,
        "elsewhere": None if found.runs else _named(parts, who, where),
        "paged": bool(cursor),
        "where": where,
        "query": where.encoded(),
        "statuses": STATUSES,
        "sagas": sorted(desk.counts(who)),
    }
    return page(request, "runs.html", who, values)


@router.get("/runs/{run}")
def run(
    request: Request,
    who: Viewer,
    parts: Using,
    run: str,
    after: Annotated[int | None, Query(ge=1)] = None,
    since: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """A run, now or after a number of its events; with ``since``, what changed after so many of them."""
    desk = parts.desk
    seen = desk.seen(who, run, after=after)
    earlier = None if since is None else desk.seen(who, run, after=min(since, seen.after))
    row = seen.look.run
    steps = steps_of(seen.look.plan)
    past = seen.after < seen.length
    may_act = who.role.includes(Role.OPERATOR) and not past
    entries = desk.entries(who, row.run_id)
    offered = may_act and seen.place is None
    values = {
        "seen": seen,
        "look": seen.look,
        "run": row,
        "past": past,
        "since": earlier and earlier.after,
        "changed": difference(earlier.look, seen.look) if earlier else (),
        "as_test": desk.as_test(who, row.run_id) if may_act and entries else "",
        "decided": any(step.decision for step in steps),
        "bars": bars(steps, row.launched_at, seen.at),
        "entries": entries[: seen.after][-_EVENTS_SHOWN:],
        "entries_hidden": max(0, seen.after - _EVENTS_SHOWN),
        "offers": offers(desk.clients(who.name), row, seen.look, desk.clock()) if offered else None,
        "values_shown": desk.sees_values(who),
        "waiting": () if past or seen.place else parts.approvals.of_run(who, row.run_id),
    }
    return page(request, "run.html", who, values)


def _named(parts: Parts, who: Principal, where: RunQuery) -> RunSummary | None:
    """The run that a search for nothing but its id or key means, which an archive may have."""
    try:
        return (
            parts.desk.found(who, where.key or where.text).run if where.key or where.text else None
        )
    except (RunNotFoundError, AmbiguousRunError):
        return None


def _errors_of(look: RunLook, cluster: str) -> tuple[Raised, ...]:
    troubles = look.need.incidents if look.need is not None else ()
    return next((one.errors for one in troubles if one.incident.cluster == cluster), ())


@router.get("/audit")
def audit(
    request: Request,
    who: Viewer,
    parts: Using,
    where: Annotated[AuditQuery, Query()],
    cursor: str = "",
) -> Response:
    """Who did what to which run."""
    desk = parts.desk
    found = desk.audit(who, where.filter(desk.clock()), cursor or None, _LISTED)
    values = {
        "keys": desk.keys(who, [one.run_id for one in found.entries]),
        "found": found,
        "where": where,
        "query": where.encoded(),
        "paged": bool(cursor),
        "operations": OPERATIONS,
        "sagas": sorted(desk.counts(who)),
    }
    return page(request, "audit.html", who, values)


@router.get("/sagas")
def sagas(request: Request, who: Viewer, parts: Using) -> Response:
    """Every saga's versions, and whether it is held."""
    held = parts.holds.by_subject(who)
    rows = parts.desk.plans(who)
    return page(request, "sagas.html", who, {"rows": rows, "held": held, "statuses": STATUSES})


@router.get("/sagas/{saga}")
def saga(
    request: Request, who: Viewer, parts: Using, saga: str, version: int | None = None
) -> Response:
    """A saga: its plan, its versions, how long its steps take."""
    desk = parts.desk
    plan = desk.plan(who, saga, version)
    figures = desk.statistics(who, _WINDOW_S, saga)
    still_open, more_open = desk.open_by_version(who, saga)
    values = {
        "plan": plan,
        "calls": [step for step, _ in plan.steps() if isinstance(step, Call)],
        "versions": [row for row in desk.plans(who) if row.saga == saga],
        "figures": next((one for one in figures.sagas if one.saga == saga), None),
        "steps": [one for one in figures.steps if one.saga == saga],
        "since": figures.since,
        "open": still_open,
        "more_open": more_open,
        "statuses": STATUSES,
        "hold": parts.holds.by_subject(who).get(f"saga:{saga}"),
    }
    return page(request, "saga.html", who, values)


@router.get("/shards")
def shards(request: Request, who: Viewer, parts: Using) -> Response:
    """Who writes what."""
    return page(request, "shards.html", who, {"shards": parts.desk.shards()})
