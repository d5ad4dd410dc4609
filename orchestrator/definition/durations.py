"""Durations as the user writes them, in seconds."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import Any

from orchestrator.errors import DefinitionError

Duration = float | timedelta
"""Seconds, or a timedelta."""


def seconds(duration: Duration, what: str, *, zero: bool = False) -> float:
    """The duration in seconds. ``what`` names it in errors; ``zero`` says whether nothing is allowed.

    Raises ``DefinitionError`` for anything but a finite, positive time.
    """
    given: Any = duration
    if isinstance(given, timedelta):
        value = given.total_seconds()
    elif isinstance(given, int | float) and not isinstance(given, bool):
        value = float(given)
    else:
        raise DefinitionError(f"{what}: seconds or a timedelta are needed, not {given!r}")
    if not isfinite(value) or value < 0 or (value == 0 and not zero):
        raise DefinitionError(
            f"{what}: {duration!r} is not a {'' if zero else 'positive '}length of time"
        )
    return value
