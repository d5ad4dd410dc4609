"""The HTTP API, reading: what the command line can show of runs, sagas and shards."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response

from orchestrator.console.answers import Json, etag
from orchestrator.console.filters import AuditQuery, RunQuery
from orchestrator.console.schemas import ClusterRuns, answers, texts
from orchestrator.console.security import CSRF_HEADER, Admin, Operator, Using, Viewer
from orchestrator.console.shown import Seen
from orchestrator.definition import drawing
from orchestrator.definition.plan import Plan
from orchestrator.journal.port import RunFilter
from orchestrator.views.difference import difference
from orchestrator.views.marked_plan import marked
from orchestrator.views.steps import steps_of

PAGE_MAX = 500
router = APIRouter(prefix="/api/v1", default_response_class=Json)

Format = Literal["svg", "mermaid"]
DRAWN = texts("image/svg+xml", "text/plain")
Page = Annotated[RunQuery, Query()]


@router.get("/me", tags=["access"], responses=answers("Me"))
def me(who: Viewer, parts: Using) -> Response:
    """Who you are here, and what a mutation with a cookie has to carry."""
    proof = {CSRF_HEADER: parts.sessions.proof(who)} if who.ambient else {}
    return Json({"name": who.name, "role": who.role, "sagas": who.sagas, "headers": proof})


@router.get("/runs", tags=["runs"], responses=answers("Page"))
def runs(
    who: Viewer,
    parts: Using,
    where: Page,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Response:
    """A page of runs, newest first; ``cursor`` of one page gives the next."""
    return Json(parts.desk.runs(who, where.filter(parts.desk.clock()), cursor or None, limit))


@router.get("/runs/{run}", tags=["runs"], responses=answers("RunLook"))
def run(who: Viewer, parts: Using, run: str) -> Response:
    """A run: its row, its plan with the state of every step, and what an operator can do. Its ETag goes into If-Match
    of an action.
    """
    return _seen(parts.desk.seen(who, run))


@router.get("/runs/{run}/state", tags=["runs"], responses=answers("RunLook"))
def state(
    who: Viewer,
    parts: Using,
    run: str,
    at: float | None = None,
    after: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """A run as it was at a time in epoch seconds, or after a number of its events."""
    return _seen(parts.desk.seen(who, run, after=after, at=at))


@router.get("/runs/{run}/events", tags=["runs"], responses=answers("Entries"))
def events(
    who: Viewer,
    parts: Using,
    run: str,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Response:
    """A run's events behind the first ``after``, in words and as data."""
    entries = parts.desk.entries(who, run)
    shown = entries[after : after + limit]
    return Json({"events": shown, "length": len(entries)}, headers={"ETag": etag(len(entries))})


