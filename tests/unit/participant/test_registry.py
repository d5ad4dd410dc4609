"""Which participants a worker serves."""

from __future__ import annotations

from types import ModuleType

import pytest

from orchestrator.errors import DefinitionError
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service, remote


def test_finds_by_qualified_name() -> None:
    service = Service("a")

    @service.participant(queue="other")
    def one() -> None: ...

    registry = Registry.of([service])
    assert registry.find("a.one") == (service, one)
    assert [registry.find(name) for name in ("a.two", "b.one", "one", "a")] == [None] * 4
    assert registry.queues == {"other"}


def test_scans_modules_for_services() -> None:
    first, second = ModuleType("first"), ModuleType("second")
    service = Service("a")
    first.__dict__.update(service=service, again=service, far=remote("far"))
    second.__dict__.update(imported=service, own=Service("b"))
    assert [found.name for found in Registry.scan([first, second])] == ["a", "b"]


def test_scans_modules_by_name() -> None:
    assert list(Registry.scan(["orchestrator.participant.registry"])) == []


def test_refuses_two_services_of_one_name() -> None:
    with pytest.raises(DefinitionError, match="two services are named 'a'"):
        Registry.of([Service("a"), Service("a")])
