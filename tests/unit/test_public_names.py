"""Every public name is there when asked for, and no other."""

from __future__ import annotations

import orchestrator


def test_every_public_name_is_there() -> None:
    assert all(getattr(orchestrator, name) is not None for name in orchestrator.__all__)
    assert dir(orchestrator) == sorted(orchestrator.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(orchestrator, "nothing_of_the_kind")


def test_the_table_and_the_list_agree() -> None:
    assert set(orchestrator._HOME_OF) == set(orchestrator.__all__)
