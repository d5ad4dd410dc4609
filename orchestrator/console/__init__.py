"""The operator's desk: HTTP API and web console over runs.

Imported name by name, so that tokens can be made and options read without the extra ``console``, which the app needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.console.access import Grant, Proxy, Role, Token
    from orchestrator.console.app import console
    from orchestrator.console.options import ConsoleOptions

__all__ = ["ConsoleOptions", "Grant", "Proxy", "Role", "Token", "console"]

_HOME_OF = {
    "ConsoleOptions": "orchestrator.console.options",
    "Grant": "orchestrator.console.access",
    "Proxy": "orchestrator.console.access",
    "Role": "orchestrator.console.access",
    "Token": "orchestrator.console.access",
    "console": "orchestrator.console.app",
}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
