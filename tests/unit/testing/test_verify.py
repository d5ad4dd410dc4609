"""The explorer finds what is wrong, says how it comes about, and finds nothing in what is right."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from orchestrator import Ended, Retry, Service, saga
from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Registry, Saga
from orchestrator.testing import replay, rules, verify
from orchestrator.testing.proof import told
from sagas.orders import place_order
from sagas.trips import book_trip
from tests.unit.testing import broken

office = Service("office")


@office.participant(retry=Retry(attempts=1))
def tell(ended: Ended) -> None:
    """Is tried once."""


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


def test_the_search_for_cycles_is_left_as_it_was() -> None:
    verify(broken.sound, faults=0)
    assert gc.isenabled()
    gc.disable()
    try:
        verify(broken.sound, faults=0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_trace_of_a_sound_saga_replays_without_a_complaint() -> None:
    lines = replay(
        broken.sound, "do hold; lose pay_out; wake pay_out; do pay_out; do send; do notify"
    )
    assert [line.fault for line in lines] == [False, False, True, False, False, False, False]
    assert lines[-1].events[-1] == "the run is completed"


def test_a_callback_that_gives_up_at_the_first_trouble_is_found() -> None:
    @saga(registry=Registry())
    def telling(sku: str) -> None:
        broken.send(sku)

    telling.on_completed(tell)
    found = verify(telling, faults=1).counterexample
    assert found is not None
    assert found.invariant == rules.PASSING
    assert "@on_completed" in found.what
    assert found.trace == "do send; fail @on_completed"


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
