"""Pages of recorded bulk operations, and of what waits for a second person."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from orchestrator.console.access import Principal
from orchestrator.console.actions import BULK_MAX
from orchestrator.console.bulks import operation_of
from orchestrator.console.page_actions import check_bulk, first, pair
from orchestrator.console.rendering import base_of, page
from orchestrator.console.requests import Asked, BulkChange
from orchestrator.console.security import Operator, Parts, Using, Viewer, fields
from orchestrator.errors import InvalidInputError
from orchestrator.journal.bulk import Bulk, BulkItem, BulkLimits, Outcome

router = APIRouter(include_in_schema=False)
_SHOWN = 200
_WRONG: tuple[Outcome, ...] = ("failed", "refused", "unsettled")
_LINE: tuple[Outcome, ...] = ("done", *_WRONG, "sent", "waiting")


@router.get("/bulks")
def bulks(request: Request, who: Viewer, parts: Using) -> Response:
    """All of them, newest first."""
    values = {"bulks": parts.bulks.list(who), "operation_of": operation_of}
    return page(request, "bulks.html", who, values)


@router.post("/bulks")
async def start(request: Request, who: Operator, parts: Using) -> Response:
    """Record one for the runs of a preview."""
    given = await fields(request)
    operation = check_bulk(first(given, "operation"))
    runs = [pair(text)[0] for text in given.get("run", [])]
    if not 0 < len(runs) <= BULK_MAX:
        raise InvalidInputError(f"choose between 1 and {BULK_MAX} runs")
    asked = Asked(reason=first(given, "reason"))

    def record() -> Any:
        key = first(given, "key")
        return parts.bulks.start(who, operation, asked, runs, limits=BulkLimits(), key=key)

    made, _ = await run_in_threadpool(record)
    return RedirectResponse(f"{base_of(request)}/bulks/{made.id}", status_code=303)


@router.get("/approvals")
def approvals(request: Request, who: Viewer, parts: Using) -> Response:
    """What waits for a second person: operations on runs, and bulk operations."""
    values = {"found": parts.approvals.waiting(who), "operation_of": operation_of}
    return page(request, "approvals.html", who, values)


@router.get("/bulks/{bulk}")
def bulk(request: Request, who: Viewer, parts: Using, bulk: str) -> Response:
    """One: how far it is, who touched it, what came of each run."""
    one = parts.bulks.get(who, bulk)
    items = _items(who, parts, one.id)
    values = {
        "bulk": one,
        "operation": operation_of(one),
        "shares": _shares(one),
        "items": items,
        "keys": parts.desk.keys(who, [item.run_id for item in items]),
    }
    return page(request, "bulk_record.html", who, values)


def _items(who: Principal, parts: Parts, bulk_id: str) -> list[BulkItem]:
    """What went wrong first, then the rest in their order."""
    wrong = [
        item for outcome in _WRONG for item in parts.bulks.items(who, bulk_id, outcome, -1, _SHOWN)
    ]
    rest = parts.bulks.items(who, bulk_id, None, -1, _SHOWN)
    return [*wrong, *(item for item in rest if item.outcome not in _WRONG)][:_SHOWN]


def _shares(bulk: Bulk) -> list[tuple[Outcome, float, float]]:
    """Each outcome's place and width on a line a thousand long."""
    found: list[tuple[Outcome, float, float]] = []
    x = 0.0
    for outcome in _LINE:
        width = 1_000 * bulk.counts.get(outcome, 0) / bulk.total
        if width:
            found.append((outcome, x, width))
        x += width
    return found


@router.post("/bulks/{bulk}/{change}")
async def change(
    request: Request, who: Operator, parts: Using, bulk: str, change: BulkChange
) -> Response:
    """Pause, resume, approve or abort it, as it was when the page was loaded."""
    given = await fields(request)
    revision = first(given, "revision")
    if not revision.isdecimal():
        raise InvalidInputError("revision: load the page of the operation first")

    def carry_out() -> Any:
        return parts.bulks.change(who, bulk, change, first(given, "reason"), int(revision))

    changed = await run_in_threadpool(carry_out)
    return RedirectResponse(f"{base_of(request)}/bulks/{changed.id}", status_code=303)
