"""Expressions as a reader would write them, for errors, differences and drawings."""

from __future__ import annotations

import msgspec

from orchestrator.definition.plan import (
    Const,
    Element,
    Expr,
    Field,
    Item,
    Listing,
    Operation,
    Param,
    Record,
    Result,
)


def text_of(expr: Expr) -> str:
    """One line: ``order.total > 100``, ``hold.weight``, ``[order.sku, "x"]``."""
    match expr:
        case Const():
            return msgspec.json.encode(expr.value).decode()
        case Param():
            return expr.name
        case Result():
            return expr.step
        case Item():
            return "item" if expr.depth == 0 else f"item{expr.depth + 1}"
        case Field():
            return f"{_operand(expr.of)}.{expr.name}"
        case Element():
            return f"{_operand(expr.of)}[{expr.key!r}]"
        case Record():
            return (
                "{"
                + ", ".join(f"{name}: {text_of(value)}" for name, value in expr.fields.items())
                + "}"
            )
        case Listing():
            return "[" + ", ".join(map(text_of, expr.items)) + "]"
        case Operation():
            return _operation(expr)


def _operation(expr: Operation) -> str:
    operands = [_operand(arg) for arg in expr.args]
    if expr.op == "not":
        return f"not {operands[0]}"
    if expr.op == "neg":
        return f"-{operands[0]}"
    return f"{operands[0]} {expr.op} {operands[1]}"


def _operand(expr: Expr) -> str:
    return f"({text_of(expr)})" if isinstance(expr, Operation) else text_of(expr)
