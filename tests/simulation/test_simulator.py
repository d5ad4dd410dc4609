"""The main test: the whole program under virtual time, and that the simulator itself can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.definition.plan import Call, Const, Plan, RetryPolicy, Sequence, Undo
from orchestrator.errors import InvalidInputError
from orchestrator.testing.parallel import CHUNK, simulate
from orchestrator.testing.simulation.dice import DISTURBANCES, FAULTS
from orchestrator.testing.simulation.growth import FORGETFUL
from orchestrator.testing.simulation.holding import DEEDS
from orchestrator.testing.simulation.results import Schedule
from orchestrator.testing.simulator import Simulator
from sagas.orders import place_order
from sagas.trips import book_trip

SCHEDULES = 300
SCHEDULES_OF_A_SAGA = 150
"""`make simulate` plays many more; here the tests only see that it works."""


def _told(schedule: Schedule) -> str:
    return "\n".join((*schedule.trace, f"seed {schedule.seed}", *schedule.violations))


def test_random_plans_hold_under_every_fault() -> None:
    campaign = Simulator().run(0, SCHEDULES)
    assert campaign.failed == [], _told(campaign.failed[0])
    assert {"completed", "compensated"} <= campaign.runs.keys()
    assert set(campaign.faults) == {*FAULTS, *DISTURBANCES, *DEEDS}


@pytest.mark.parametrize("plan", [place_order.plan, book_trip.plan], ids=lambda plan: plan.saga)
def test_the_shipped_sagas_hold_under_every_fault(plan: Plan) -> None:
    campaign = Simulator(plan).run(0, SCHEDULES_OF_A_SAGA)
    assert campaign.failed == [], _told(campaign.failed[0])
    assert {"completed", "compensated"} <= campaign.runs.keys()


def test_faults_that_are_certain_happen_in_every_schedule_and_have_to_exist() -> None:
    simulator = Simulator(certain=["journal restored"])
    assert all("journal restored" in simulator.play(seed).faults for seed in range(10))
    with pytest.raises(InvalidInputError, match="no fault is called earthquake"):
        Simulator(certain=["journal restored", "earthquake"])


def test_the_failing_schedule_with_the_lowest_seed_counts_however_many_play() -> None:
    """A courier whose messages come late, in front of a world that forgets cancelled keys: nothing helps against it."""
    retry, undo = RetryPolicy(attempts=2, initial_s=1.0), Undo("send.undo", 10.0, RetryPolicy())
    send = Call("send", FORGETFUL, "send", "late", {"a": Const(1)}, 10.0, retry, undo)
    book = Call(
        "book", "shop", "act", "saga.shop", {"a": Const(1)}, 10.0, retry, undo, barrier=True
    )
    plan = Plan("late", 1, {}, Sequence((send, book)))
    alone = simulate(plan, schedules=4 * CHUNK)
    together = simulate(plan, schedules=4 * CHUNK, processes=2)
    assert [schedule.seed for schedule in alone.failed] == [alone.schedules - 1]
    assert "(b)" in alone.failed[0].violations[0]
    assert together.failed == alone.failed
    assert (together.schedules, together.faults) == (alone.schedules, alone.faults)


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
