"""Lengths of time as people read them."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def span_text(seconds: float) -> str:
    """Short, two units at most: ``3 ms``, ``1.2 s``, ``4m 10s``, ``2h 5m``, ``3d 4h``."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE - 0.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return (
                f"{whole // unit}{name} {rest}{smaller_name}" if rest else f"{whole // unit}{name}"
            )
    return f"{whole} s"
