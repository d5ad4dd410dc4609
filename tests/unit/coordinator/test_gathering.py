"""How long a coordinator waits between turns so that more answers share one."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import wiring
from orchestrator.coordinator.dispatching import Dispatcher
from orchestrator.coordinator.loop import Coordinator
from orchestrator.journal.sql import SqlJournal
from orchestrator.settings import Settings
from tests.tables import make_tables
from tests.unit.coordinator.scripted import ScriptedTransport


@pytest.mark.parametrize(
    ("share", "drain_s", "pause_s"), [(0.05, 0.2, 0.01), (0.5, 0.1, 0.05), (0.5, 9, 0.1)]
)
def test_answers_gather_for_a_share_of_the_time_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, drain_s: float, pause_s: float
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 2)
    pauses: list[float] = []
    now = time.time()
    with closing(SqlJournal(url)) as journal:
        options = wiring.coordinator_options(Settings(gather_share=share))
        coordinator = Coordinator(journal, ScriptedTransport(), options, lambda: now)

        def pause(seconds: float) -> None:
            pauses.append(round(seconds, 6))
            coordinator.stop()

        monkeypatch.setattr(coordinator, "_pause", pause)
        monkeypatch.setattr(Dispatcher, "drain_s", drain_s)
        coordinator.run()
    assert pauses == [pause_s]
