"""A few crashes of every scene, on either kind of database in turn; the whole matrix is `make crashes`."""

from __future__ import annotations

import pytest

from tests.crash.__main__ import Task, campaign
from tests.crash.scenes import SCENES
from tests.servers import Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

EVERY = 90
"""Of the crashes of a scene, one in so many."""


@pytest.mark.parametrize(
    ("scene", "database"),
    [
        ("orders", "postgresql"),
        ("orders-refused", "sqlite"),
        ("orders-undo-fails", "postgresql"),
        ("trips", "sqlite"),
        ("trips-refused", "postgresql"),
        ("trips-undo-fails", "sqlite"),
        ("transfers", "postgresql"),
        ("transfers-refused", "postgresql"),
    ],
)
def test_a_process_may_die_at_any_point(
    scene: str, database: str, postgres_server: Postgres
) -> None:
    report = campaign(Task(scene, database, "singles", "0/1"), postgres_server.url, EVERY)
    assert report.violations == []
    assert SCENES[scene].outcome in report.outcomes
    assert report.crashes == report.schedules >= 3
