"""Live news as server-sent events: of one run, and of all that somebody may see.

The journal is the only source, so a stream that breaks goes on where it was: the id of each event says how far it told.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.console.access import Principal
from orchestrator.console.answers import plain
from orchestrator.console.desk import Desk
from orchestrator.console.limits import TooManyError
from orchestrator.console.security import Using, Viewer
from orchestrator.errors import InvalidInputError, RunNotFoundError
from orchestrator.journal.port import RunFilter

router = APIRouter(prefix="/api/v1")

_FEED_MAX = 500
_HEARTBEAT_S = 15.0
_RETRY_LATER_S = 5.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Resume = Annotated[str, Header(alias="Last-Event-ID")]
News = tuple[str, Any] | None
"""An id and what to tell; None for nothing new."""


class Places:
    """How many streams there are, and the ends of the shards' logs, asked for once for all of them."""

    def __init__(self, desk: Desk, most: int) -> None:
        self._desk = desk
        self._most = most
        self._open = 0
        self._ends: dict[int, int] = {}
        self._asked_at = float("-inf")
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Take a place. Raises ``TooManyError``."""
        with self._lock:
            if self._open >= self._most:
                raise TooManyError(_RETRY_LATER_S)
            self._open += 1

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._open -= 1

    def ends(self) -> dict[int, int]:
        """Each shard's last offset, not older than the time between two looks."""
        with self._lock:
            now = self._desk.clock()
            if now - self._asked_at >= self._desk.options.look_every_s:
                journal = self._desk.journal
                self._ends = {shard: journal.end(shard) for shard in range(journal.shards())}
                self._asked_at = now
            return dict(self._ends)


class RunNews:
    """What is new of one run, behind its first ``after`` events."""

    name = "run"

    def __init__(self, desk: Desk, who: Principal, run: str, after: int) -> None:
        self._desk = desk
        self._who = who
        self._run = desk.row(who, run).run_id
        self._after = after
        self._seen: object = None

    def __call__(self) -> News:
        """Look."""
        row = self._desk.row(self._who, self._run)
        if row == self._seen:
            return None
        self._seen = row
        entries = self._desk.entries(self._who, self._run)
        new = entries[self._after :]
        self._after = len(entries)
        return str(self._after), {"length": self._after, "run": row, "events": new}


class ListNews:
    """Rows of the runs that changed since a place in every shard's log."""

    name = "runs"

    def __init__(self, desk: Desk, who: Principal, places: Places, since: str) -> None:
        self._desk = desk
        self._who = who
        self._places = places
        self._at = read_places(since) if since else places.ends()

    def __call__(self) -> News:
        """Look."""
        changed: set[str] = set()
        ends = self._places.ends()
        moved = {shard: end for shard, end in ends.items() if end > self._at.get(shard, 0)}
        for shard in moved:
            records = self._desk.journal.feed(shard, self._at.get(shard, 0), _FEED_MAX)
            changed.update(record.run_id for record in records if record.run_id)
            if records:
                self._at[shard] = records[-1].offset
        if not changed:
            return None
        rows = self._desk.runs(
            self._who, RunFilter(ids=tuple(changed)), None, max(1, len(changed))
        ).runs
        return (write_places(self._at), {"runs": rows}) if rows else None


@router.get("/runs/{run}/stream", tags=["live"])
async def run_stream(
    request: Request,
    who: Viewer,
    parts: Using,
    run: str,
    after: int = 0,
    last: Resume = "",
) -> StreamingResponse:
    """A run's events as they happen, from behind the first ``after`` on, and its row with each."""
    start = int(last) if last.isdecimal() else max(0, after)
    look = await run_in_threadpool(RunNews, parts.desk, who, run, start)
    return _streamed(request, who, look)


@router.get("/stream", tags=["live"])
async def list_stream(
    request: Request, who: Viewer, parts: Using, last: Resume = ""
) -> StreamingResponse:
    """The rows of runs as they change."""
    places: Places = request.app.state.places
    look = await run_in_threadpool(ListNews, parts.desk, who, places, last)
    return _streamed(request, who, look)


def write_places(at: dict[int, int]) -> str:
    """A place in every shard's log, as an event's id."""
    return ",".join(f"{shard}:{offset}" for shard, offset in sorted(at.items()))


def read_places(text: str) -> dict[int, int]:
    """The place that an id says. Raises ``InvalidInputError``."""
    try:
        pairs = (pair.split(":") for pair in text.split(","))
        return {int(shard): int(offset) for shard, offset in pairs}
    except ValueError as error:
        raise InvalidInputError(f"Last-Event-ID: {text!r} is no place in the log") from error


def _streamed(request: Request, who: Principal, look: RunNews | ListNews) -> StreamingResponse:
    places: Places = request.app.state.places
    places.enter()
    desk: Desk = request.app.state.parts.desk
    return Stream(_told(desk, who, look, request.is_disconnected), places.leave)


class Stream(StreamingResponse):
    """Gives its place back however it ends, also if its listener is gone before the first word."""

    def __init__(self, content: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream", headers=_HEADERS)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _told(
    desk: Desk, who: Principal, look: RunNews | ListNews, is_gone: Callable[[], Any]
) -> AsyncIterator[bytes]:
    every_s = desk.options.look_every_s
    quiet_s = 0.0
    yield f"retry: {int(every_s * 2_000)}\n\n".encode()
    while who.expires_at is None or desk.clock() < who.expires_at:
        try:
            news = await run_in_threadpool(look)
        except RunNotFoundError:
            return
        if news is not None:
            quiet_s = 0.0
            yield _event(look.name, *news)
        elif quiet_s >= _HEARTBEAT_S:
            quiet_s = 0.0
            yield b": still here\n\n"
        if await is_gone():
            return
        await asyncio.sleep(every_s)
        quiet_s += every_s


def _event(name: str, id_: str, data: Any) -> bytes:
    body = msgspec.json.encode(plain(data))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id_.encode(), name.encode(), body)