@router.get("/runs/{run}/changes", tags=["runs"], responses=answers("Changes"))
def changes(
    who: Viewer,
    parts: Using,
    run: str,
    since: Annotated[int, Query(ge=1)] = 1,
    after: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """What changed in a run between its first ``since`` events and its first ``after`` (all of them without)."""
    later = parts.desk.seen(who, run, after=after)
    earlier = parts.desk.seen(who, run, after=min(since, later.after))
    found = difference(earlier.look, later.look)
    return Json({"since": earlier.after, "after": later.after, "changes": found})


@router.get("/runs/{run}/test", tags=["runs"], responses=texts("text/x-python"))
def test(who: Operator, parts: Using, run: str) -> Response:
    """A run as a test for the pytest fixture ``sagas``: the same input, the same faults."""
    return Response(parts.desk.as_test(who, run), media_type="text/x-python; charset=utf-8")


@router.get("/runs/{run}/drawing", tags=["runs"], responses=DRAWN)
def run_drawing(who: Viewer, parts: Using, run: str, format: Format = "svg") -> Response:  # noqa: A002 - the parameter's public name
    """A run's plan with the state of its steps, as SVG or Mermaid."""
    seen = parts.desk.seen(who, run)
    return _drawn(marked(parts.desk.plan_of(who, run), steps_of(seen.look.plan)), format)


@router.get("/incidents", tags=["incidents"], responses=answers("ClusterPage"))
def incidents(
    who: Viewer,
    parts: Using,
    saga: str = "",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Response:
    """Open incidents by their cause: clusters that nobody is on first, then the largest."""
    return Json(parts.desk.clusters(who, saga, cursor or None, limit))


@router.get("/incidents/{cluster}", tags=["incidents"], responses=answers("ClusterRuns"))
def incident(
    who: Viewer,
    parts: Using,
    cluster: str,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Response:
    """A cluster with a page of its runs, newest first. It is taken on by ``POST /bulk`` with ``acknowledge``."""
    found = parts.desk.cluster(who, cluster)
    page = parts.desk.runs(who, RunFilter(cluster=cluster), cursor or None, limit)
    return Json(ClusterRuns(found, page.runs, page.cursor))


@router.get("/audit", tags=["audit"], responses=answers("AuditPage"))
def audit(
    who: Viewer,
    parts: Using,
    where: Annotated[AuditQuery, Query()],
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Response:
    """Who did what to which run, newest first, refused or not, with the run's state before and after; ``intact`` says
    whether the hash chain holds for every event of these runs.
    """
    return Json(parts.desk.audit(who, where.filter(parts.desk.clock()), cursor or None, limit))


@router.get("/sagas", tags=["sagas"], responses=answers("SagaRows"))
def sagas(who: Viewer, parts: Using) -> Response:
    """Every saga's versions, stored or defined."""
    return Json({"sagas": parts.desk.plans(who)})


@router.get("/sagas/{saga}", tags=["sagas"])
def saga(who: Viewer, parts: Using, saga: str, version: int | None = None) -> Response:
    """A saga's plan as data."""
    return Json(msgspec.to_builtins(parts.desk.plan(who, saga, version)))


@router.get("/sagas/{saga}/drawing", tags=["sagas"], responses=DRAWN)
def saga_drawing(
    who: Viewer,
    parts: Using,
    saga: str,
    version: int | None = None,
    format: Format = "svg",  # noqa: A002 - the parameter's public name
) -> Response:
    """A saga's plan as SVG or Mermaid."""
    return _drawn(parts.desk.plan(who, saga, version), format)


@router.get("/stats", tags=["figures"], responses=answers("Statistics"))
def stats(
    who: Viewer,
    parts: Using,
    window_s: Annotated[float, Query(gt=0, le=7 * 86_400)] = 3_600.0,
    saga: str | None = None,
) -> Response:
    """Figures of the last ``window_s`` seconds: rates, outcomes, durations of runs and steps."""
    return Json(parts.desk.statistics(who, window_s, saga))


@router.get("/pulse", tags=["figures"], responses=answers("Pulse"))
def pulse(who: Viewer, parts: Using, minutes: Annotated[int, Query(ge=1, le=240)] = 60) -> Response:
    """What began and ended in each of the last minutes."""
    return Json(parts.desk.pulse(who, minutes))


@router.get("/in-flight", tags=["figures"], responses=answers("InFlight"))
def in_flight(who: Viewer, parts: Using) -> Response:
    """Where the open runs stand, by saga and step, and the oldest; of the newest 2,000."""
    return Json(parts.desk.in_flight(who))


@router.get("/shards", tags=["figures"], responses=answers("Shards"))
def shards(who: Viewer, parts: Using) -> Response:
    """Who writes what."""
    del who
    return Json(parts.desk.shards())


@router.get("/access", tags=["access"], responses=answers("Access"))
def access(who: Admin, parts: Using) -> Response:
    """Who may do what: tokens without what they are made of, and grants to people."""
    del who
    options = parts.options
    tokens = [
        {"name": t.name, "role": t.role, "sagas": t.sagas, "expires_at": t.expires_at}
        for t in options.tokens
    ]
    return Json({"tokens": tokens, "grants": options.proxy.grants if options.proxy else ()})


def _seen(seen: Seen) -> Response:
    body = {
        "length": seen.length,
        "after": seen.after,
        "at": seen.at,
        "archived": seen.place,
        **_fields(seen),
    }
    return Json(body, headers={"ETag": etag(seen.length)})


def _fields(seen: Seen) -> dict[str, Any]:
    return {name: getattr(seen.look, name) for name in seen.look.__struct_fields__}


def _drawn(plan: Plan, format_: Format) -> Response:
    if format_ == "mermaid":
        return Response(drawing.mermaid(plan), media_type="text/plain; charset=utf-8")
    style = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(drawing.svg(plan), media_type="image/svg+xml", headers=style)
