"""A crash at every kind of point, and a second one in the recovery; the whole matrix is `make crashes`."""

from __future__ import annotations

import pytest

from tests.crash.__main__ import Task, campaign

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

EVERY_PAIR = 30
"""Of the first crashes, and of the second ones after each."""
ENOUGH = ("--most", "1")
"""No need to play on after a violation: that is what `make guards` waits for."""


def test_a_process_may_die_at_every_kind_of_point() -> None:
    """Every other one of each kind with each aftermath, whatever step it is about."""
    report = campaign(Task("orders", "sqlite", "kinds", "0/1"), "", 2, *ENOUGH)
    assert report.violations == []
    assert report.outcomes == {"completed": report.schedules}
    assert report.crashes == report.schedules > len(report.aftermaths) > 1


def test_and_another_one_in_the_recovery() -> None:
    report = campaign(Task("orders-refused", "sqlite", "pairs", "0/1"), "", EVERY_PAIR)
    assert report.violations == []
    assert report.outcomes == {"compensated": report.schedules}
    assert report.schedules < report.crashes
