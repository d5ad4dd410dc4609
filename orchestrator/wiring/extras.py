"""What an extra of the package brings, where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from orchestrator.errors import SettingsError


@contextmanager
def needing(extra: str, what: str, otherwise: str = "") -> Iterator[None]:
    """Around imports that need an extra: ``SettingsError`` says what needs it, and how to get it or do without."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("orchestrator"):
            raise
        raise SettingsError(
            f"{what} {error.name}: pip install 'saga-orchestrator[{extra}]'{otherwise}"
        ) from error


def needing_prometheus() -> AbstractContextManager[None]:
    """Around imports for metrics."""
    return needing("prometheus", "metrics need", ", or set no port for them")
