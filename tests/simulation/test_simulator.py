"""The main test: the whole program under virtual time, and that the simulator itself can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.testing.simulator import Schedule, Simulator
from sagas.orders import place_order

SECONDS = float(os.environ.get("SIMULATE_S", "40"))
SHARE_OF_ORDERS = 0.2
NIGHT_SEED = int(os.environ.get("SIMULATE_SEED", "0"))


def _told(schedule: Schedule) -> str:
    return "\n".join((*schedule.trace, f"seed {schedule.seed}", *schedule.violations))


def test_random_plans_hold_under_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    campaign = Simulator().run(NIGHT_SEED, seconds=SECONDS * (1 - SHARE_OF_ORDERS))
    with capsys.disabled():
        print(f"\nsimulated {campaign.schedules} schedules from seed {NIGHT_SEED}: {campaign.runs}")  # noqa: T201
    assert campaign.failed == [], _told(campaign.failed[0])
    assert {"completed", "compensated"} <= campaign.runs.keys()


def test_the_shipped_order_holds_under_every_fault() -> None:
    campaign = Simulator(place_order.plan).run(NIGHT_SEED, seconds=SECONDS * SHARE_OF_ORDERS)
    assert campaign.failed == [], _told(campaign.failed[0])
    assert {"completed", "compensated"} <= campaign.runs.keys()


def test_every_kind_of_fault_happens() -> None:
    from orchestrator.testing.simulation.dice import DISTURBANCES, FAULTS

    campaign = Simulator().run(0, 250)
    assert set(campaign.faults) == {*FAULTS, *DISTURBANCES}


_DIGESTS = """
from orchestrator.testing.simulator import Simulator
print([Simulator().play(seed).digest for seed in range(20)])
"""


def test_the_same_seed_has_the_same_trace_byte_for_byte() -> None:
    here = Simulator()
    first = [here.play(seed) for seed in range(20)]
    again = [here.play(seed) for seed in range(20)]
    assert [schedule.trace for schedule in first] == [schedule.trace for schedule in again]
    digests = str([schedule.digest for schedule in first])
    assert len(set(digests.split(","))) == 20
    for hash_seed in ("1", "2"):  # sets and dictionaries of text come in another order
        other = subprocess.run(
            [sys.executable, "-c", _DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        )
        assert other.stdout.strip() == digests


def test_a_schedule_without_faults_needs_no_repair() -> None:
    quiet = [s for s in map(Simulator().play, range(150)) if not s.faults]
    assert quiet
    assert all(schedule.violations == () for schedule in quiet)
