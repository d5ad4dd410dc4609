"""``Registry``: which participants a worker serves, by qualified name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from orchestrator.errors import DefinitionError
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import Service


class Registry:
    """The participants of some services."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services: dict[str, Service] = {}
        for service in services:
            if self._services.setdefault(service.name, service) is not service:
                raise DefinitionError(
                    f"two services are named {service.name!r}; declare it once and import it where it is used"
                )

    @classmethod
    def of(cls, services: Iterable[Service]) -> Registry:
        """The participants of these services. Raises ``DefinitionError`` for two services of one name."""
        return cls(services)

    @classmethod
    def scan(cls, modules: Iterable[ModuleType | str]) -> Registry:
        """The participants of every service that these modules hold in a variable; names are imported.

        Raises ``DefinitionError`` as ``of`` does, and what importing a module raises.
        """
        services: dict[int, Service] = {}
        for module in modules:
            loaded = importlib.import_module(module) if isinstance(module, str) else module
            found = (value for value in vars(loaded).values() if isinstance(value, Service))
            services.update((id(service), service) for service in found)
        return cls(services.values())

    def find(self, qualified: str) -> tuple[Service, Participant[..., Any]] | None:
        """The participant named ``service.action`` with its service; None where there is none."""
        service_name, _, name = qualified.partition(".")
        service = self._services.get(service_name)
        participant = None if service is None else service.participants.get(name)
        return None if service is None or participant is None else (service, participant)

    def service(self, name: str) -> Service | None:
        """The service of this name."""
        return self._services.get(name)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Every participant, as ``find`` takes it."""
        return tuple(f"{service.name}.{name}" for service in self for name in service.participants)

    @property
    def queues(self) -> set[str]:
        """The queues a worker of these services has to consume."""
        return {
            participant.spec.queue
            for service in self
            for participant in service.participants.values()
        }

    def dispose(self) -> None:
        """Let go of every service's database connections; call it in a forked worker process."""
        for service in self:
            service.dispose()
