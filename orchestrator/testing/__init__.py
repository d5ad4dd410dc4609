"""Tests and proof of sagas: ``Sagas`` runs them for a test, ``verify`` explores every failure, ``replay`` one.

Imported when first asked for: pytest loads the plugin in every run, and most runs don't use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.testing.proof import replay, verify
    from orchestrator.testing.stage.run import SagaRun
    from orchestrator.testing.stage.sagas import Sagas

__all__ = ["SagaRun", "Sagas", "replay", "verify"]

_HOME_OF = {
    "SagaRun": "orchestrator.testing.stage.run",
    "Sagas": "orchestrator.testing.stage.sagas",
    "replay": "orchestrator.testing.proof",
    "verify": "orchestrator.testing.proof",
}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__
