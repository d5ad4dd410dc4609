"""A saga in which something could take effect and then not be undone is refused; the pivot is where it should be."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.definition.plan import Call
from orchestrator.definition.saga import Registry, saga
from orchestrator.definition.shapes import otherwise, parallel, sequence, sleep, wait_for, when
from orchestrator.errors import DefinitionError
from tests.unit.definition.actions import action, compiled, final, reading


@action
def reserve(sku: str) -> str:
    return sku


@reading
def look(sku: str) -> str:
    return sku


@final
def ship(sku: str) -> str:
    return sku


@final
def mail(sku: str) -> str:
    return sku


def pivots(function: Callable[..., Any]) -> list[str]:
    steps = compiled(function).steps()
    return [step.name for step, _ in steps if isinstance(step, Call) and step.pivot]


@saga(registry=Registry())
def delivery(sku: str) -> str:
    reserve(sku)
    return ship(sku)


@saga(registry=Registry())
def forward(sku: str) -> str:
    return ship.pivot(sku) + mail(sku)


def _undone_throughout(sku: str) -> None:
    reserve(sku)
    look(sku)


def _last_is_pivot(sku: str) -> None:
    reserve(sku)
    ship(sku)


def _last_in_a_sequence_is_pivot(sku: str) -> None:
    reserve(sku)
    with sequence():
        look(sku)
        ship(sku)


def _child_last_is_pivot(sku: str) -> str:
    reserve(sku)
    return delivery(sku) + "x"


def _declared(sku: str) -> None:
    reserve(sku)
    ship.pivot(sku)
    mail(sku)
    with parallel():
        mail(sku)
        mail(sku)
    mail.map([sku])


def _child_declares(sku: str) -> None:
    reserve(sku)
    forward(sku)
    mail(sku)


def _on_both_paths(sku: str) -> None:
    with when(sku == "a"):
        ship.pivot(sku)
    with otherwise():
        reserve(sku)
        mail.pivot(sku)
    mail(sku)


def _on_one_path(sku: str) -> None:
    with when(sku == "a"):
        ship.pivot(sku)
        mail(sku)
    reserve(sku)


def _waits(sku: str) -> None:
    reserve(sku)
    wait_for("go", int)
    sleep(1)
    look(sku)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_undone_throughout, []),
        (_last_is_pivot, ["ship"]),
        (_last_in_a_sequence_is_pivot, ["ship"]),
        (_child_last_is_pivot, ["delivery.ship"]),
        (_declared, ["ship"]),
        (_child_declares, ["forward.ship"]),
        (_on_both_paths, ["ship", "mail"]),
        (_on_one_path, ["ship"]),
        (_waits, []),
    ],
)
def test_where_the_pivot_is(function: Callable[..., Any], expected: list[str]) -> None:
    assert pivots(function) == expected


def _no_undo(sku: str) -> None:
    ship(sku)
    reserve(sku)


def _no_undo_before_the_pivot(sku: str) -> None:
    mail(sku)
    ship.pivot(sku)


def _two_without_undo(sku: str) -> None:
    ship(sku)
    mail(sku)


def _no_undo_in_parallel(sku: str) -> None:
    with parallel():
        reserve(sku)
        ship(sku)


def _no_undo_in_map(sku: str) -> None:
    ship.map([sku])


def _no_undo_in_when(sku: str) -> None:
    with when(sku == "a"):
        ship(sku)


def _no_undo_on_one_path(sku: str) -> None:
    with when(sku == "a"):
        ship.pivot(sku)
    mail(sku)


def _child_needs_undo(sku: str) -> None:
    delivery(sku)
    reserve(sku)


def _pivot_in_parallel(sku: str) -> None:
    with parallel():
        ship.pivot(sku)
        reserve(sku)


def _pivot_in_map(sku: str) -> None:
    forward.map([sku])


def _two_pivots(sku: str) -> None:
    ship.pivot(sku)
    mail.pivot(sku)


def _second_pivot_after_a_branch(sku: str) -> None:
    with when(sku == "a"):
        ship.pivot(sku)
    mail.pivot(sku)


@pytest.mark.parametrize(
    ("function", "step", "message"),
    [
        (_no_undo, "ship", r"comes before the pivot and has no undo"),
        (
            _no_undo_before_the_pivot,
            "mail",
            r"give the action an undo \(@mail.undo\), declare it read_only=True",
        ),
        (_two_without_undo, "ship", r"or make it the pivot: ship.pivot\(\.\.\.\)"),
        (_no_undo_in_parallel, "ship", "has no undo"),
        (_no_undo_in_map, "ship", "has no undo"),
        (_no_undo_in_when, "ship", "has no undo"),
        (_no_undo_on_one_path, "mail", "comes before the pivot on one of the paths to it"),
        (_child_needs_undo, "delivery.ship", "has no undo"),
        (_pivot_in_parallel, "ship", r"is a pivot inside parallel\(\)"),
        (_pivot_in_map, "forward.ship", r"is a pivot inside .map\(\)"),
        (_two_pivots, "mail", "is a second pivot on the same path"),
        (_second_pivot_after_a_branch, "mail", "is a second pivot on the same path"),
    ],
)
def test_what_could_not_be_compensated_is_refused(
    function: Callable[..., Any], step: str, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        compiled(function)
    expected = rf"^saga '{function.__name__}', tests/unit/definition/test_rules.py:\d+: step '{step}' \(shop\."
    assert pytest.RaisesExc(DefinitionError, match=expected).matches(caught.value)
