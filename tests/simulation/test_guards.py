"""Take one guard away, and the simulator must notice within a stated number of schedules."""

from __future__ import annotations

import re
from itertools import chain, tee

import pytest

from orchestrator.definition.plan import Call, Const, Plan, RetryPolicy, Sequence, Undo
from orchestrator.testing.simulation.growth import FORGETFUL, STEP_TIMEOUT_S
from orchestrator.testing.simulation.holding import works
from orchestrator.testing.simulator import Simulator
from tests.simulation import groups, removed

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize(
    ("guard", "schedules"),
    [
        (removed.barrier_row, 20),
        (removed.tombstone, 150),
        (removed.primary_key_fence, 100),
        (removed.log_fence, 100),
        (removed.watchdog, 50),
        (removed.duplicate_filter, 20),
        (removed.match_on_kind, 50),
        (removed.match_on_attempt, 50),
    ],
)
def test_a_removed_guard_is_noticed(guard: removed.Remove, schedules: int) -> None:
    with removed.without(guard):
        simulator = Simulator()
        noticed = any(
            map(
                _is_harm,
                chain.from_iterable(simulator.play(seed).violations for seed in range(schedules)),
            )
        )
    assert noticed, f"nothing noticed in {schedules} schedules"


def test_a_coordinator_that_does_not_look_at_the_log_is_noticed_where_journals_are_restored() -> (
    None
):
    with removed.without(removed.looking_at_the_log):
        campaign = Simulator(certain=["journal restored"]).run(0, 200)
    assert campaign.failed, f"nothing noticed in {campaign.schedules} schedules"
    assert "running at rest" in campaign.failed[0].violations[0]


def _is_harm(violation: str) -> bool:
    """Something that went wrong with a run or an effect, and not only that a barrier's row is amiss."""
    return not violation.startswith("(f)") and "seems forgotten" not in violation


@pytest.mark.parametrize("guard", [removed.held_back, removed.looking_for_holds])
def test_a_command_that_a_hold_stops_is_noticed_where_it_goes_out(guard: removed.Remove) -> None:
    seeds = [seed for seed in range(400) if works(seed)]
    with removed.without(guard):
        simulator = Simulator()
        first = next(filter(None, (simulator.play(seed).violations for seed in seeds)), ())
    assert any(re.search(r"\(h\) c\d sent .* is held", violation) for violation in first)


def test_a_removed_epoch_check_is_noticed_where_no_database_stands_behind_it() -> None:
    """Commands of a coordinator that slept through its lease, to a service whose outside world forgets keys."""
    assert Simulator(_parcels()).run(0, 100).failed == []
    with removed.without(removed.epoch_check):
        campaign = Simulator(_parcels()).run(0, 200)
    assert campaign.failed, f"nothing noticed in {campaign.schedules} schedules"
    assert "happened 2 times" in campaign.failed[0].violations[0]


def test_publishing_before_the_commit_is_noticed() -> None:
    """A kill between the two loses the decision, and what happens meanwhile leads to another one."""
    hasty = Plan(
        "hasty",
        1,
        {},
        Sequence(tuple(_call(name, "shop", "act") for name in "abc")),
        timeout_s=20.0,
    )
    assert Simulator(hasty).run(0, 100).failed == []
    with removed.without(removed.commit_before_publish):
        campaign = Simulator(hasty).run(0, 300)
    assert campaign.failed, f"nothing noticed in {campaign.schedules} schedules"
    assert campaign.failed[0].violations[0].startswith("(b)")


@pytest.mark.parametrize(
    ("guard", "plan", "schedules"),
    [
        (removed.commit_before_publish, groups.PREPARED, 100),
        (removed.presumed_abort, groups.PREPARED, 100),
        (removed.unanimity, groups.PREPARED, 100),
        (removed.tombstone, groups.PREPARED, 100),
        (removed.numbered_questions, groups.PREPARED, 100),
        (removed.proof_row, groups.PREPARED, 100),
        (removed.recall, groups.LAST, 100),
        (removed.confirm_row, groups.TRIED, 100),
    ],
)
def test_a_removed_guard_of_groups_is_noticed(
    guard: removed.Remove, plan: Plan, schedules: int
) -> None:
    with removed.without(guard):
        campaign = Simulator(plan).run(0, schedules)
    assert campaign.failed, f"nothing noticed in {campaign.schedules} schedules"


def test_a_decision_that_is_told_before_it_is_written_is_noticed_as_half_a_group() -> None:
    with removed.without(removed.written_decision):
        simulator = Simulator(groups.PREPARED)
        played = (simulator.play(seed).violations for seed in range(100))
        against, halves = tee(chain.from_iterable(played))
        assert any("told to abort and is committed" in violation for violation in against)
        assert any(" did" in violation and "only {" in violation for violation in halves)


@pytest.mark.parametrize("plan", [groups.PREPARED, groups.LAST, groups.TRIED], ids=lambda p: p.saga)
def test_with_every_guard_in_place_nothing_is_noticed(plan: Plan) -> None:
    assert Simulator(plan).run(0, 60).failed == []


def _parcels() -> Plan:
    """Two parcels by a forgetful courier, then a step that can be refused."""
    sends = [_call(name, FORGETFUL, "send", attempts=2) for name in ("one", "two")]
    return Plan("parcels", 1, {}, Sequence((*sends, _call("book", "shop", "act", attempts=2))))


def _call(name: str, service: str, participant: str, attempts: int = 1) -> Call:
    undo_retry = RetryPolicy(attempts=None, budget_s=60.0, initial_s=1.0)
    return Call(
        name=name,
        service=service,
        participant=participant,
        queue=f"saga.{service}",
        args={"a": Const(1)},
        timeout_s=STEP_TIMEOUT_S,
        retry=RetryPolicy(attempts=attempts, initial_s=1.0),
        undo=Undo(f"{participant}.undo", STEP_TIMEOUT_S, undo_retry),
        barrier=participant == "act",
    )
