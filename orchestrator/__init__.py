"""Sagas and distributed transactions for Python, on Celery and SQLAlchemy.

What a service and a saga are written with, imported when first asked for, so that a command that needs little starts
fast. Clients and coordinators are built by ``orchestrator.wiring``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.client import AsyncClient, AsyncRun, Client, Run
    from orchestrator.definition.atomic import atomic
    from orchestrator.definition.ended import Ended
    from orchestrator.definition.notice import Notice
    from orchestrator.definition.redacted import Redacted
    from orchestrator.definition.references import contains, not_
    from orchestrator.definition.retry import Retry
    from orchestrator.definition.saga import Saga, saga
    from orchestrator.definition.shapes import otherwise, parallel, sequence, sleep, wait_for, when
    from orchestrator.errors import Compensated, DefinitionError, Refused, SagaError, Stuck
    from orchestrator.participant.call import Call
    from orchestrator.participant.service import Service, remote

__all__ = [
    "AsyncClient",
    "AsyncRun",
    "Call",
    "Client",
    "Compensated",
    "DefinitionError",
    "Ended",
    "Notice",
    "Redacted",
    "Refused",
    "Retry",
    "Run",
    "Saga",
    "SagaError",
    "Service",
    "Stuck",
    "atomic",
    "contains",
    "not_",
    "otherwise",
    "parallel",
    "remote",
    "saga",
    "sequence",
    "sleep",
    "wait_for",
    "when",
]

_HOME = {
    "orchestrator.client": ("AsyncClient", "AsyncRun", "Client", "Run"),
    "orchestrator.definition.atomic": ("atomic",),
    "orchestrator.definition.ended": ("Ended",),
    "orchestrator.definition.notice": ("Notice",),
    "orchestrator.definition.redacted": ("Redacted",),
    "orchestrator.definition.references": ("contains", "not_"),
    "orchestrator.definition.retry": ("Retry",),
    "orchestrator.definition.saga": ("Saga", "saga"),
    "orchestrator.definition.shapes": (
        "otherwise",
        "parallel",
        "sequence",
        "sleep",
        "wait_for",
        "when",
    ),
    "orchestrator.errors": ("Compensated", "DefinitionError", "Refused", "SagaError", "Stuck"),
    "orchestrator.participant.call": ("Call",),
    "orchestrator.participant.service": ("Service", "remote"),
}
_HOME_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__
