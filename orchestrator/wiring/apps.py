"""What the user's modules define: their sagas, services and contracts."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from orchestrator.definition.saga import Saga
from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import RemoteService, Service


class Definitions(NamedTuple):
    """What the user's modules define."""

    sagas: Mapping[str, Saga[..., Any]]
    services: Sequence[Service]
    contracts: Sequence[Participant[..., Any]] = ()
    """Participants of other repositories, declared with ``remote``."""


def definitions(apps: Sequence[str]) -> Definitions:
    """Import modules, and the modules of packages, and collect the sagas, services and contracts in them."""
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    sagas: dict[str, Saga[..., Any]] = {}
    services: dict[str, Service] = {}
    contracts: dict[int, Participant[..., Any]] = {}
    for module in _modules(apps):
        for value in vars(module).values():
            if isinstance(value, Saga):
                _add(sagas, value.name, value, "saga")
            elif isinstance(value, Service):
                _add(services, value.name, value, "service")
            elif isinstance(value, Participant) and value.is_remote:
                contracts[id(value)] = value
            elif isinstance(value, RemoteService):
                contracts |= {id(one): one for one in value.participants.values()}
    return Definitions(sagas, list(services.values()), list(contracts.values()))


def queues(services: Sequence[Service]) -> list[str]:
    """Every queue that participants of these services listen to."""
    return sorted(
        {action.spec.queue for service in services for action in service.participants.values()}
    )


def _modules(apps: Sequence[str]) -> Iterator[ModuleType]:
    for name in apps:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise
            raise SettingsError(
                f"no module named {name!r}: is it in the working folder or installed?"
            ) from error
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if not found.name.startswith("_"):
                yield importlib.import_module(f"{name}.{found.name}")


def _add(known: dict[str, Any], name: str, value: Any, what: str) -> None:
    other = known.setdefault(name, value)
    if other is not value:
        raise DefinitionError(f"two {what}s are called {name!r}: rename one")
