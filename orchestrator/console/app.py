"""The console as an ASGI app: API, pages, and what stands around both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.client import Client
from orchestrator.console import (
    api,
    api_actions,
    api_approvals,
    api_bulks,
    around_pages,
    bulk_pages,
    faults,
    figures,
    hold_pages,
    page_actions,
    pages,
    signing_in,
    streams,
    upkeep,
)
from orchestrator.console.actions import Actions
from orchestrator.console.approvals import ApprovalDesk
from orchestrator.console.around import Surroundings
from orchestrator.console.bulks import BulkDesk
from orchestrator.console.desk import Desk
from orchestrator.console.doubt_desk import DoubtDesk
from orchestrator.console.holds import HoldDesk
from orchestrator.console.limits import Limit
from orchestrator.console.options import ConsoleOptions
from orchestrator.console.schemas import add_schemas
from orchestrator.console.security import SAFE_METHODS, Parts, Viewer, check_routes
from orchestrator.console.sessions import Sessions
from orchestrator.definition.saga import Saga
from orchestrator.errors import SagaError
from orchestrator.journal.port import Journal

STATIC = Path(__file__).parent / "static"
BODY_MAX_BYTES = 8 * 1024 * 1024
LOGINS_PER_MIN = 10
WATCH_EVERY_S = 20.0
_log = logging.getLogger(__name__)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def console(
    journal: Journal,
    clients: Callable[[str], Client],
    sagas: Mapping[str, Saga[..., Any]],
    options: ConsoleOptions,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    around: Surroundings | None = None,
) -> FastAPI:
    """Make the app, to be served or mounted in another (``app.mount``).

    ``clients`` gives a client that speaks for an actor; ``sagas`` are those that can be launched; ``around`` knows of
    services, queues and what is in doubt. Raises ``SettingsError`` for options that would let in nobody, or anybody.
    """
    options.check()
    app = FastAPI(
        title="saga-orchestrator",
        version="1",
        lifespan=_watching,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    desk = Desk(journal, clients, sagas, options, clock, around)
    bulks = BulkDesk(desk)
    app.state.parts = Parts(
        desk,
        Actions(desk, sleep),
        bulks,
        ApprovalDesk(desk, bulks),
        HoldDesk(desk),
        DoubtDesk(desk),
        options,
        Sessions(options.session_key, options.session_s),
        Limit(options.mutations_per_min, clock),
        Limit(LOGINS_PER_MIN, clock),
    )
    app.state.places = streams.Places(desk, options.streams_max)
    for part in (
        *(api, streams, api_actions, api_bulks, api_approvals, upkeep),
        *(signing_in, page_actions, bulk_pages, hold_pages, around_pages, pages, figures),
    ):
        app.router.routes.extend(part.router.routes)  # themselves, so that each can be checked
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/health", _health, methods=["GET"], include_in_schema=False)
    app.add_api_route("/api/v1/openapi.json", _openapi, methods=["GET"], include_in_schema=False)
    faults.install(app)
    app.add_middleware(Around)
    check_routes(app.routes)
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """The API's description."""
    routes = [route for route in app.routes if getattr(route, "path", "").startswith("/api/")]
    return add_schemas(get_openapi(title=app.title, version=app.version, routes=routes))


@asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    """Look around now and then, so that who goes missing is known though nobody looks. Not where it is mounted: only
    the outermost app is told that it begins.
    """
    desk: Desk = app.state.parts.desk

    async def watch() -> None:
        while True:
            try:
                await run_in_threadpool(desk.look)
            except SagaError as error:
                _log.warning("can't look after workers: %s", error)
            await asyncio.sleep(WATCH_EVERY_S)

    watcher = asyncio.create_task(watch()) if desk.around.can_look else None
    yield
    if watcher is not None:
        watcher.cancel()


def _health() -> dict[str, str]:
    return {"status": "ok"}


def _openapi(request: Request, who: Viewer) -> dict[str, Any]:
    del who
    return openapi(request.app)


class Around:
    """Refuses bodies of no or too great length; has browsers keep to themselves what they are shown."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        unsafe = scope["method"] not in SAFE_METHODS
        if unsafe and (not length.isdecimal() or int(length) > BODY_MAX_BYTES):
            await faults.too_long(BODY_MAX_BYTES)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
