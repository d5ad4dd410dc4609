"""Services and workers, and what is in doubt: pages and API over what is around the journal."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from orchestrator.console.answers import Json
from orchestrator.console.rendering import page
from orchestrator.console.requests import REASON_MAX, Strict
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Using, Viewer, fields
from orchestrator.errors import InvalidInputError
from orchestrator.kernel.event import Ending

router = APIRouter()

_MOST = 1_000


class Ends(Strict):
    """Branches to commit or to roll back, as their groups were decided."""

    service: str
    gids: list[str] = Field(min_length=1, max_length=_MOST)


class Choosing(Strict):
    """A branch that the journal can't decide, and how it is to end."""

    service: str
    gid: str
    kind: Ending


class Ruling(Choosing):
    """What a person decides."""

    reason: str = Field(default="", max_length=REASON_MAX, description="Why; kept with it.")


@router.get("/services", include_in_schema=False)
def services_page(request: Request, who: Viewer, parts: Using) -> Response:
    """Every service: its queues, its workers, its participants, and whether it is held."""
    held = parts.holds.by_subject(who)
    return page(request, "services.html", who, {"seen": parts.desk.services(who), "held": held})


@router.get("/in-doubt", include_in_schema=False)
def doubts_page(request: Request, who: Viewer, parts: Using) -> Response:
    """Prepared branches of atomic groups, and what the journal says of each."""
    values: dict[str, Any] = {"seen": parts.doubts.seen(who), "done": None}
    return page(request, "in_doubt.html", who, values)


@router.post("/in-doubt", include_in_schema=False)
async def end_page(request: Request, who: Operator, parts: Using) -> Response:
    """Tell branches what was decided."""
    given = await fields(request)
    service, gids = given.get("service", [""])[0], given.get("gid", [])
    if not 0 < len(gids) <= _MOST:
        raise InvalidInputError(f"choose between 1 and {_MOST} branches")

    def carry_out() -> dict[str, Any]:
        done = parts.doubts.end(who, service, set(gids))
        return {"done": done, "seen": parts.doubts.seen(who)}

    return page(request, "in_doubt.html", who, await run_in_threadpool(carry_out))


@router.get("/in-doubt/decide", include_in_schema=False)
def ask_page(
    request: Request, who: Operator, parts: Using, service: str, gid: str, kind: Ending
) -> Response:
    """What is known of a branch that the journal can't decide; and the button."""
    seen = parts.doubts.preview(who, service, gid, kind)
    return page(request, "decide.html", who, {"seen": seen, "one": seen.branch})


@router.post("/in-doubt/decide", include_in_schema=False)
async def decide_page(request: Request, who: Operator, parts: Using) -> Response:
    """Decide it."""
    given = await fields(request)
    try:
        asked = Ruling(**{name: given.get(name, [""])[0] for name in Ruling.model_fields})  # type: ignore[arg-type]  # checked by it
    except ValidationError as error:
        raise InvalidInputError(str(error.errors()[0]["msg"])) from error

    def carry_out() -> dict[str, Any]:
        one = parts.doubts.decide(who, asked.service, asked.gid, asked.kind, asked.reason)
        return {"done": [one], "seen": parts.doubts.seen(who)}

    return page(request, "in_doubt.html", who, await run_in_threadpool(carry_out))


@router.get("/api/v1/services", tags=["figures"], responses=answers("ServicesSeen"))
def services(who: Viewer, parts: Using) -> Response:
    """Every service: how much waits in its queues, how many workers read them, its participants."""
    return Json(parts.desk.services(who))


@router.get("/api/v1/in-doubt", tags=["two-phase"], responses=answers("DoubtsSeen"))
def doubts(who: Viewer, parts: Using) -> Response:
    """Prepared branches of atomic groups in the services' databases, and what the journal says of each."""
    return Json(parts.doubts.seen(who))


@router.post("/api/v1/in-doubt", tags=["two-phase"], responses=answers("Ended"))
def end(who: Operator, parts: Using, asked: Ends) -> Response:
    """Commit or roll back branches whose decision is known, and orphans that are old enough; ``came_to`` says what came
    of it, empty where nothing may be done.
    """
    done = parts.doubts.end(who, asked.service, set(asked.gids))
    return Json({"branches": done})


@router.post("/api/v1/in-doubt/preview", tags=["two-phase"], responses=answers("Ruled"))
def preview(who: Operator, parts: Using, asked: Choosing) -> Response:
    """What is known of a branch that the journal can't decide, before a person does."""
    return Json(parts.doubts.preview(who, asked.service, asked.gid, asked.kind))


@router.post("/api/v1/in-doubt/decide", tags=["two-phase"], responses=answers("InDoubt"))
def decide(who: Operator, parts: Using, asked: Ruling) -> Response:
    """Commit or roll back such a branch, because you have decided it: 200, and ``came_to`` says what came of it; 202 if
    that takes two people, and waits for another who says the same.
    """
    one = parts.doubts.decide(who, asked.service, asked.gid, asked.kind, asked.reason)
    return Json(one, status_code=200 if one.asked is None else 202)
