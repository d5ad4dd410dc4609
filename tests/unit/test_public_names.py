"""Every public name is there when asked for, and no other."""

from __future__ import annotations

from types import ModuleType

import pytest

import orchestrator
from orchestrator import wiring

LAZY = pytest.mark.parametrize("module", [orchestrator, wiring], ids=["orchestrator", "wiring"])


@LAZY
def test_every_public_name_is_there(module: ModuleType) -> None:
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert dir(module) == sorted(module.__all__)


@LAZY
def test_a_name_that_is_not_there_is_an_attribute_error(module: ModuleType) -> None:
    assert not hasattr(module, "nothing_of_the_kind")


@LAZY
def test_the_table_and_the_list_agree(module: ModuleType) -> None:
    assert set(module._HOME_OF) == set(module.__all__)
