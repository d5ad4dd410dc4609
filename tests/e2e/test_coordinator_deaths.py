"""Coordinators that die at each point of a turn, as real processes: another one goes on at once, and nothing twice."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.client import Run
from orchestrator.errors import OperationRefusedError
from tests.e2e.faulty import mark
from tests.e2e.installation import LEASE_S, Installation, ended
from tests.e2e.storm import Process
from tests.servers import Valkey
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

DYING = (sys.executable, "-m", "tests.e2e.dying_coordinator")
AT_ONCE_S = LEASE_S + 10
"""The lease, and a busy machine. The steps' own deadlines are ten minutes."""


@pytest.fixture(scope="module")
def running(
    redis_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A worker, and a coordinator that stands by."""
    with (
        redis_server.database() as broker,
        Installation(tmp_path_factory.mktemp("installation"), broker) as it,
    ):
        it.worker()
        yield it


@pytest.fixture(scope="module")
def standby(running: Installation) -> Process:
    return running.coordinator()


class Doomed:
    """A coordinator that writes one of the two shards until it dies at its point."""

    def __init__(self, running: Installation, standby: Process, point: str) -> None:
        self._running = running
        self._process = running.start(f"doomed {point}", *DYING, point)
        eventually(lambda: len(self._mine()) == 1 and len(running.owners()) == 2, 60)
        [self.shard] = self._mine()

    def wait_until_dead(self) -> None:
        """Wait for its end, which has to be the one it was made for."""
        assert self._process.wait(60) == -9

    def _mine(self) -> list[int]:
        mark = f":{self._process.pid}:"
        return [shard for shard, owner in self._running.owners().items() if mark in owner]


@pytest.mark.parametrize("moment", ["arrived", "appended", "dispatched"])
def test_s13_killed_between_two_steps(running: Installation, standby: Process, moment: str) -> None:
    """Picked up by another coordinator within the lease time, not at the step's deadline."""
    run = killed(running, standby, f"StepSucceeded:{moment}", f"s13-{moment}")
    assert ended(run) == "completed"
    assert running.types(run) == ["RunLaunched", *["StepSucceeded"] * 3, "RunCompleted"]
    assert longest_pause_s(running, run) < AT_ONCE_S
    assert running.effects(run) == (1, -10, 1)


def test_s1_killed_at_the_start_of_compensating(running: Installation, standby: Process) -> None:
    run = killed(running, standby, "CompensationStarted:appended", "s1", "settle refuses")
    assert ended(run) == "compensated"
    assert running.types(run) == [
        "RunLaunched",
        *["StepSucceeded"] * 2,
        "StepRefused",
        "CompensationStarted",
        *["StepUndone"] * 2,
        "RunCompensated",
    ]
    assert longest_pause_s(running, run) < AT_ONCE_S
    assert running.effects(run) == (2, 0, 0)


def test_an_operator_can_act_on_a_run_whose_coordinator_is_dead(
    running: Installation, standby: Process
) -> None:
    """It is taken now, and done by whoever picks the run up."""
    doomed = Doomed(running, standby, "StepSucceeded:appended")
    run = running.launch_in(doomed.shard, "hasty", "operated")
    doomed.wait_until_dead()
    run.cancel("no longer wanted")
    assert ended(run) == "compensated"
    assert run.summary().reason == "no longer wanted"
    with pytest.raises(OperationRefusedError):
        run.cancel()
    assert running.effects(run)[1:] == (0, 0)


def test_s14_a_step_longer_than_the_lease_runs_once(
    running: Installation, standby: Process
) -> None:
    """Leases are renewed meanwhile, and the step is nobody else's to run."""
    run = running.client.launch_named("hasty", {"order": "s14", "trouble": ["withdraw hangs"]})
    eventually((running.folder / "s14 hanging").exists, 60)
    renewed_to = running.journal.leases()[0].expires_at + 2 * LEASE_S
    eventually(lambda: running.journal.leases()[0].expires_at > renewed_to, 60)
    mark("s14", "go", running.folder)
    assert ended(run) == "completed"
    assert running.diary(run) == ["withdraw", "book", "settle"]
    assert running.effects(run) == (1, -10, 1)


def test_s14_nor_twice_in_effect_when_its_coordinator_dies_meanwhile(
    running: Installation, standby: Process
) -> None:
    standing_by = eventually(lambda: the_only_one(running.owners()), 60)
    doomed = Doomed(running, standby, "RunLaunched:dispatched")
    run = running.launch_in(doomed.shard, "hasty", "s14-killed", "withdraw hangs")
    doomed.wait_until_dead()
    eventually(lambda: the_only_one(running.owners()) == standing_by, 60)
    mark(running.order(run), "go", running.folder)
    assert ended(run) == "completed"
    assert running.types(run).count("StepInDoubt") == 0
    assert running.effects(run) == (1, -10, 1)


def test_the_journal_is_whole_after_all_that(running: Installation, standby: Process) -> None:
    assert list(running.complaints()) == []


def killed(
    running: Installation, standby: Process, point: str, order: str, *trouble: str
) -> Run[Any]:
    """A run whose coordinator died at this point."""
    doomed = Doomed(running, standby, point)
    run = running.launch_in(doomed.shard, "hasty", order, *trouble)
    doomed.wait_until_dead()
    return run


def the_only_one(owners: dict[int, str]) -> str:
    """The one who writes every shard; empty if there are several."""
    return (
        next(iter(owners.values())) if len(owners) == 2 and len(set(owners.values())) == 1 else ""
    )


def longest_pause_s(running: Installation, run: Run[Any]) -> float:
    """Between two events of the run."""
    at = [record.at for record in running.client.history(run.id)]
    return max(later - earlier for earlier, later in itertools.pairwise(at))
