"""The HTTP API, changing: launches, operations with their previews, and operations on many runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Response
from msgspec.structs import replace

from orchestrator.console.access import Principal
from orchestrator.console.actions import BULK_MAX
from orchestrator.console.answers import Json, etag, expected
from orchestrator.console.requests import (
    Asked,
    BulkRequest,
    Filter,
    Launching,
    OperationName,
    Previewed,
)
from orchestrator.console.schemas import answers
from orchestrator.console.security import Operator, Parts, Using
from orchestrator.errors import InvalidInputError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.summary import RunSummary

router = APIRouter(prefix="/api/v1", default_response_class=Json)

_KEY_MAX = 200
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=_KEY_MAX,
        description="Sent again under this key, it is done once.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The ETag of the run as it was when this was decided."),
]


@router.post("/runs", tags=["runs"], status_code=201, responses=answers("Launched"))
def launch(who: Operator, parts: Using, asked: Launching, key: Key = "") -> Response:
    """Launch a run: 201 for a new one, 200 for the one that has its key."""
    launched = parts.actions.launch(who, asked, key)
    return Json(launched, status_code=201 if launched.created else 200)


@router.post("/runs/{run}/preview", tags=["actions"], responses=answers("Preview"))
def preview(who: Operator, parts: Using, run: str, asked: Previewed) -> Response:
    """What an operation would run, undo and leave, found by the kernel on a copy of the state."""
    given = Asked(**asked.model_dump(exclude_unset=True, exclude={"operation"}))
    seen = parts.actions.preview(who, run, asked.operation, given)
    return Json(seen, headers={"ETag": etag(seen.length)})


@router.post("/runs/{run}/{operation}", tags=["actions"], responses=answers("Acted"))
def act(
    who: Operator,
    parts: Using,
    run: str,
    operation: OperationName,
    asked: Asked,
    key: Key = "",
    if_match: IfMatch = None,
) -> Response:
    """Carry out an operation: 200 once a coordinator has, 202 if none has taken it yet or it waits for a second person
    (``waits``), 409 if the state doesn't allow
    it, 412 with the new state if the run isn't as If-Match says.
    """
    length = expected(if_match)
    done = parts.actions.act(who, run, operation, asked, key=key, expects=length)
    status = 200 if done.taken and done.waits is None else 202
    return Json(done, status_code=status, headers={"ETag": etag(done.length)})


@router.post("/bulk/preview", tags=["actions"], responses=answers("Foreseen"))
def bulk_preview(who: Operator, parts: Using, asked: BulkRequest) -> Response:
    """What an operation would do to many runs: each, and added up."""
    runs, more = chosen(parts, who, asked)
    return Json(parts.actions.foresee(who, asked.operation, asked.asked(), runs, more=more))


@router.post("/bulk", tags=["actions"], responses=answers("Acts"))
def bulk(who: Operator, parts: Using, asked: BulkRequest, key: Key = "") -> Response:
    """Carry out an operation on many runs, each checked by itself; 200 says what came of each."""
    pairs: Sequence[tuple[str, int | None]]
    if asked.runs is not None and asked.filter is None:
        _check_number(len(asked.runs))
        pairs = [(one.run, expected(one.etag)) for one in asked.runs]
    else:
        pairs = [(run.run_id, None) for run in chosen(parts, who, asked)[0]]
    parts.mutations.take(who.name, max(0, len(pairs) // 10 - 1))
    return Json(parts.actions.act_on_many(who, asked.operation, asked.asked(), pairs, key=key))


def chosen(parts: Parts, who: Principal, asked: BulkRequest) -> tuple[list[RunSummary], bool]:
    """The runs that a bulk request names or filters. Raises ``RunNotFoundError``, ``InvalidInputError``."""
    if (asked.runs is None) is (asked.filter is None):
        raise InvalidInputError("give either runs or a filter")
    if asked.runs is not None:
        _check_number(len(asked.runs))
        return [parts.desk.row(who, one.run) for one in asked.runs], False
    assert asked.filter is not None
    where = run_filter(asked.filter)
    if where == RunFilter():
        raise InvalidInputError("an empty filter would choose every run: name something")
    return parts.actions.matching(
        who, where if asked.step is None else replace(where, step=asked.step)
    )


def _check_number(number: int) -> None:
    if number > BULK_MAX:
        raise InvalidInputError(f"at most {BULK_MAX} runs at once, not {number}")


def run_filter(given: Filter) -> RunFilter:
    """For the journal."""
    return RunFilter(**given.model_dump())
