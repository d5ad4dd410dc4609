"""The HTTP API of what waits for a second person; approving and denying are operations on the run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from orchestrator.console.answers import Json
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Using, Viewer

router = APIRouter(prefix="/api/v1", default_response_class=Json)


@router.get("/approvals", tags=["approvals"], responses=answers("Waiting"))
def approvals(who: Viewer, parts: Using) -> Response:
    """Requests on runs, and bulk operations, that wait for a second person; the newest first."""
    return Json(parts.approvals.waiting(who))


@router.get("/runs/{run}/approvals/{number}", tags=["approvals"], responses=answers("Judged"))
def approval(who: Operator, parts: Using, run: str, number: Annotated[int, Path(ge=1)]) -> Response:
    """One request, waiting or not: what it would have done when it was made, and would do now."""
    return Json(parts.approvals.judged(who, run, number))
