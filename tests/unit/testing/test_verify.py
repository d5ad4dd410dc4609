"""The explorer finds what is wrong, says how it comes about, and finds nothing in what is right."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Saga
from orchestrator.errors import InvalidInputError
from orchestrator.testing import replay, rules, verify
from orchestrator.testing.proof import InvariantViolated, told
from sagas.orders import place_order
from sagas.trips import book_trip
from tests.unit.testing import broken


@pytest.mark.parametrize("saga", [place_order, book_trip, broken.sound], ids=lambda s: s.name)
def test_a_sound_saga_survives_every_fault(saga: Saga[..., Any]) -> None:
    report = verify(saga, faults=1)
    assert report.counterexample is None, told(report.counterexample)
    assert report.cut == ()
    assert report.worlds > 50
    assert set(report.endings) >= {"completed", "compensated"}


def test_a_shipped_saga_survives_any_two_faults() -> None:
    report = verify(place_order, check=True)
    assert report.faults == 2
    assert report.worlds > 1_000
    assert report.cut == ()


BROKEN = [
    (broken.undo_missing_its_effect, rules.COMPENSATED, "the effect of count is left", 1),
    (broken.wrong_order, "paid_before_sent", "sent before it was paid", 0),
    (broken.not_null_safe, rules.PASSING, "charge", 2),
    (broken.refusing_after_the_pivot, rules.REFUSED, "hold is refused", 1),
    (broken.retry_shorter_than_needed, rules.PASSING, "book_courier", 1),
]


@pytest.mark.parametrize(("saga", "invariant", "what", "faults"), BROKEN, ids=lambda v: str(v)[:40])
def test_each_mistake_is_found_with_its_shortest_counterexample(
    saga: Saga[..., Any], invariant: str, what: str, faults: int
) -> None:
    found = verify(saga).counterexample
    assert found is not None
    assert found.invariant == invariant
    assert what in found.what
    assert found.faults == faults, told(found)


@pytest.mark.parametrize("saga", [case[0] for case in BROKEN], ids=lambda s: s.name)
def test_a_counterexample_is_reproduced_by_the_test_it_prints(saga: Saga[..., Any]) -> None:
    found = verify(saga).counterexample
    assert found is not None
    with pytest.raises(InvariantViolated, match=found.invariant):
        replay(saga, found.trace)
    scope: dict[str, Any] = {}
    exec(compile(found.test, "printed", "exec"), scope)
    [test] = [value for name, value in scope.items() if name.startswith("test_")]
    with pytest.raises(InvariantViolated, match=found.invariant):
        test()


def test_a_trace_of_a_sound_saga_replays_without_a_complaint() -> None:
    lines = replay(
        broken.sound, "do hold; lose pay_out; wake pay_out; do pay_out; do send; do notify"
    )
    assert [line.fault for line in lines] == [False, False, True, False, False, False, False]
    assert lines[-1].events[-1] == "the run is completed"


def test_a_trace_that_fits_no_more_says_so() -> None:
    with pytest.raises(InvalidInputError, match="the saga has changed"):
        replay(broken.sound, "do send")
    with pytest.raises(InvalidInputError, match="no move of a trace"):
        replay(broken.sound, "jump hold")


def test_a_bound_is_never_silent() -> None:
    report = verify(place_order, worlds_max=20)
    assert report.worlds == 20
    assert "stopped at 20 worlds" in report.cut[0]


def test_a_careless_other_side_is_found_out() -> None:
    found = verify(book_trip, faults=2, careless=True).counterexample
    assert found is not None
    assert found.invariant in {rules.COMPENSATED, rules.ONCE}


def test_an_invariant_is_no_part_of_the_plan() -> None:
    plan: Plan = broken.wrong_order.plan
    assert b"paid_before_sent" not in plan.encoded()
