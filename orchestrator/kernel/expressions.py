"""The value of a plan's expression for one run: JSON in, JSON out.

Operands are read by the kind the definition knew (a Decimal's JSON is text), so arithmetic is
exact.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal, DecimalException
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
    Param,
    Record,
    Result,
    instance_key,
)
from orchestrator.errors import ExpressionError
from orchestrator.kernel.state import COMPLETE, RunState

_READERS: dict[Kind, Callable[[Any], Any]] = {
    "decimal": lambda value: Decimal(str(value)),
    "datetime": lambda value: msgspec.convert(value, datetime),
    "date": lambda value: msgspec.convert(value, date),
    "duration": lambda value: msgspec.convert(value, timedelta),
}

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
        raise ExpressionError(f"no field {name!r}: the value is {_named(value)}, not a record")
    return value.get(name)


def _element(value: Any, key: int | str) -> Any:
    try:
        return value[key]
    except (KeyError, IndexError, TypeError) as error:
        raise ExpressionError(f"no element {key!r} in {_named(value)}") from error


def _operation(
    expr: Operation, run: RunState, index: tuple[int, ...], around: tuple[str, ...]
) -> Any:
    if expr.op in {"and", "or"}:
        left = bool(evaluate(expr.args[0], run, index, around))
        if left is (expr.op == "or"):
            return left
        return bool(evaluate(expr.args[1], run, index, around))
    kinds = (expr.kind, expr.other if expr.other != "any" else expr.kind)
    values = [evaluate(arg, run, index, around) for arg in expr.args]
    try:
        operands = [_read(value, kind) for value, kind in zip(values, kinds, strict=False)]
        value = _OPERATORS[expr.op](*operands)
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        DecimalException,
        msgspec.ValidationError,
    ) as error:
        shown = ", ".join(_named(value) for value in values)
        raise ExpressionError(f"{expr.op!r} has no value for {shown}: {error}") from error
    return value if isinstance(value, _PLAIN) else msgspec.to_builtins(value)


def _read(value: Any, kind: Kind) -> Any:
    reader = _READERS.get(kind)
    return value if reader is None or value is None else reader(value)


def _named(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
