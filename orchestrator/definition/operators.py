"""Which operators may be applied to which types, what comes out, and how the kernel must read the operands."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from orchestrator.definition.plan import Kind, Operator
from orchestrator.definition.static_types import assignable, is_whole, kind_of, name_of, present
from orchestrator.errors import DefinitionError


class Typing(NamedTuple):
    """The result's type, and the kinds to read the operands by."""

    type: Any
    kind: Kind
    other: Kind


EQUALITY: frozenset[Operator] = frozenset({"==", "!="})
ORDER: frozenset[Operator] = frozenset({"<", "<=", ">", ">="})

_ALIKE = ({"number", "decimal"}, {"number", "bool"})
_ORDERED: frozenset[Kind] = frozenset({"number", "decimal", "text", "datetime", "date", "duration"})

_NUMERIC: frozenset[Operator] = frozenset({"+", "-", "*", "/", "//", "%"})
_TIMES: dict[tuple[Kind, Operator, Kind], type] = {
    ("text", "+", "text"): str,
    ("datetime", "-", "datetime"): timedelta,
    ("datetime", "+", "duration"): datetime,
    ("datetime", "-", "duration"): datetime,
    ("duration", "+", "datetime"): datetime,
    ("date", "-", "date"): timedelta,
    ("date", "+", "duration"): date,
    ("date", "-", "duration"): date,
    ("duration", "+", "date"): date,
    ("duration", "+", "duration"): timedelta,
    ("duration", "-", "duration"): timedelta,
    ("duration", "%", "duration"): timedelta,
    ("duration", "/", "duration"): float,
    ("duration", "//", "duration"): int,
    ("duration", "*", "number"): timedelta,
    ("duration", "/", "number"): timedelta,
    ("number", "*", "duration"): timedelta,
}


def binary(op: Operator, left: Any, right: Any) -> Typing:
    """The typing of ``left op right``. Raises ``DefinitionError`` when Python itself wouldn't have it either."""
    kind, other = kind_of(left), kind_of(right)
    if op in EQUALITY or op in ORDER:
        return _comparison(op, left, right, kind, other)
    if op in {"and", "or"}:
        _need_bool(op, left)
        _need_bool(op, right)
        return Typing(bool, "bool", "bool")
    made = _arithmetic(op, left, right, kind, other)
    if made is None:
        raise DefinitionError(
            f"{name_of(left)} {op} {name_of(right)} can't be computed in a saga; compute it in a participant"
        )
    return made


def unary(op: Operator, operand: Any) -> Typing:
    """The typing of ``not operand`` or ``-operand``."""
    kind = kind_of(operand)
    if op == "not":
        _need_bool("~", operand)
        return Typing(bool, "bool", "any")
    if kind not in {"number", "decimal", "duration"}:
        raise DefinitionError(
            f"-{name_of(operand)} can't be computed in a saga; compute it in a participant"
        )
    return Typing(operand, kind, "any")


def membership(item: Any, container: Any) -> Typing:
    """The typing of ``item in container``, whose elements have the type ``container``."""
    kind, other = kind_of(item), kind_of(container)
    if "decimal" in {kind, other}:
        raise DefinitionError(
            "contains() compares JSON, where a Decimal is text: compute it in a participant"
        )
    _comparison("==", item, container, kind, other)
    return Typing(bool, "any", "any")


def _comparison(op: Operator, left: Any, right: Any, kind: Kind, other: Kind) -> Typing:
    nothing = (type(None),)
    if nothing in {present(left), present(right)} and op in EQUALITY:
        return Typing(bool, "any", "any")
    if op in ORDER:
        alike = _comparable(kind, other) and _ordered(left, kind) and _ordered(right, other)
    elif "any" in {kind, other}:
        alike = assignable(left, right) or assignable(right, left)
    else:
        alike = _comparable(kind, other)
    if not alike:
        raise DefinitionError(
            f"{name_of(left)} {op} {name_of(right)} makes no sense: the types don't compare"
        )
    if kind == "any":
        kind = other
    return Typing(bool, kind, kind if other == "any" else other)


def _comparable(kind: Kind, other: Kind) -> bool:
    return kind == other or "any" in {kind, other} or any({kind, other} <= g for g in _ALIKE)


def _ordered(type_: Any, kind: Kind) -> bool:
    return kind in _ORDERED if kind != "any" else Any in present(type_)


def _arithmetic(op: Operator, left: Any, right: Any, kind: Kind, other: Kind) -> Typing | None:
    kinds = {kind, other}
    if any(k == "any" and Any not in present(t) for k, t in ((kind, left), (other, right))):
        return None
    if kinds == {"number"} and op in _NUMERIC:
        whole = op != "/" and is_whole(left) and is_whole(right)
        return Typing(int if whole else float, kind, other)
    if "decimal" in kinds and kinds <= {"decimal", "number", "any"} and op in _NUMERIC:
        exact = all(k != "number" or is_whole(t) for k, t in ((kind, left), (other, right)))
        return Typing(Decimal, "decimal", "decimal") if exact else None
    if "any" in kinds and kinds <= {"any", "number", "text"}:
        return Typing(Any, kind, other)
    if op == "//" and (kind, other) == ("duration", "number"):
        return Typing(timedelta, kind, other) if is_whole(right) else None
    made = _TIMES.get((kind, op, other))
    return None if made is None else Typing(made, kind, other)


def _need_bool(op: str, type_: Any) -> None:
    if kind_of(type_) == "bool" or Any in present(type_):
        return
    raise DefinitionError(
        f"{op} needs a condition (bool), not {name_of(type_)}; write a comparison"
    )
