"""Figures of atomic groups, from what a coordinator wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.plan import RetryPolicy
from orchestrator.kernel.events import Failure
from orchestrator.transport.messages import Answer, Work
from orchestrator.views.statistics import GroupFigures, statistics
from tests.tables import make_tables
from tests.unit.coordinator.scripted import answer, request
from tests.unit.coordinator.test_loop import World
from tests.unit.kernel.scenario import branch, group, plan

TRANSFER = plan(
    group(branch("debit"), branch("credit"), retry=RetryPolicy(attempts=2, initial_s=0.0))
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 1)
    made = World(url)
    yield made
    made.journal.close()


def test_groups_are_counted_by_what_was_decided_and_branches_by_what_they_did(world: World) -> None:
    def handler(work: Work) -> Answer:
        if work.kind == "prepare" and work.step == "credit" and work.run != "good":
            once = work.run == "again" and work.round
            if not once:
                return answer(work, "failed", failure=Failure("E", "no"))
        world.clock.now += 0.5
        return answer(work, vote="prepared" if work.kind == "prepare" else None)

    world.transport.handler = handler
    for run in ("good", "again", "hopeless"):
        world.journal.launch([request(TRANSFER, run, at=world.clock.now)])
    options = CoordinatorOptions(owner="one", lease_s=600, keep_s=0)
    one = Coordinator(world.journal, world.transport, options, world.clock)
    for _ in range(30):
        one.turn(0)
        world.clock.now += 1.0
    found = statistics(world.journal, 1, world.clock.now, 3600)
    assert found.groups == (
        GroupFigures(found.sagas[0].saga, "atomic", committed=2, retried=2, given_up=1),
    )
    steps = {step.step: step for step in found.steps}
    assert set(steps) == {"debit", "credit"}
    assert (steps["debit"].succeeded, steps["credit"].succeeded) == (2, 2)
    assert steps["credit"].failed == 3
    held = steps["debit"].held
    assert held is not None
    assert held.count == 2
    assert 0 < held.p50_s <= held.max_s
