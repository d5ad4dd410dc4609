"""Random plans, random worlds, random trouble: what must hold of every run.

What is checked stands in ``driver`` (after every event), ``oracle`` (of every state) and ``moves`` (of every change).
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.definition.plan import (
    Call,
    Const,
    Each,
    Field,
    Item,
    Let,
    Operation,
    Parallel,
    Param,
    Plan,
    Record,
    Result,
    RetryPolicy,
    Sequence,
    Sleep,
    Undo,
    Wait,
    When,
)
from orchestrator.kernel.state import COMPENSATION_STARTED, STARTS, TRANSITIONS, UNDO_DUE
from tests.unit.kernel import moves
from tests.unit.kernel.driver import Driver
from tests.unit.kernel.plans import inputs, plans

FEW = RetryPolicy(attempts=3, initial_s=1.0)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plans(), inputs(), st.integers(0, 2**32))
def test_whatever_happens_a_run_ends_as_it_says(
    plan: Plan, given_: dict[str, Any], seed: int
) -> None:
    Driver(plan, given_, seed).play()


RARE = (1061, 227, 797, 51, 1161, 605, 847, 23, 39, 77, 222, 268, 516, 614)
"""Seeds that reach them all, as long as the kernel makes the same choices; otherwise the others follow."""


def test_every_row_of_the_tables_is_reached() -> None:
    """And nothing outside of them, which ``moves`` sees to."""
    wanted = set(TRANSITIONS)
    halted = {(old, new) for old, news in COMPENSATION_STARTED.items() for new in news}
    for seed in (*RARE, *range(3_000)):
        undone = {old for old, _ in moves.UNDO}
        if moves.SEEN.keys() >= wanted and moves.HALTED.keys() >= halted and undone >= UNDO_DUE:
            break
        given_ = {"n": seed % 4, "yes": seed % 2 == 0, "items": [1, 2]}
        Driver(EVERYTHING, given_, seed).play()
    assert wanted - moves.SEEN.keys() == set()
    assert halted - moves.HALTED.keys() == set()
    assert {old for old, _ in moves.UNDO} == UNDO_DUE
    assert set(moves.STARTED) == set(STARTS)


def _call(name: str, *, pivot: bool = False, barrier: bool = True, **args: Any) -> Call:
    undo = None if pivot else Undo(f"{name}.undo", 10.0, FEW)
    return Call(name, "shop", name, "q", args, 10.0, FEW, undo=undo, pivot=pivot, barrier=barrier)


_hear = _call("hear")
EVERYTHING = Plan(
    saga="everything",
    version=1,
    parameters={"n": "int", "yes": "bool", "items": "list"},
    body=Sequence(
        (
            _call("a"),
            Parallel(
                (
                    _call("b", barrier=False, x=Field(Result("a"), "v")),
                    Sequence((Wait("w", "go", 20.0), _call("c"))),
                    Sequence((Sleep("z", Const(4)), Wait("early", "stop", 30.0))),
                )
            ),
            Let("l", Record({"v": Result("a")})),
            When(
                "if",
                Param("yes"),
                Each("each", Param("items"), _call("d", i=Item(0))),
                _call("e", x=Operation("/", (Const(1), Param("n")), "number", "number")),
            ),
            _call("p", pivot=True, barrier=False),
            _call("f", x=Result("l")),
            Wait("last", "go", 30.0),
        )
    ),
    result=Result("f"),
    timeout_s=200.0,
    callbacks={"on_stuck": (_hear,), "on_completed": (_hear,), "on_compensated": (_hear, _hear)},
)
