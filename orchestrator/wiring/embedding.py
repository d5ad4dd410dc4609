"""Everything in one process, on a journal that is made where it is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from orchestrator.client import Client
from orchestrator.coordinator.loop import Coordinator
from orchestrator.coordinator.metering import Meter
from orchestrator.journal.port import Journal
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.settings import Settings
from orchestrator.transport.local import LocalTransport
from orchestrator.wiring.apps import Definitions
from orchestrator.wiring.clients import client_options
from orchestrator.wiring.coordinating import coordinator_options, notifier


def make_journal(settings: Settings) -> SqlJournal:
    """The journal, its schema created or upgraded first: for demos, development and tests."""
    upgrade(settings.journal_url, shards=settings.shards)
    return SqlJournal(settings.journal_url)


class Embedded(NamedTuple):
    """Everything in one process."""

    client: Client
    coordinator: Coordinator
    journal: Journal
    poke: Callable[[int], None]
    """Wakes the coordinator for a shard: for further clients, and for ``console_app``."""


@contextmanager
def embedded(
    definitions: Definitions,
    settings: Settings,
    *,
    threads: int = 4,
    journal: Journal | None = None,
    meter: Meter | None = None,
) -> Iterator[Embedded]:
    """Run sagas in this process: a thread for the coordinator, ``threads`` for participants, no broker.

    For tests and for programs that want durable sagas without a deployment. The journal is a real one. ``meter``
    counts for the coordinator: a ``PrometheusMeter`` has a registry to serve, or to add to the program's own.
    """
    own = journal is None
    store = journal or make_journal(settings)
    local = LocalTransport(
        WorkExecutor(Registry.of(definitions.services)),
        threads=threads,
    )
    driver = Coordinator(store, local, coordinator_options(settings), time.time, meter)
    teller = notifier(settings, store, definitions.sagas, local.poke)
    thread = threading.Thread(target=driver.run, name="saga-coordinator", daemon=True)
    thread.start()
    teller.start()
    try:
        client = Client(store, definitions.sagas, local.poke, client_options(settings))
        yield Embedded(client, driver, store, local.poke)
    finally:
        teller.stop()
        driver.stop()
        local.poke(0)
        thread.join()
        local.close()
        if own:
            store.close()
