"""A pytest plugin that takes one guard away before anything is collected: ``-p tests.mutation.plugin``."""

from __future__ import annotations

from tests.mutation.guards import remove_named


def pytest_configure() -> None:
    """Take it away."""
    remove_named()
