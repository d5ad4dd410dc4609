"""How the API answers: JSON with every field, problems with their cause, ETags.

An ETag is the number of a run's events in quotes: two looks at a run with equal ones saw the same events.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import msgspec
from fastapi import Response

from orchestrator.errors import InvalidInputError


class Json(Response):
    """A JSON document of structs and builtins."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """As bytes."""
        return msgspec.json.encode(plain(content))


def plain(value: Any) -> Any:
    """JSON builtins of structs, every field included; a float that JSON can't say is null."""
    match value:
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case Enum():
            return value.value
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def etag(length: int) -> str:
    """The ETag of a run with so many events."""
    return f'"{length}"'


def expected(if_match: str | None) -> int | None:
    """The number of events that If-Match names; None for none or any. Raises ``InvalidInputError``."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix('"').removesuffix('"')
    if not text.isdecimal() or len(text) > 9:
        raise InvalidInputError(f"If-Match: {if_match!r} is no ETag of a run")
    return int(text)
