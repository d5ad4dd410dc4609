"""Services and workers, and what is in doubt: pages and API over what is around the journal."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from orchestrator.console.answers import Json
from orchestrator.console.holds import HoldDesk
from orchestrator.console.rendering import page
from orchestrator.console.requests import Strict
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Using, Viewer, fields
from orchestrator.errors import InvalidInputError

router = APIRouter()

_MOST = 1_000


class Ending(Strict):
    """Branches to commit or to roll back, as their groups were decided."""

    service: str
    gids: list[str] = Field(min_length=1, max_length=_MOST)


@router.get("/services", include_in_schema=False)
def services_page(request: Request, who: Viewer, parts: Using) -> Response:
    """Every service: its queues, its workers, its participants, and whether it is held."""
    held = HoldDesk(parts.desk).by_subject(who)
    return page(request, "services.html", who, {"seen": parts.desk.services(who), "held": held})


@router.get("/in-doubt", include_in_schema=False)
def doubts_page(request: Request, who: Viewer, parts: Using) -> Response:
    """Prepared branches of atomic groups, and what the journal says of each."""
    values: dict[str, Any] = {"seen": parts.desk.in_doubt(who), "done": None}
    return page(request, "in_doubt.html", who, values)


@router.post("/in-doubt", include_in_schema=False)
async def end_page(request: Request, who: Operator, parts: Using) -> Response:
    """Tell branches what was decided."""
    given = await fields(request)
    service, gids = given.get("service", [""])[0], given.get("gid", [])
    if not 0 < len(gids) <= _MOST:
        raise InvalidInputError(f"choose between 1 and {_MOST} branches")

    def carry_out() -> dict[str, Any]:
        done = parts.desk.end_in_doubt(who, service, set(gids))
        return {"done": done, "seen": parts.desk.in_doubt(who)}

    return page(request, "in_doubt.html", who, await run_in_threadpool(carry_out))


@router.get("/api/v1/services", tags=["figures"], responses=answers("ServicesSeen"))
def services(who: Viewer, parts: Using) -> Response:
    """Every service: how much waits in its queues, how many workers read them, its participants."""
    return Json(parts.desk.services(who))


@router.get("/api/v1/in-doubt", tags=["two-phase"], responses=answers("DoubtsSeen"))
def doubts(who: Viewer, parts: Using) -> Response:
    """Prepared branches of atomic groups in the services' databases, and what the journal says of each."""
    return Json(parts.desk.in_doubt(who))


@router.post("/api/v1/in-doubt", tags=["two-phase"], responses=answers("Ended"))
def end(who: Operator, parts: Using, asked: Ending) -> Response:
    """Commit or roll back branches whose decision is known, and orphans that are old enough; ``came_to`` says what came
    of it, empty where nothing may be done.
    """
    done = parts.desk.end_in_doubt(who, asked.service, set(asked.gids))
    return Json({"branches": done})
