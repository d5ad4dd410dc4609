"""What an expression comes to, and what is said of one that has no value."""

from __future__ import annotations

import decimal
from typing import Any

import pytest

from orchestrator.definition.plan import (
    Const,
    Each,
    Element,
    Expr,
    Field,
    Item,
    Let,
    Listing,
    Operation,
    Parallel,
    Param,
    Record,
    Result,
    Sequence,
    When,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.expressions import evaluate
from orchestrator.kernel.state import Status
from tests.unit.kernel.scenario import Play, call, names, plan


def op(name: str, *args: Any, kind: str = "any", other: str = "any") -> Operation:
    """An operation on constants, unless they are expressions."""
    exprs = tuple(arg if hasattr(arg, "__struct_fields__") else Const(arg) for arg in args)
    return Operation(name, exprs, kind, other)  # type: ignore[arg-type]


def value(expr: Expr, **given: Any) -> Any:
    """An expression's value in a run that has only its input."""
    return evaluate(expr, Play(plan(call("a")), **given).run)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (op("+", "0.1", "0.2", kind="decimal"), "0.3"),
        (op("*", "19.99", 3, kind="decimal", other="decimal"), "59.97"),
        (op("-", "10", "9.99", kind="decimal"), "0.01"),
        (op("/", "1", "3", kind="decimal"), "0.3333333333333333333333333333"),
        (op("==", "1.10", "1.1", kind="decimal"), True),
        (op("<", "9.5", 10, kind="decimal", other="number"), True),
        (op("neg", "1.50", kind="decimal"), "-1.50"),
        (op("+", 2, 3, kind="number"), 5),
        (op("//", 7, 2, kind="number"), 3),
        (op("%", 7, 4, kind="number"), 3),
        (op("+", "a", "b", kind="text"), "ab"),
        (op("+", [1], [2]), [1, 2]),
        (op("==", 1, "1"), False),
        (op("not", 0), True),
        (op("in", 2, [1, 2]), True),
        (op("in", "b", "abc"), True),
        (op("in", "k", {"k": 1}), True),
        (op("in", "1.0", ["1.00", None], kind="decimal"), True),
        (
            op("in", "2024-01-01T12:00:00Z", ["2024-01-01T13:00:00+01:00"], kind="datetime"),
            True,
        ),
    ],
)
def test_operators(expr: Operation, expected: Any) -> None:
    found = value(expr)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (
            op("+", "2024-02-28T23:00:00Z", "PT2H", kind="datetime", other="duration"),
            "2024-02-29T01:00:00Z",
        ),
        (op("-", "2024-03-01", "2024-02-28", kind="date"), "P2D"),
        (
            op("<", "2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00Z", kind="datetime"),
            True,
        ),
        (op("*", "PT10S", 3, kind="duration", other="number"), "PT30S"),
        (op("/", "PT10S", "PT4S", kind="duration"), 2.5),
        (op("+", "2024-01-31", "P1D", kind="date", other="duration"), "2024-02-01"),
    ],
)
def test_times(expr: Operation, expected: Any) -> None:
    assert value(expr) == expected


