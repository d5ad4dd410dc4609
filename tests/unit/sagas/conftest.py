"""The shop and the trips on SQLite files and a booking server of the test's own, all in this process."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from orchestrator import wiring
from orchestrator.settings import Settings
from tests.tables import make_tables
from workers.booking_server import Bookings, BookingServer


class Here(NamedTuple):
    """Sagas of one module, running in this process."""

    module: ModuleType
    client: Any


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """``sagas.orders`` with its four services, freshly filled."""
    monkeypatch.setenv("SHOP_FOLDER", str(tmp_path))
    for service in ("INVENTORY", "MAIL", "PAYMENTS", "SHIPPING"):
        monkeypatch.delenv(f"{service}_DATABASE_URL", raising=False)
    services = ("inventory", "mail", "payments", "shipping")
    with running("sagas.orders", services, tmp_path) as here:
        yield here


@pytest.fixture
def bookings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bookings]:
    """The books of a booking server that runs while the test does."""
    with BookingServer(0, tmp_path / "bookings.jsonl") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("BOOKING_URL", server.url)
        yield server.bookings
        server.shutdown()
        thread.join()


@pytest.fixture
def travel(bookings: Bookings, tmp_path: Path) -> Iterator[Here]:
    """``sagas.trips``, booking with the test's server."""
    del bookings
    with running("sagas.trips", ("trips",), tmp_path) as here:
        yield here


@contextmanager
def running(saga: str, services: Sequence[str], folder: Path) -> Iterator[Here]:
    """A saga's module and its services, in this process."""
    with fresh_modules():
        apps = [saga, *(f"workers.{name}" for name in services)]
        defined = wiring.definitions(apps)
        for name in services:
            module = importlib.import_module(f"workers.{name}")
            if hasattr(module, "prepare_database"):
                module.prepare_database()
        settings = Settings(journal_url=f"sqlite:///{folder}/journal.db")
        make_tables(settings.journal_url, settings.shards)
        with wiring.embedded(defined, settings) as running:
            yield Here(importlib.import_module(saga), running.client)
        for service in defined.services:
            service.dispose()


@contextmanager
def fresh_modules() -> Iterator[None]:
    """Modules read their databases' places when they are imported: import them anew, then put the others back."""
    kept = {name: module for name, module in sys.modules.items() if _ours(name)}
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in list(filter(_ours, sys.modules)):
            del sys.modules[name]
        sys.modules.update(kept)


def _ours(module: str) -> bool:
    return (
        module.split(".", maxsplit=1)[0] in {"sagas", "workers"}
        and module != "workers.booking_server"
    )
