"""Clients that launch runs and repair them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from orchestrator.client import Client, ClientOptions
from orchestrator.definition.saga import Saga
from orchestrator.journal.port import Journal
from orchestrator.settings import Settings
from orchestrator.wiring.broker import transport
from orchestrator.wiring.second import two_people


def client(settings: Settings, journal: Journal, sagas: Mapping[str, Saga[..., Any]]) -> Client:
    """A client that wakes the coordinator through the broker; its connection there is closed when it is gone."""
    link = transport(settings)
    made = Client(journal, sagas, link.poke, client_options(settings))
    weakref.finalize(made, link.close).atexit = False  # at its end, the process closes everything
    return made


def client_options(settings: Settings) -> ClientOptions:
    """The client's part of the settings."""
    return ClientOptions(settings.actor, settings.payload_limit_bytes, two_people(settings))
