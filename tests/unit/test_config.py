"""The settings files that ship fit the settings, and the names in them exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import wiring
from orchestrator.settings import load

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(path.name for path in CONFIG.glob("*.toml"))


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(name)


def test_there_is_one_for_each_use_and_nothing_else() -> None:
    assert FILES == ["development.toml", "production.toml", "test.toml"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_fits_the_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_CONFIG", str(CONFIG / name))
    settings = load()
    assert settings.apps
    defined = wiring.definitions(settings.apps)
    more = {"transfer"} if name == "development.toml" else set()
    assert set(defined.sagas) == {"place_order", "book_trip", *more}
    services = {service.name for service in defined.services}
    ledgers = {"ledger-a", "ledger-b"} if more else set()
    assert services == {"inventory", "mail", "payments", "shipping", "trips", *ledgers}


def test_development_leaves_servers_and_journal_to_the_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGA_CONFIG", str(CONFIG / "development.toml"))
    assert not {"journal_url", "broker_url"} & load().model_fields_set
