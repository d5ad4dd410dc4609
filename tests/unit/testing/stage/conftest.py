"""A clean outside world for each test."""

import pytest

from tests.unit.testing.stage import shop


@pytest.fixture(autouse=True)
def outside() -> None:
    shop.HEARD.clear()