def test_decimals_do_not_depend_on_the_process() -> None:
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_DOWN)):
        assert value(op("/", "2", "3", kind="decimal")) == "0.6666666666666666666666666667"


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (
            op("/", 6, 0, kind="number"),
            "'/' has no value for int '6', int '0': the division is by zero",
        ),
        (op("/", "6", "0.00", kind="decimal"), "the division is by zero"),
        (op("%", 6, 0, kind="number"), "the division is by zero"),
        (op("/", "PT1S", "PT0S", kind="duration"), "the division is by zero"),
        (
            op("+", None, 1, kind="number"),
            "'+' has no value for nothing, int '1': a value is missing",
        ),
        (op("<", "1", None, kind="decimal"), "a value is missing"),
        (op("neg", None, kind="number"), "a value is missing"),
        (op("+", "x", "1", kind="decimal"), "'x' is no decimal number"),
        (op("+", "NaN", "1", kind="decimal"), "'NaN' is not finite"),
        (op("*", 1e308, 10, kind="number"), "not a finite number"),
        (op("*", "9e999999", "10", kind="decimal"), "too many digits"),
        (op("*", "a", 10**9), "it needs numbers or times"),
        (op("%", "%999999999d", 1), "it needs numbers or times"),
        (op("<", 1, "a"), "'<' not supported"),
        (op("+", "2024-01-01T00:00:00Z", "soon", kind="datetime", other="duration"), "ISO8601"),
        (op("-", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00", kind="datetime"), "naive"),
        (op("in", 1, 2), "not iterable"),
        (Field(Const(None), "id"), "no field 'id': the value is nothing, not a record"),
        (Field(Const([1]), "id"), "no field 'id': the value is list '[1]', not a record"),
        (Element(Const([1]), 1), "no element 1 in list '[1]'"),
        (Element(Const({"a": 1}), "b"), "no element 'b' in dict"),
        (Element(Const(None), 0), "no element 0 in nothing"),
    ],
)
def test_what_has_no_value_says_why(expr: Expr, why: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        value(expr)
    assert why in str(raised.value)


def test_missing_values_can_be_compared_and_passed_on() -> None:
    assert value(op("==", Param("x"), None)) is True
    assert value(op("!=", Param("x"), 3, kind="number"), x=3) is False
    assert value(op("==", Param("x"), "1.0", kind="decimal")) is False
    assert value(Record({"x": Param("x")})) == {"x": None}
    assert value(Field(Const({}), "x")) is None


def test_and_and_or_stop_as_soon_as_they_know() -> None:
    broken = op("/", 1, 0, kind="number")
    assert value(op("and", False, broken)) is False
    assert value(op("or", True, broken)) is True
    with pytest.raises(ExpressionError):
        value(op("and", True, broken))


def test_elements_of_lists_and_of_mappings_whose_json_keys_are_text() -> None:
    assert value(Element(Const([1, 2]), -1)) == 2
    assert value(Element(Const({"7": "x"}), 7)) == "x"
    assert value(Listing((Param("x"), Const(1))), x=2) == [2, 1]


def test_results_reach_over_each_scopes() -> None:
    """Inside: the value of one's own item. Outside, or in another scope: the list of all."""
    inner = Each(
        "inner",
        Field(Item(0), "parts"),
        Sequence((call("b", outer=Item(0), part=Item(1), own=Result("a", 1)),)),
    )
    body = Sequence(
        (call("a", x=Item(0)), inner, call("c", all=Result("b", 1), own=Result("a", 1)))
    )
    last = call("d", a=Result("a"), b=Result("b"), c=Result("c"))
    play = Play(plan(Each("outer", Param("xs"), body), last), xs=[{"parts": [1, 2]}, {"parts": []}])
    play.reply("a[0]", result="A0")
    play.reply("a[1]", result="A1")
    args = {command.step: command.args for command in play.sent()}
    assert args["b[0,1]"] == {"outer": {"parts": [1, 2]}, "part": 2, "own": "A0"}
    assert args["c[1]"] == {"all": [], "own": "A1"}
    play.reply("b[0,1]", result="B01")
    play.reply("b[0,0]", result="B00")
    assert {c.step: c.args for c in play.sent()}["c[0]"] == {"all": ["B00", "B01"], "own": "A0"}
    play.reply("c[1]", result="C1")
    play.reply("c[0]", result="C0")
    [command] = play.sent()
    assert command.args == {"a": ["A0", "A1"], "b": [["B00", "B01"], []], "c": ["C0", "C1"]}


def test_what_was_not_taken_has_no_result() -> None:
    branch = Sequence((call("a"), Let("l", Field(Result("a"), "id"))))
    fan_out = Sequence((Each("each", Const([1]), call("b")),))
    play = Play(
        plan(
            When("if", Param("yes"), branch, fan_out),
            call("c", a=Result("a"), l=Result("l"), b=Result("b")),
        ),
        yes=True,
    )
    play.reply("a", result={"id": 4})
    assert play.sent()[0].args == {"a": {"id": 4}, "l": 4, "b": None}
    play = Play(play.program.plan, yes=False)
    play.reply("b[0]", result=2)
    assert play.sent()[0].args == {"a": None, "l": None, "b": [2]}


def test_a_broken_argument_parks_its_step_and_no_other() -> None:
    by_zero = op("/", Param("total"), Param("count"), kind="number")
    play = Play(
        plan(Parallel((call("a", share=by_zero, of=Const(1)), call("b")))), total=6, count=0
    )
    assert play.out() == ["do b 1"]
    step = play.run.steps["a"]
    assert step.status is Status.PARKED
    assert step.reason == (
        "argument share: '/' has no value for int '6', int '0': the division is by zero"
    )


def test_a_broken_result_of_the_saga_is_stuck_not_lost() -> None:
    play = Play(plan(call("a"), result=Field(Result("a"), "id")))
    assert names(play.reply("a", result=3)) == ["StepSucceeded", "StepParked"]
    assert play.run.steps["@result"].reason == ("no field 'id': the value is int '3', not a record")


@pytest.mark.parametrize("items", [None, 3, {"a": "b" * 1_000}, list(range(10_001))])
def test_a_fan_out_needs_a_list_of_bearable_length(items: Any) -> None:
    play = Play(plan(Each("each", Param("xs"), call("a"))), xs=items)
    assert play.status("each") is Status.PARKED
    assert "a fan-out" in play.run.steps["each"].reason
    assert len(play.run.steps["each"].reason) < 200
