"""Random trouble for groups of every kind: all or nothing, and every row of the two-phase tables is reached.

What is checked of each play stands in ``driver``, ``groups``, ``oracle`` and ``group_moves``.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Finish,
    Item,
    Operation,
    Parallel,
    Param,
    Plan,
    RetryPolicy,
    Sequence,
)
from orchestrator.kernel.two_phase import BEGINS, BRANCHES, FOLLOWS, GROUPS, HALTED, SETTLED
from tests.unit.kernel import group_moves
from tests.unit.kernel.driver import Driver
from tests.unit.kernel.scenario import branch, call, group

FEW = RetryPolicy(attempts=2, initial_s=1.0)
ONE = RetryPolicy(attempts=1, initial_s=1.0)


def test_every_row_of_the_tables_is_reached() -> None:
    """And nothing outside of them, which ``group_moves`` sees to."""
    wanted = _rows()
    for seed in range(6_000):
        if group_moves.SEEN.keys() >= wanted:
            break
        given = {"n": seed % 3, "yes": True, "items": [1, 2]}
        Driver((FORWARD, BACKWARD)[seed % 2], given, seed).play()
    assert wanted - group_moves.SEEN.keys() == set()


def _rows() -> set[group_moves.Edge]:
    rows: set[group_moves.Edge] = {("begins", status, "") for status in BEGINS}
    for name, table in (("groups", GROUPS), ("branches", BRANCHES)):
        rows |= {(name, status, label) for status, label in table}
    for name, follows in (("settled", SETTLED), ("halted", HALTED), ("follows", FOLLOWS)):
        rows |= {(name, old, new.value) for old, news in follows.items() for new in news}
    return rows


def _branch(name: str, how: Any = "database", **options: Any) -> Call:
    made = branch(name, how, retry=FEW, undo_retry=FEW, **options)
    if how != "tcc":
        return made
    return replace(made, confirm=Finish("yes", 5.0, ONE), cancel=Finish("no", 5.0, ONE))


def _group(name: str, *branches: Call, **options: Any) -> Atomic:
    return replace(group(*branches, retry=FEW, **options), name=name)


_divided = Operation("/", (Const(1), Param("n")), "number", "number")
_hear = Call("hear", "shop", "hear", "q", {}, 10.0, FEW, barrier=True)


def _plan(*nodes: Any) -> Plan:
    return Plan(
        "grouped",
        1,
        {"n": "int", "yes": "bool", "items": "list"},
        Sequence(nodes),
        timeout_s=300.0,
        callbacks={"on_stuck": (_hear,)},
    )


BACKWARD = _plan(
    call("a", retry=FEW, undo_retry=FEW),
    Parallel(
        (
            _group(
                "g1",
                _branch("debit"),
                _branch("look", "reader", read_only=True),
                _branch("hold", "tcc", barrier=False),
                timeout_s=15.0,
            ),
            Each(
                "each",
                Param("items"),
                _group("g2", _branch("x", v=Item(0)), _branch("y", "last"), timeout_s=6.0),
            ),
        )
    ),
    _group("g3", _branch("alone", d=_divided)),
    _group("g4", _branch("p1", undo=False), _branch("p2", "last", undo=False, pivot=True)),
)
FORWARD = _plan(
    _group("g5", _branch("p", undo=False, pivot=True), _branch("q", "tcc", undo=False)),
    _group("g6", _branch("f1", "tcc", undo=False), _branch("f2", "last", undo=False)),
    _group("g7", _branch("f3", "tcc", undo=False), _branch("f4", "tcc", undo=False)),
)
