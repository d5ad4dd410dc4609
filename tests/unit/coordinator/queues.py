"""Where a real coordinator sends what a saga's participants have to do."""

from __future__ import annotations

from typing import Any

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.saga import Saga
from orchestrator.journal.memory import MemoryJournal
from tests.unit.coordinator.scripted import ScriptedTransport, request


def sent_to(built: Saga[..., Any]) -> dict[str, str]:
    """The queue that each of a saga's participants is sent to."""
    journal, transport = MemoryJournal(shards=1), ScriptedTransport()
    journal.launch([request(built.plan, "r" * 32)])
    coordinator = Coordinator(journal, transport, CoordinatorOptions(owner="one"), lambda: 1_000.0)
    for _ in range(20):
        coordinator.turn(0)
    return {work.participant: bundle.queue for bundle in transport.bundles for work in bundle.work}
