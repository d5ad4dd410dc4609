"""Signing in with a token, which then stays in a cookie, and out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from orchestrator.console.access import ForbiddenError, UnauthenticatedError, bearer, digest
from orchestrator.console.rendering import base_of, page
from orchestrator.console.security import FORM, Using, Viewer, WrongMediaTypeError, fields
from orchestrator.console.sessions import COOKIE

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_page(request: Request) -> Response:
    """The form."""
    return page(request, "login.html", None, {"fault": ""})


@router.post("/login")
async def login(request: Request, parts: Using) -> Response:
    """Change a token for a session."""
    parts.logins.take(request.client.host if request.client else "")
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        raise WrongMediaTypeError("sign in with the form")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForbiddenError("another site may not sign you in")
    secret = (await fields(request)).get("token", [""])[0].strip()
    now = parts.desk.clock()
    try:
        bearer(parts.options.tokens, secret, now)
    except UnauthenticatedError as error:
        return page(request, "login.html", None, {"fault": str(error)}, status=401)
    answer = RedirectResponse(f"{base_of(request)}/", status_code=303)
    answer.set_cookie(
        COOKIE,
        parts.sessions.begin(digest(secret), now),
        max_age=int(parts.options.session_s),
        path=f"{base_of(request)}/",
        secure=parts.options.https or request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


@router.post("/logout")
def logout(request: Request, who: Viewer) -> Response:
    """End the session in this browser."""
    del who
    answer = RedirectResponse(f"{base_of(request)}/login", status_code=303)
    answer.delete_cookie(COOKIE, path=f"{base_of(request)}/")
    return answer
