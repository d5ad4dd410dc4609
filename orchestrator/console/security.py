"""Who asks, and whether they may: what every route of the console depends on.

A route says the role it needs with ``needs``; ``check_routes`` refuses to build an app with a route that says none and
isn't among the few public ones. So a route that somebody forgets to guard can't be reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qs

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from orchestrator.console.access import (
    ForbiddenError,
    Principal,
    Role,
    UnauthenticatedError,
    bearer,
    is_loopback,
    vouched,
)
from orchestrator.console.actions import Actions
from orchestrator.console.approvals import ApprovalDesk
from orchestrator.console.bulks import BulkDesk
from orchestrator.console.desk import Desk
from orchestrator.console.doubt_desk import DoubtDesk
from orchestrator.console.holds import HoldDesk
from orchestrator.console.limits import Limit
from orchestrator.console.options import ConsoleOptions
from orchestrator.console.sessions import COOKIE, Sessions
from orchestrator.errors import SagaError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = frozenset({"/health", "/login", "/static"})
"""What is answered without credentials: no run, no name, no number is in any of it."""
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class WrongMediaTypeError(SagaError):
    """A mutation came in a form that a page of another site could send by itself."""


class Parts(NamedTuple):
    """What routes work with, kept at ``app.state.parts``."""

    desk: Desk
    actions: Actions
    bulks: BulkDesk
    approvals: ApprovalDesk
    holds: HoldDesk
    doubts: DoubtDesk
    options: ConsoleOptions
    sessions: Sessions
    mutations: Limit
    logins: Limit


def parts_of(request: Request) -> Parts:
    """The app's parts."""
    parts: Parts = request.app.state.parts
    return parts


def identify(request: Request) -> Principal:
    """Who asks. Raises ``UnauthenticatedError``, ``ForbiddenError``."""
    parts = parts_of(request)
    options, now = parts.options, parts.desk.clock()
    peer = request.client.host if request.client else ""
    if options.insecure_dev:
        return _anybody(peer, request.url.hostname or "")
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer(options.tokens, secret.strip(), now)
    cookie = request.cookies.get(COOKIE)
    if cookie:
        return parts.sessions.principal(cookie, options.tokens, now)
    if options.proxy is not None:
        user = request.headers.get(options.proxy.user_header, "")
        groups = request.headers.get(options.proxy.groups_header, "")
        return vouched(options.proxy, peer, user, groups)
    raise UnauthenticatedError("sign in, or send a token as `Authorization: Bearer ...`")


def needs(role: Role) -> Any:
    """A dependency that lets in who has this role, and mutations only if they were meant."""

    async def admit(request: Request) -> Principal:
        who = identify(request)
        if not who.role.includes(role):
            raise ForbiddenError(f"this needs the role {role}; {who.name} is a {who.role}")
        if request.method not in SAFE_METHODS:
            await _check_mutation(request, who)
        return who

    admit.__dict__["role"] = role
    return Depends(admit)


Viewer = Annotated[Principal, needs(Role.VIEWER)]
Operator = Annotated[Principal, needs(Role.OPERATOR)]
Admin = Annotated[Principal, needs(Role.ADMIN)]
Using = Annotated[Parts, Depends(parts_of)]


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Raise ``AssertionError`` for a route that anybody could use."""
    for route in routes:
        path = getattr(route, "path", "")
        assert path in PUBLIC or role_of(route) is not None, f"{path} needs no role"


def role_of(route: BaseRoute) -> Role | None:
    """The role that a route needs; None for a public one."""
    if isinstance(route, Mount) or not isinstance(route, APIRoute):
        return None
    roles = [
        role
        for dependant in route.dependant.dependencies
        if (role := getattr(dependant.call, "role", None)) is not None
    ]
    return roles[0] if roles else None


async def _check_mutation(request: Request, who: Principal) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {JSON, FORM} or (kind == FORM and not who.ambient):
        raise WrongMediaTypeError(f"send it as {JSON}")
    if who.ambient:
        await _check_meant(request, who, is_form=kind == FORM)
    parts_of(request).mutations.take(who.name)


async def _check_meant(request: Request, who: Principal, *, is_form: bool) -> None:
    """A browser adds cookies to what another site asks of it; a proof in the page's own hands it can't add."""
    given = request.headers.get(CSRF_HEADER, "")
    if not given and is_form:
        given = (await fields(request)).get(CSRF_FIELD, [""])[0]
    if not parts_of(request).sessions.proves(who, given):
        raise ForbiddenError(
            f"this didn't come from a page of the console: load it again ({CSRF_HEADER} is missing or old)"
        )


async def fields(request: Request) -> dict[str, list[str]]:
    """The fields of a form."""
    try:
        return parse_qs((await request.body()).decode(), keep_blank_values=True)
    except UnicodeDecodeError as error:
        raise WrongMediaTypeError("a form has to be UTF-8") from error


def _anybody(peer: str, host: str) -> Principal:
    """Without credentials only from the machine itself, and under its own name, so that no page elsewhere can point
    a name of its own here.
    """
    if not (is_loopback(peer) and is_loopback(host)):
        raise UnauthenticatedError("insecure-dev is for this machine alone")
    return Principal("developer", Role.ADMIN, ambient=True, seal="insecure-dev")
