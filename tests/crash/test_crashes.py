"""A part of the matrix in every test run; the whole is `make crashes`."""

from __future__ import annotations

import pytest

from tests.crash.__main__ import Task, campaign
from tests.crash.campaign import Report
from tests.crash.scenes import SCENES
from tests.servers import Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

EVERY = 60
"""Of the crashes of a scene, one in so many."""
EVERY_PAIR = 30
"""Of the first crashes, and of the second ones after each."""
ENOUGH = ("--most", "1")
"""No need to play on after a violation: that is what `make guards` waits for."""


def test_a_process_may_die_at_every_kind_of_point() -> None:
    """Each once with each aftermath, whatever step it is about."""
    report = campaign(Task("orders", "sqlite", "kinds", "0/1"), "", 1, *ENOUGH)
    _holds(report)
    assert report.crashes > len({point.rsplit(" ", 2)[0] for point in report.points})


@pytest.mark.parametrize(
    ("scene", "database"),
    [
        ("orders", "postgresql"),
        ("orders-refused", "sqlite"),
        ("orders-undo-fails", "postgresql"),
        ("trips", "sqlite"),
        ("trips-refused", "postgresql"),
        ("trips-undo-fails", "sqlite"),
    ],
)
def test_a_process_may_die_at_any_point(
    scene: str, database: str, postgres_server: Postgres
) -> None:
    report = campaign(Task(scene, database, "singles", "0/1"), postgres_server.url, EVERY)
    _holds(report)
    assert report.schedules == report.crashes > 4


def test_and_another_one_in_the_recovery() -> None:
    report = campaign(Task("orders-refused", "sqlite", "pairs", "0/1"), "", EVERY_PAIR)
    _holds(report)
    assert report.schedules < report.crashes


def _holds(report: Report) -> None:
    assert report.violations == []
    assert SCENES[report.scene].outcome in report.outcomes
