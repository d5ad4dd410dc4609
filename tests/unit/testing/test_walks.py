"""Random walks: the same seed takes the same ones, what they find is made short, and is the real thing."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definition.saga import Saga
from orchestrator.testing import replay, verify
from orchestrator.testing.proof import InvariantViolated, told
from tests.unit.testing import broken

BROKEN = [saga for saga in broken.REGISTRY if saga is not broken.sound]


@pytest.mark.parametrize("saga", BROKEN, ids=lambda saga: saga.name)
def test_what_a_walk_finds_is_as_short_as_what_exploring_finds(saga: Saga[..., Any]) -> None:
    walked = verify(saga, walks=500, seed=1).counterexample
    explored = verify(saga).counterexample
    assert walked is not None
    assert explored is not None
    assert (walked.invariant, walked.faults) == (explored.invariant, explored.faults), told(walked)
    with pytest.raises(InvariantViolated):
        replay(saga, walked.trace)


def test_the_same_seed_takes_the_same_walks() -> None:
    def seen(seed: int) -> tuple[object, ...]:
        report = verify(broken.sound, walks=100, seed=seed, faults=4)
        assert report.ok
        assert report.cut == ()
        return report.worlds, report.transitions, report.depth, report.endings

    assert seen(5) == seen(5)
    assert seen(5) != seen(6)


def test_more_faults_than_can_be_explored_are_walked() -> None:
    report = verify(broken.sound, walks=200, seed=1, faults=6)
    assert report.ok
    assert sum(report.endings.values()) == 200
    assert report.depth > verify(broken.sound, faults=0).depth + 5
