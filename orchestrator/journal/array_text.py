"""Whole columns as text parameters for PostgreSQL: one cheap string each instead of one parameter per value.

``unnest`` turns them back into rows on the server. JSON columns travel as lines: JSON has no raw line breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def numbers(values: Iterable[float]) -> str:
    """Integers or floats as an array literal; floats keep every digit."""
    return "{" + ",".join(map(repr, values)) + "}"


def optional_numbers(values: Iterable[float | None]) -> str:
    """As ``numbers``, with NULL for None."""
    return "{" + ",".join("NULL" if value is None else repr(value) for value in values) + "}"


def texts(values: Sequence[str]) -> str:
    """Strings as an array literal; escaped only where something needs it."""
    if not values:
        return "{}"
    joined = '","'.join(values)
    if joined.count('"') != 2 * (len(values) - 1) or "\\" in joined:
        joined = '","'.join(map(_escaped, values))
    return '{"' + joined + '"}'


def optional_texts(values: Iterable[str | None]) -> str:
    """As ``texts``, with NULL for None."""
    return (
        "{"
        + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in values)
        + "}"
    )


def booleans(values: Iterable[bool]) -> str:
    """Booleans as an array literal."""
    return "{" + ",".join("t" if value else "f" for value in values) + "}"


def lines(values: Sequence[str]) -> str:
    """JSON documents, one a line: the argument of ``string_to_array(…, chr(10))``."""
    return "\n".join(values)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
