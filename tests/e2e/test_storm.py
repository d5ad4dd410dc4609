"""A small storm in every test run; the large one is `make storm`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.storm import Storm, rage
from tests.servers import RabbitMQ

RUNS = 40
KILLS = 5
SEED = 11
TRANSFERS = 60
TRANSFER_KILLS = 3


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_done_twice_under_kill_9(tmp_path: Path) -> None:
    with Storm(tmp_path, SEED) as storm:
        complaints = rage(storm, RUNS, KILLS)
        assert complaints == [], f"seed {SEED}, kills {dict(storm.kills)}"
        assert sum(storm.kills.values()) == KILLS
        outcomes = storm.scene.outcomes()
        assert sum(outcomes.values()) == RUNS
        assert outcomes["completed"] > 0
        assert outcomes["compensated"] > 0


@pytest.mark.timeout(400)
def test_all_money_moves_or_none_under_kill_9(tmp_path: Path) -> None:
    """Between three ledgers on two servers, by two-phase commit: each account holds what its completed runs say."""
    with Storm(tmp_path, SEED, transfers=True, broker=RabbitMQ) as storm:
        complaints = rage(storm, TRANSFERS, TRANSFER_KILLS)
        assert complaints == [], f"seed {SEED}, kills {dict(storm.kills)}"
        assert sum(storm.kills.values()) == TRANSFER_KILLS
        outcomes = storm.scene.outcomes()
        assert sum(outcomes.values()) == TRANSFERS
        assert outcomes["completed"] > TRANSFERS / 2
        assert outcomes["compensated"] > 0
