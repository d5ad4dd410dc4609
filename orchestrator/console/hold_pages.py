"""Holds of sagas and services: pages and API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from orchestrator.console.answers import Json
from orchestrator.console.api_actions import Key
from orchestrator.console.page_actions import first
from orchestrator.console.rendering import base_of, page
from orchestrator.console.requests import REASON_MAX, Strict
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Using, Viewer, fields
from orchestrator.errors import InvalidInputError
from orchestrator.kernel.events import HoldKind

router = APIRouter()


class Subject(Strict):
    """What is held."""

    kind: HoldKind
    name: str


class Releasing(Subject):
    """A hold to end."""

    reason: str = Field(default="", max_length=REASON_MAX, description="Why; kept with it.")


class Holding(Releasing):
    """A saga or a service to hold."""

    undos: bool = Field(default=False, description="Of a saga: compensation stands still too.")


@router.get("/api/v1/holds", tags=["holds"], responses=answers("HoldRows"))
def holds(
    who: Viewer,
    parts: Using,
    *,
    every: Annotated[
        bool, Query(alias="all", description="Also those that were released.")
    ] = False,
) -> Response:
    """What is held: by whom, since when, why."""
    return Json({"holds": parts.holds.list(who, in_force=not every)})


@router.post("/api/v1/holds/preview", tags=["holds"], responses=answers("HoldPreview"))
def preview(who: Operator, parts: Using, asked: Subject) -> Response:
    """How many open runs a hold would concern, and the one in force."""
    return Json(parts.holds.preview(who, asked.kind, asked.name))


@router.post("/api/v1/holds", tags=["holds"], status_code=201, responses=answers("Hold"))
def place(who: Operator, parts: Using, asked: Holding, key: Key = "") -> Response:
    """Stop a saga or a service: 201, 200 for one that was placed under this key, 409 if it is held already."""
    made, new = parts.holds.place(
        who, asked.kind, asked.name, undos=asked.undos, reason=asked.reason, key=key
    )
    return Json(made, status_code=201 if new else 200)


@router.post("/api/v1/holds/release", tags=["holds"], responses=answers("Hold"))
def release(who: Operator, parts: Using, asked: Releasing) -> Response:
    """Have a saga or a service go on: 409 if it isn't held."""
    return Json(parts.holds.release(who, asked.kind, asked.name, asked.reason))


@router.get("/holds", include_in_schema=False)
def holds_page(request: Request, who: Viewer, parts: Using) -> Response:
    """What is held, and was."""
    found = parts.holds.list(who, in_force=False)
    return page(request, "holds.html", who, {"holds": found})


@router.get("/holds/ask", include_in_schema=False)
def ask(request: Request, who: Operator, parts: Using, kind: HoldKind, name: str) -> Response:
    """What holding it, or releasing it, would concern; and the button."""
    seen = parts.holds.preview(who, kind, name)
    return page(request, "hold.html", who, {"seen": seen, "held": seen.held})


@router.post("/holds/{change}", include_in_schema=False)
async def change(request: Request, who: Operator, parts: Using, change: str) -> Response:
    """Place or release it."""
    given = await fields(request)
    kind = _kind(first(given, "kind"))
    name, reason = first(given, "name"), first(given, "reason")
    if change not in {"place", "release"} or len(reason) > REASON_MAX:
        raise InvalidInputError(f"{change}: a hold is placed or released, with a short reason")

    def carry_out() -> Any:
        if change == "release":
            return parts.holds.release(who, kind, name, reason)
        return parts.holds.place(who, kind, name, undos=bool(first(given, "undos")), reason=reason)

    await run_in_threadpool(carry_out)
    return RedirectResponse(f"{base_of(request)}/holds", status_code=303)


def _kind(given: str) -> HoldKind:
    match given:
        case "saga" | "service":
            return given
        case _:
            raise InvalidInputError(f"kind: saga or service, not {given!r}")
