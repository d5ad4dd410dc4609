"""The HTTP API of recorded bulk operations: start one, see how far it is, pause, resume and abort it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec.structs import replace

from orchestrator.console.actions import BULK_MAX
from orchestrator.console.answers import Json, etag, expected
from orchestrator.console.api_actions import IfMatch, Key, run_filter
from orchestrator.console.requests import BulkChange, Changing, Recording
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Using, Viewer
from orchestrator.errors import InvalidInputError
from orchestrator.journal.bulk import Bulk, Outcome

router = APIRouter(prefix="/api/v1/bulks", default_response_class=Json)


@router.get("", tags=["bulk"], responses=answers("BulkRows"))
def bulks(who: Viewer, parts: Using) -> Response:
    """The newest bulk operations first."""
    return Json({"bulks": parts.bulks.list(who)})


@router.post("", tags=["bulk"], status_code=201, responses=answers("Bulk"))
def start(who: Operator, parts: Using, asked: Recording, key: Key = "") -> Response:
    """Record an operation for many runs, carried out a wave at a time: 201, or 200 under a key that it has already."""
    if (asked.runs is None) is (asked.filter is None):
        raise InvalidInputError("give either runs or a filter")
    if asked.runs is not None and len(asked.runs) > BULK_MAX:
        raise InvalidInputError(f"at most {BULK_MAX} named runs, not {len(asked.runs)}")
    chosen = [one.run for one in asked.runs] if asked.runs is not None else None
    where = None if asked.filter is None else run_filter(asked.filter)
    if where is not None and asked.step is not None:
        where = replace(where, step=asked.step)
    made, new = parts.bulks.start(
        who,
        asked.operation,
        asked.asked(),
        chosen if where is None else where,  # type: ignore[arg-type]  # one of them is there
        limits=asked.limits(),
        key=key,
    )
    return _answer(made, status=201 if new else 200)


@router.get("/{bulk}", tags=["bulk"], responses=answers("Bulk"))
def bulk(who: Viewer, parts: Using, bulk: str) -> Response:
    """How far one is. Its ETag goes into If-Match of a change."""
    return _answer(parts.bulks.get(who, bulk))


@router.get("/{bulk}/runs", tags=["bulk"], responses=answers("BulkItems"))
def items(
    who: Viewer,
    parts: Using,
    bulk: str,
    outcome: Outcome | None = None,
    after: Annotated[int, Query(ge=-1)] = -1,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """What came of each of its runs, in order, behind a position."""
    return Json({"items": parts.bulks.items(who, bulk, outcome, after, limit)})


@router.post("/{bulk}/{change}", tags=["bulk"], responses=answers("Bulk"))
def change(
    who: Operator,
    parts: Using,
    bulk: str,
    change: BulkChange,
    asked: Changing,
    if_match: IfMatch = None,
) -> Response:
    """Pause, resume, abort or, as a second person, approve one: 409 if its state doesn't allow it, 412 if it isn't as
    If-Match says.
    """
    return _answer(parts.bulks.change(who, bulk, change, asked.reason, expected(if_match)))


def _answer(bulk: Bulk, status: int = 200) -> Response:
    headers = {"ETag": etag(bulk.revision)}
    return Json(bulk, status_code=status, headers=headers)
