"""Errors as answers: JSON for the API, a page for people; the cause in words, and never a traceback."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from orchestrator.console.access import ForbiddenError, UnauthenticatedError
from orchestrator.console.actions import ChangedError
from orchestrator.console.answers import Json, etag
from orchestrator.console.limits import TooManyError
from orchestrator.console.rendering import base_of, is_page, page
from orchestrator.console.security import WrongMediaTypeError, identify, parts_of
from orchestrator.errors import (
    AmbiguousRunError,
    BulkChangedError,
    BulkNotFoundError,
    InvalidInputError,
    JournalUnavailableError,
    OperationRefusedError,
    PayloadTooLargeError,
    PlanConflictError,
    RunNotFoundError,
    SagaError,
    TransportUnavailableError,
    UnknownSagaError,
)
from orchestrator.journal.outcome import KeyReusedError

_STATUS: tuple[tuple[type[SagaError], int], ...] = (
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (RunNotFoundError, 404),
    (UnknownSagaError, 404),
    (AmbiguousRunError, 409),
    (BulkNotFoundError, 404),
    (BulkChangedError, 412),
    (OperationRefusedError, 409),
    (KeyReusedError, 409),
    (PlanConflictError, 409),
    (ChangedError, 412),
    (PayloadTooLargeError, 413),
    (WrongMediaTypeError, 415),
    (InvalidInputError, 422),
    (TooManyError, 429),
    (JournalUnavailableError, 503),
    (TransportUnavailableError, 503),
)
_TITLES = {
    401: "Sign in",
    403: "You may not do this",
    404: "There is nothing here",
    409: "This isn't possible now",
    412: "It has changed",
    422: "This can't be read",
    429: "Too much at once",
    503: "A server can't be reached",
}


def install(app: FastAPI) -> None:
    """Have the app answer with these."""
    app.add_exception_handler(SagaError, _saga_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)


def too_long(limit: int) -> Response:
    """A body that isn't read at all."""
    message = f"a body needs a Content-Length, of at most {limit:,} bytes"
    return Json(_fault("BodyTooLong", message), status_code=413)


def status_of(error: SagaError) -> int:
    """The HTTP status of an error of the package; 500 for one that shouldn't come here."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


async def _saga_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SagaError)
    status = status_of(error)
    if status == 401 and is_page(request):
        return RedirectResponse(f"{base_of(request)}/login", status_code=303)
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyError):
        headers["Retry-After"] = f"{error.after_s:.0f}"
    if isinstance(error, ChangedError):
        headers["ETag"] = etag(error.length)
        more["run"] = parts_of(request).desk.row(identify(request), error.run_id)
    return _answer(request, status, type(error).__name__, str(error), headers, more)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if (unwelcome := _unwelcome(request)) is not None:
        return await _saga_error(request, unwelcome)
    lines = [
        f"{'.'.join(str(part) for part in found['loc'][1:]) or found['loc'][0]}: {found['msg']}"
        for found in error.errors()
    ]
    return _answer(request, 422, "InvalidInputError", "; ".join(lines))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and (unwelcome := _unwelcome(request)) is not None:
        return await _saga_error(request, unwelcome)
    headers = dict(error.headers or {})
    return _answer(request, error.status_code, "HTTPError", str(error.detail), headers)


def _unwelcome(request: Request) -> SagaError | None:
    """Why this request gets no answer about its body: a body is read before the credentials are looked at."""
    try:
        identify(request)
    except (UnauthenticatedError, ForbiddenError) as error:
        return error
    return None


def _answer(
    request: Request,
    status: int,
    type_: str,
    message: str,
    headers: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
) -> Response:
    if is_page(request):
        title = _TITLES.get(status, "Something is wrong")
        given = {"title": title, "message": message, "status": status}
        return page(request, "fault.html", None, given, status=status, headers=headers)
    return Json(_fault(type_, message) | (more or {}), status_code=status, headers=headers)


def _fault(type_: str, message: str) -> dict[str, Any]:
    return {"error": {"type": type_, "message": message}}
