"""A run written as a test: run, it goes the same way."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from orchestrator import Retry, Service, parallel, saga, wait_for
from orchestrator.kernel.summary import RunSummary
from orchestrator.testing import Sagas
from orchestrator.views.as_test import as_test
from orchestrator.views.timeline import timeline
from tests.unit.views.test_groups import recorded

TWICE = Retry(attempts=3, initial=0.1)
shop = Service("as_test_shop")


@shop.participant(retry=TWICE)
def take(sku: str) -> dict[str, str]:
    return {"sku": sku}


@take.undo(retry=TWICE)
def give_back(sku: str) -> None: ...


@shop.participant(retry=TWICE)
def pay(sku: str) -> str:
    return "paid"


@pay.undo(retry=TWICE)
def refund(sku: str) -> None: ...


@shop.participant(retry=TWICE)
def ship(sku: str) -> str:
    return "shipped"


@saga(version=1)
def as_test_buy(sku: str, number: int) -> str:
    with parallel():
        take(sku)
        pay(sku)
    wait_for("approval", bool)
    return ship.pivot(sku)


def _good(sagas: Sagas) -> Any:
    sagas.when(take).fails("no line", times=2)
    sagas.when(pay).is_lost()
    run = sagas.run(as_test_buy, "lamp", 2)
    run.signal("approval", True)
    return run


def _refused(sagas: Sagas) -> Any:
    sagas.when(ship).refuses("on strike")
    run = sagas.run(as_test_buy, "lamp", 2)
    run.signal("approval", True)
    return run


def _stuck(sagas: Sagas) -> Any:
    sagas.when(pay).refuses("no money")
    sagas.when_undoing(take).fails("the store is closed", times=4)
    run = sagas.run(as_test_buy, "lamp", 2)
    run.retry("take")
    return run


def _cancelled(sagas: Sagas) -> Any:
    run = sagas.run(as_test_buy, "lamp", 2)
    run.cancel("not wanted")
    return run


class _Played:
    """As ``recorded`` wants it."""

    def __init__(self, events: Any) -> None:
        self.events = events


@pytest.mark.parametrize("play", [_good, _refused, _stuck, _cancelled])
def test_the_test_of_a_run_goes_as_the_run_went(play: Any) -> None:
    with Sagas() as first:
        run = play(first)
        events = run.events
        status, parked = run.status, tuple(run.parked)
    row = RunSummary(
        *("r", 0, "as_test_buy", 1, "", status, False, 0.0, 0.0), key="O-1", parked=parked
    )
    entries = timeline(as_test_buy.plan, recorded(_Played(events)))  # type: ignore[arg-type]
    here = __name__
    modules = {"as_test_buy": here} | {
        f"as_test_shop.{name}": here for name in ("take", "pay", "ship")
    }
    source = as_test(as_test_buy.plan, row, entries, modules)
    module = ModuleType("written_as_test")
    sys.modules[module.__name__] = module
    exec(compile(source, "written_as_test.py", "exec"), vars(module))
    with Sagas() as again:
        vars(module)["test_as_test_buy_o_1"](again)
        assert again.in_vain() == []
        [second] = again.runs
        assert sorted(type(e).__name__ for e in second.events) == sorted(
            type(e).__name__ for e in events
        )


def test_what_is_not_shown_has_to_be_filled_in() -> None:
    with Sagas() as first:
        run = first.run(as_test_buy, "(redacted)", 1)
        entries = timeline(as_test_buy.plan, recorded(_Played(run.events)))  # type: ignore[arg-type]
    row = RunSummary("r", 0, "as_test_buy", 1, "", "running", True, 0.0, 0.0)
    source = as_test(as_test_buy.plan, row, entries, {})
    assert source.startswith("# Some values aren't shown to you")
    assert "# import as_test_buy, pay, take" in source
    assert "assert run.status == 'running'" in source
