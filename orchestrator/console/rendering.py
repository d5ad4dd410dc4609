"""Pages: templates with the words, marks and times that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from orchestrator.console.access import Principal, Role
from orchestrator.console.answers import plain
from orchestrator.console.security import parts_of
from orchestrator.views.attempts import repeated
from orchestrator.views.spans import span_text
from orchestrator.views.trouble import DIRECTIONS

TEMPLATES = Path(__file__).parent / "templates"
SHORTEST_ID = 8

MARKS: dict[str, str] = {
    "accepted": "ring",
    "running": "dot",
    "compensating": "back",
    "paused": "clock",
    "stuck": "alarm",
    "completed": "check",
    "compensated": "back",
    "not begun": "ring",
    "waiting": "clock",
    "sleeping": "clock",
    "done": "check",
    "refused": "cross",
    "failed": "cross",
    "skipped": "skip",
    "abandoned": "ring",
    "parked": "alarm",
    "broken": "alarm",
    "undoing": "back",
    "undo failed": "cross",
    "undo parked": "alarm",
    "undone": "back",
    "calling back": "dot",
    "callback failed": "cross",
    "callback parked": "alarm",
    "heard": "check",
    "voting": "dot",
    "recalling": "back",
    "confirming": "dot",
    "withdrawing": "back",
    "held": "clock",
    "preparing": "dot",
    "prepared": "clock",
    "read-only": "check",
    "committing": "dot",
    "commit stuck": "alarm",
    "commit astray": "alarm",
    "aborting": "back",
    "abort stuck": "alarm",
    "abort astray": "alarm",
    "aborted": "back",
    "stopped": "alarm",
    "sent": "dot",
    "unsettled": "clock",
    "good": "check",
    "bad": "cross",
    "doubt": "clock",
    "undo": "back",
    "person": "dot",
    "plain": "ring",
}
"""The shape beside a status of a run or step, or the tone of an event."""
TONES: dict[str, str] = {
    "accepted": "quiet",
    "running": "busy",
    "compensating": "undo",
    "paused": "still",
    "stuck": "alarm",
    "completed": "good",
    "compensated": "undo",
    "not begun": "quiet",
    "waiting": "still",
    "sleeping": "still",
    "done": "good",
    "refused": "bad",
    "failed": "bad",
    "skipped": "still",
    "abandoned": "quiet",
    "parked": "alarm",
    "broken": "alarm",
    "undoing": "undo",
    "undo failed": "bad",
    "undo parked": "alarm",
    "undone": "undo",
    "calling back": "busy",
    "callback failed": "bad",
    "callback parked": "alarm",
    "heard": "good",
    "voting": "busy",
    "recalling": "undo",
    "confirming": "busy",
    "withdrawing": "undo",
    "held": "still",
    "preparing": "busy",
    "prepared": "still",
    "read-only": "good",
    "committing": "busy",
    "commit stuck": "alarm",
    "commit astray": "alarm",
    "aborting": "undo",
    "abort stuck": "alarm",
    "abort astray": "alarm",
    "aborted": "undo",
    "stopped": "alarm",
    "sent": "busy",
    "unsettled": "still",
    "good": "good",
    "bad": "bad",
    "doubt": "still",
    "undo": "undo",
    "person": "busy",
    "plain": "quiet",
}
"""The colour that goes with the shape."""


def base_of(request: Request) -> str:
    """Where the console is mounted, without a slash at its end."""
    path: str = request.scope.get("root_path", "")
    return path.rstrip("/")


def is_page(request: Request) -> bool:
    """Whether a person looks at it, rather than a program."""
    path = request.url.path.removeprefix(base_of(request))
    return not path.startswith("/api/") and path != "/metrics"


def page(
    request: Request,
    template: str,
    who: Principal | None,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page for somebody, or, without ``who``, one that anybody may see."""
    parts = parts_of(request)
    path = request.url.path.removeprefix(base_of(request))
    shared = {
        "base": base_of(request),
        "path": path,
        "who": who,
        "operates": who is not None and who.role.includes(Role.OPERATOR),
        "csrf": parts.sessions.proof(who) if who is not None else "",
        "can_sign_out": who is not None and "saga_session" in request.cookies,
        "now": parts.desk.clock(),
    }
    text = _environment().get_template(template).render({**shared, **values})
    return HTMLResponse(text, status_code=status, headers=headers)


def json_text(value: Any, *, wide: bool = False) -> str:
    """A value as JSON: on one line, or, ``wide``, indented."""
    encoded = msgspec.json.encode(plain(value))
    return (msgspec.json.format(encoded, indent=2) if wide else encoded).decode()


def ago(now: float, at: float) -> str:
    """How long ago."""
    seconds = round(max(0.0, now - at))
    return f"{seconds} s ago" if seconds < 60 else f"{span_text(seconds)} ago"


def clock(at: float, *, day: bool = False) -> str:
    """The time of day in UTC, to the millisecond; with ``day`` the date before it."""
    then = datetime.fromtimestamp(at, UTC)
    shape = "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S"
    return f"{then.strftime(shape)}.{then.microsecond // 1000:03d}"


def iso(at: float) -> str:
    """For ``<time datetime>``."""
    return datetime.fromtimestamp(at, UTC).isoformat()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        json=json_text, span=span_text, clock=clock, iso=iso, short=lambda text: text[:SHORTEST_ID]
    )
    made.globals.update(ago=ago, marks=MARKS, tones=TONES, directions=DIRECTIONS, repeated=repeated)
    return made
