"""The value of a plan's expression for one run: JSON in, JSON out.

Operands are read by the kind the definition knew (a Decimal's JSON is text), so arithmetic is
exact.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    InvalidOperation,
    Overflow,
    localcontext,
)
from typing import Any

import msgspec

from orchestrator.definition.plan import (
    Const,
    Element,
    Expr,
    Field,
    Item,
    Kind,
    Let,
    Listing,
    Operation,
    Operator,
    Param,
    Record,
    Result,
    instance_key,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.state import COMPLETE, RunState

_CONTEXT = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    traps=[InvalidOperation, Overflow],
)
"""The decimal arithmetic of every run: a replay must not depend on what the process has set."""

_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "not": operator.not_,
    "neg": operator.neg,
    "in": lambda item, container: item in container,
}

_ARITHMETIC = frozenset({"-", "*", "/", "//", "%"})
"""Operators for numbers and times alone: on text and lists Python gives some of them other meanings."""

_DIVISIONS = frozenset({"/", "//", "%"})
_ON_ANYTHING = frozenset({"==", "!=", "not", "in"})
"""Operators that have a value where an operand has none."""

_PLAIN = (str, int, float, bool, type(None), list, dict)


def evaluate(
    expr: Expr, run: RunState, index: tuple[int, ...] = (), around: tuple[str, ...] = ()
) -> Any:
    """The value of ``expr`` at one place of a run.

    ``index`` is the place in the ``Each`` scopes named by ``around``. Raises ``ExpressionError``.
    """
    match expr:
        case Const():
            return expr.value
        case Param():
            return run.input.get(expr.name)
        case Result():
            return _result(expr.step, run, index[: expr.shared])
        case Item():
            items = run.scopes[instance_key(around[expr.depth], index[: expr.depth])]
            return items[index[expr.depth]]
        case Field():
            return _field(evaluate(expr.of, run, index, around), expr.name)
        case Element():
            return _element(evaluate(expr.of, run, index, around), expr.key)
        case Record():
            return {
                name: evaluate(value, run, index, around) for name, value in expr.fields.items()
            }
        case Listing():
            return [evaluate(value, run, index, around) for value in expr.items]
        case Operation():
            return _operation(expr, run, index, around)


def _result(name: str, run: RunState, index: tuple[int, ...]) -> Any:
    around = run.program.scopes[name]
    if len(index) < len(around):
        items = run.scopes.get(instance_key(around[len(index)], index))
        if items is None:
            return None
        return [_result(name, run, (*index, position)) for position in range(len(items))]
    node = run.program.named[name]
    if isinstance(node, Let):
        return run.lets.get(instance_key(name, index))
    step = run.steps.get(instance_key(name, index))
    return step.result if step is not None and step.status in COMPLETE else None


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ExpressionError(f"no field {name!r}: the value is {described(value)}, not a record")
    return value.get(name)


def _element(value: Any, key: int | str) -> Any:
    try:
        return value[str(key) if isinstance(value, dict) else key]
    except (KeyError, IndexError, TypeError) as error:
        raise ExpressionError(f"no element {key!r} in {described(value)}") from error


def _operation(
    expr: Operation, run: RunState, index: tuple[int, ...], around: tuple[str, ...]
) -> Any:
    if expr.op in {"and", "or"}:
        left = bool(evaluate(expr.args[0], run, index, around))
        if left is (expr.op == "or"):
            return left
        return bool(evaluate(expr.args[1], run, index, around))
    values = [evaluate(arg, run, index, around) for arg in expr.args]
    try:
        value = _computed(expr, values)
    except (TypeError, ValueError, ArithmeticError, msgspec.ValidationError) as error:
        shown = ", ".join(described(value) for value in values)
        raise ExpressionError(f"{expr.op!r} has no value for {shown}: {error}") from error
    return value if isinstance(value, _PLAIN) else msgspec.to_builtins(value)


def _computed(expr: Operation, values: list[Any]) -> Any:
    """The operator's value. Raises ``TypeError``, ``ValueError``, ``ArithmeticError``,
    ``msgspec.ValidationError``.
    """
    other = expr.other if expr.other != "any" else expr.kind
    if expr.op == "in" and isinstance(values[1], list):
        operands = [_read(values[0], expr.kind), [_read(value, other) for value in values[1]]]
    else:
        operands = [_read(v, k) for v, k in zip(values, (expr.kind, other), strict=False)]
    if expr.op not in _ON_ANYTHING and None in values:
        raise TypeError("a value is missing")
    if expr.op in _ARITHMETIC and any(isinstance(o, str | list | dict) for o in operands):
        raise TypeError("it needs numbers or times")
    if expr.op in _DIVISIONS and not operands[1]:
        raise ZeroDivisionError("the division is by zero")
    value = _applied(expr.op, operands)
    if isinstance(value, float) and not math.isfinite(value):
        raise ArithmeticError("the result is not a finite number")
    return value


def _applied(op: Operator, operands: list[Any]) -> Any:
    if not any(isinstance(operand, Decimal) for operand in operands):
        return _OPERATORS[op](*operands)
    try:
        with localcontext(_CONTEXT):
            return _OPERATORS[op](*operands)
    except DecimalException as error:
        raise ArithmeticError("the result has too many digits") from error


def _read(value: Any, kind: Kind) -> Any:
    reader = _READERS.get(kind)
    return value if reader is None or value is None else reader(value)


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is no decimal number") from error
    if not number.is_finite():
        raise ValueError(f"{value!r} is not finite")
    return number


def described(value: Any) -> str:
    """A value as an error shows it: its JSON type, and not too much of it."""
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


_READERS: dict[Kind, Callable[[Any], Any]] = {
    "decimal": _decimal,
    "datetime": lambda value: msgspec.convert(value, datetime),
    "date": lambda value: msgspec.convert(value, date),
    "duration": lambda value: msgspec.convert(value, timedelta),
}
