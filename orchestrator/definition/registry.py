"""The sagas of a process by name: what the client and the command line can launch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DefinitionError, UnknownSagaError

if TYPE_CHECKING:
    from orchestrator.definition.saga import Saga


class Registry:
    """Sagas by name; a name belongs to one function."""

    def __init__(self) -> None:
        self._sagas: dict[str, Saga[..., Any]] = {}

    def add(self, saga: Saga[..., Any]) -> None:
        """Register a saga. A module that is loaded again replaces its own sagas; any other function under a name
        that is taken raises ``DefinitionError``."""
        known = self._sagas.get(saga.name)
        if known is not None and _origin(known) != _origin(saga):
            raise DefinitionError(
                f"two sagas are named {saga.name!r}: {_origin(known)} and {_origin(saga)}; "
                "rename one, or give it @saga(name=...)"
            )
        self._sagas[saga.name] = saga

    def get(self, name: str) -> Saga[..., Any]:
        """The saga of this name. Raises ``UnknownSagaError`` that lists the known ones."""
        try:
            return self._sagas[name]
        except KeyError:
            known = ", ".join(sorted(self._sagas)) or "none; import the modules that define them"
            raise UnknownSagaError(f"no saga is named {name!r}; known: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._sagas

    def __iter__(self) -> Iterator[Saga[..., Any]]:
        """The sagas in the order of their names."""
        return iter([self._sagas[name] for name in sorted(self._sagas)])

    def __len__(self) -> int:
        return len(self._sagas)

    @contextmanager
    def isolated(self) -> Generator[None]:
        """Start empty and put everything back at the end: for tests that define sagas of their own."""
        kept = self._sagas
        self._sagas = {}
        try:
            yield
        finally:
            self._sagas = kept


def _origin(saga: Saga[..., Any]) -> str:
    return f"{saga.function.__module__}.{saga.function.__qualname__}"


SAGAS = Registry()
"""Where ``@saga`` registers unless told otherwise."""
