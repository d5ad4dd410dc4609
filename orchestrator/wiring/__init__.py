"""The composition root: settings in, running parts out. Nothing else in the package builds what it uses.

One module for each kind of process, imported when the first name of it is asked for: a coordinator needs none of what
workers run on, and starts in half the time without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.wiring.apps import Definitions, definitions, queues
    from orchestrator.wiring.broker import celery_app, signing_keys, transport
    from orchestrator.wiring.clients import client, client_options
    from orchestrator.wiring.consoles import console_app, console_options
    from orchestrator.wiring.coordinating import coordinator, coordinator_options, notifier
    from orchestrator.wiring.embedding import Embedded, embedded, make_journal
    from orchestrator.wiring.journals import check_journal, open_journal
    from orchestrator.wiring.measuring import measured
    from orchestrator.wiring.second import two_people
    from orchestrator.wiring.working import sweep_options, worker_app

__all__ = [
    "Definitions",
    "Embedded",
    "celery_app",
    "check_journal",
    "client",
    "client_options",
    "console_app",
    "console_options",
    "coordinator",
    "coordinator_options",
    "definitions",
    "embedded",
    "make_journal",
    "measured",
    "notifier",
    "open_journal",
    "queues",
    "signing_keys",
    "sweep_options",
    "transport",
    "two_people",
    "worker_app",
]

_HOME = {
    "apps": ("Definitions", "definitions", "queues"),
    "broker": ("celery_app", "signing_keys", "transport"),
    "clients": ("client", "client_options"),
    "consoles": ("console_app", "console_options"),
    "coordinating": ("coordinator", "coordinator_options", "notifier"),
    "embedding": ("Embedded", "embedded", "make_journal"),
    "journals": ("check_journal", "open_journal"),
    "measuring": ("measured",),
    "second": ("two_people",),
    "working": ("sweep_options", "worker_app"),
}
_HOME_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
