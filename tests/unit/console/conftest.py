"""The console's stage."""

import pytest

from tests.unit.console.desks import Desks


@pytest.fixture
def desks() -> Desks:
    """A console without runs, and no coordinator."""
    return Desks()
