"""What a callback hears of a run that ended, or got stuck."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Ended(msgspec.Struct, frozen=True):
    """How a run ended: the one argument of a callback. ``input`` and ``result`` are JSON, as the journal has them."""

    run_id: str
    saga: str
    status: Literal["completed", "compensated", "stuck"]
    input: dict[str, Any] = {}
    result: Any = None
    reason: str = ""
