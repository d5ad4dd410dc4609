"""How things look: statuses, ages, shortened ids and values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from rich.text import Text

from orchestrator.views.spans import span_text

SHORTEST_ID = 8


class Look(NamedTuple):
    """A mark, the same for terminals that only know ASCII, and a style."""

    mark: str
    ascii: str
    style: str


_GOOD = Look("✔", "+", "green")
_BAD = Look("✖", "x", "red")
_ALARM = Look("✖", "!", "bold red")
_UNDO = Look("↩", "<", "yellow")
_BUSY = Look("●", "*", "cyan")
_STILL = Look("◌", "o", "blue")
_DIM = Look("·", ".", "dim")

LOOKS: dict[str, Look] = {
    "accepted": _DIM,
    "running": _BUSY,
    "compensating": Look("↩", "<", "magenta"),
    "paused": _STILL,
    "stuck": _ALARM,
    "completed": _GOOD,
    "compensated": _UNDO,
    "not begun": _DIM,
    "waiting": _STILL,
    "sleeping": _STILL,
    "done": _GOOD,
    "refused": _BAD,
    "failed": _BAD,
    "skipped": Look("»", ">", "yellow"),
    "abandoned": _DIM,
    "parked": _ALARM,
    "broken": _ALARM,
    "undoing": Look("↩", "<", "magenta"),
    "undo failed": _BAD,
    "undo parked": _ALARM,
    "undone": _UNDO,
    "calling back": _BUSY,
    "callback failed": _BAD,
    "callback parked": _ALARM,
    "heard": _GOOD,
    "voting": _BUSY,
    "recalling": _BUSY,
    "confirming": _BUSY,
    "withdrawing": Look("↩", "<", "magenta"),
    "held": _STILL,
    "preparing": _BUSY,
    "prepared": _STILL,
    "read-only": _STILL,
    "committing": _BUSY,
    "commit stuck": _ALARM,
    "commit astray": _ALARM,
    "aborting": Look("↩", "<", "magenta"),
    "abort stuck": _ALARM,
    "abort astray": _ALARM,
    "aborted": _UNDO,
}
"""By the status of a run or a step."""

TONES = {
    "good": "green",
    "bad": "red",
    "doubt": "magenta",
    "undo": "yellow",
    "person": "bold blue",
    "plain": "",
}
"""By the tone of an entry of the timeline."""


def status_text(status: str, *, ascii_only: bool) -> Text:
    """A status with its mark."""
    look = LOOKS[status]
    return Text(f"{look.ascii if ascii_only else look.mark} {status}", style=look.style)


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Each id shortened as in git: as short as keeps them apart, at least ``SHORTEST_ID``."""
    known = set(ids)
    length = SHORTEST_ID
    while len({run_id[:length] for run_id in known}) < len(known):
        length += 1
    return {run_id: run_id[:length] for run_id in known}


def ago(now: float, at: float) -> str:
    """How long ago, in one unit or two: ``3m ago``."""
    return f"{span_text(round(max(0.0, now - at)))} ago"


def clock(at: float, *, day: bool = False) -> str:
    """The local time of day, to the millisecond; with ``day`` the date before it."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    shape = "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S"
    return f"{local.strftime(shape)}.{local.microsecond // 1000:03d}"


def utc(at: float) -> str:
    """The day and time in UTC, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def value_text(value: Any, limit: int = 0) -> str:
    """A value as compact JSON, shortened to ``limit`` characters if there is one."""
    text = msgspec.json.encode(value).decode()
    return f"{text[: limit - 1]}…" if 0 < limit < len(text) else text
