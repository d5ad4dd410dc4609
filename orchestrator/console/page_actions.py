"""Pages that change something: say what, see what it would do, then do it. Each step is a page of its own, so that it
works without JavaScript and can be sent to a colleague.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from orchestrator.console.actions import BULK_MAX
from orchestrator.console.filters import RunQuery
from orchestrator.console.rendering import json_text, page
from orchestrator.console.requests import BULK, Asked, OperationName
from orchestrator.console.security import Operator, Parts, Using, fields
from orchestrator.errors import InvalidInputError
from orchestrator.journal.approvals import Judged
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.look import RunLook
from orchestrator.views.steps import steps_of

router = APIRouter(include_in_schema=False)

_JSON_FIELDS = ("args", "result", "data")
_TEXT_FIELDS = ("step", "name", "attempts", "reason", "number")
_SHOWN = 50


@router.get("/runs/{run}/act/{operation}")
def ask(
    request: Request, who: Operator, parts: Using, run: str, operation: OperationName
) -> Response:
    """The form of an operation, and, once it is filled in, what it would do."""
    given = {name: request.query_params.getlist(name) for name in request.query_params}
    seen = parts.desk.seen(who, run)
    fault, foretold, judged = "", None, None
    if _is_filled(operation, given):
        try:
            foretold = parts.actions.preview(who, run, operation, _asked(given))
            judged = _judged(parts, who, run, operation, given)
        except InvalidInputError as error:
            fault = str(error)
    values = {
        "run": seen.look.run,
        "operation": operation,
        "given": {name: first(given, name) for name in (*_JSON_FIELDS, *_TEXT_FIELDS, "undone")},
        "args": _present_args(seen.look, given),
        "fault": fault,
        "preview": foretold,
        "judged": judged,
        "key": uuid.uuid4().hex,
    }
    return page(request, "act.html", who, values, status=422 if fault else 200)


@router.post("/runs/{run}/act/{operation}")
async def act(
    request: Request, who: Operator, parts: Using, run: str, operation: OperationName
) -> Response:
    """Do it, if the run is still as it was when the preview was made."""
    given = await fields(request)
    length = first(given, "length")
    if not length.isdecimal():
        raise InvalidInputError("length: look at the preview first")

    def carry_out() -> Any:
        return parts.actions.act(
            who, run, operation, _asked(given), key=first(given, "key"), expects=int(length)
        )

    done = await run_in_threadpool(carry_out)
    return page(request, "acted.html", who, {"done": done, "run": done.run})


@router.get("/bulk")
def ask_many(
    request: Request,
    who: Operator,
    parts: Using,
    where: Annotated[RunQuery, Query()],
    operation: OperationName = "retry",
    run: Annotated[list[str] | None, Query()] = None,
    reason: str = "",
) -> Response:
    """What an operation would do to the chosen runs, or to all that fit the filter."""
    check_bulk(operation)
    chosen, more = _chosen(parts, who, where, run or [])
    asked = _asked_of_many(operation, where.cluster)
    foretold = parts.actions.foresee(who, operation, asked, chosen, more=more)
    values = {
        "operation": operation,
        "foretold": foretold,
        "shown": foretold.runs[:_SHOWN],
        "rows": {row.run_id: row for row in chosen},
        "reason": reason,
        "key": uuid.uuid4().hex,
        "back": where.encoded(),
        "cluster": where.cluster,
    }
    return page(request, "bulk.html", who, values)


@router.post("/bulk")
async def act_on_many(request: Request, who: Operator, parts: Using) -> Response:
    """Do it to each run that is still as it was when the preview was made."""
    given = await fields(request)
    operation = check_bulk(first(given, "operation"))
    pairs = [pair(text) for text in given.get("run", [])]
    if not 0 < len(pairs) <= BULK_MAX:
        raise InvalidInputError(f"choose between 1 and {BULK_MAX} runs")
    reason = first(given, "reason")
    asked = _asked_of_many(operation, first(given, "cluster"), reason=reason)

    def carry_out() -> Any:
        return parts.actions.act_on_many(who, operation, asked, pairs, key=first(given, "key"))

    done = await run_in_threadpool(carry_out)
    return page(request, "bulk_done.html", who, {"done": done})


def _asked_of_many(operation: OperationName, cluster: str, **given: Any) -> Asked:
    """Acknowledging a cluster leaves incidents of other causes alone."""
    if operation == "acknowledge" and cluster.strip():
        given["cluster"] = cluster.strip()
    return Asked(**given)


def _asked(given: dict[str, list[str]]) -> Asked:
    """What a form says. Raises ``InvalidInputError``."""
    found: dict[str, Any] = {
        name: first(given, name).strip() for name in _TEXT_FIELDS if first(given, name).strip()
    }
    for name in _JSON_FIELDS:
        text = first(given, name).strip()
        if text:
            found[name] = _json(name, text)
    if first(given, "undone"):
        found["undone"] = True
    try:
        return Asked(**found)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InvalidInputError("; ".join(problems)) from error


def _json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"{name}: not JSON: {error}") from error


def first(given: dict[str, list[str]], name: str) -> str:
    """A field of a form; empty if it isn't there."""
    return given.get(name, [""])[0]


def _is_filled(operation: OperationName, given: dict[str, list[str]]) -> bool:
    match operation:
        case "skip":
            return bool(first(given, "result").strip())
        case "resolve":
            return bool(first(given, "result").strip() or first(given, "undone"))
        case "budget":
            return bool(first(given, "attempts").strip())
        case "signal":
            return bool(first(given, "name").strip()) and bool(first(given, "asked"))
        case "approve" | "deny":
            return bool(first(given, "number"))
        case _:
            return True


def _judged(
    parts: Parts, who: Operator, run: str, operation: OperationName, given: dict[str, list[str]]
) -> Judged | None:
    """What somebody asked for, to be approved or denied."""
    if operation not in {"approve", "deny"}:
        return None
    return parts.approvals.judged(who, run, _asked(given).number or 0)


def _present_args(look: RunLook, given: dict[str, list[str]]) -> str:
    """The arguments that the step has, to be edited."""
    for step in steps_of(look.plan):
        if step.step == first(given, "step") and step.args:
            return json_text(step.args, wide=True)
    return ""


def _chosen(
    parts: Parts, who: Operator, where: RunQuery, named: list[str]
) -> tuple[list[RunSummary], bool]:
    if named:
        return [parts.desk.row(who, run) for run in named[:BULK_MAX]], False
    filtered = where.filter(parts.desk.clock())
    if filtered == RunFilter():
        raise InvalidInputError("choose runs, or filter the list: all runs at once is too much")
    return parts.actions.matching(who, filtered)


def check_bulk(operation: str) -> OperationName:
    """An operation that can be done in bulk. Raises ``InvalidInputError``."""
    for name in BULK:
        if name == operation:
            return name
    raise InvalidInputError(f"{operation!r} can't be done in bulk; there are {', '.join(BULK)}")


def pair(text: str) -> tuple[str, int | None]:
    """A run and the number of events it had: ``id:length``."""
    run, _, length = text.partition(":")
    if not run or not length.isdecimal():
        raise InvalidInputError("run: look at the preview first")
    return run, int(length)
