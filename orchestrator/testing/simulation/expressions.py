"""Random expressions: every kind that a plan knows, and every operator, over what may be read at their place."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from orchestrator.definition.plan import (
    Const,
    Element,
    Expr,
    Field,
    Item,
    Listing,
    Operation,
    Operator,
    Param,
    Record,
    Result,
)

Scope = tuple[str, ...]
"""The names of the ``Each`` nodes around a place, outermost first."""

BROKEN = Field(Const(1), "nothing")
"""An expression that never has a value."""

_N, _ITEMS = Param("n"), Param("items")
_ARITHMETIC: tuple[Operator, ...] = ("+", "-", "*", "/", "//", "%")
_COMPARED: tuple[Operator, ...] = ("==", "!=", "<", "<=", ">", ">=")
_TIMES = (
    Operation("+", (Const("2026-03-01T00:00:00Z"), Const("PT1H")), "datetime", "duration"),
    Operation("-", (Const("2026-03-02"), Const("2026-03-01")), "date", "date"),
    Operation("*", (Const("PT2S"), _N), "duration", "number"),
)


class Seen(NamedTuple):
    """A name whose result may be read, and the ``Each`` nodes around it."""

    name: str
    scope: Scope


def value(random: Random, scope: Scope, seen: tuple[Seen, ...]) -> Expr:
    """Something to hand to a step. Now and then it has no value: a division by zero."""
    choices: list[Expr] = [Const(1), _N, result(random, scope, seen)]
    choices.append(Record({"x": result(random, scope, seen)}))
    choices.append(Listing((_N, result(random, scope, seen))))
    choices.append(Element(Field(Result("first"), "list"), 1))
    choices.append(_computed(random))
    if scope:
        choices += [Item(random.randrange(len(scope))) for _ in range(2)]
    return random.choice(choices)


def condition(random: Random) -> Expr:
    """Something to decide by."""
    yes = Param("yes")
    choices = (
        yes,
        Operation("not", (yes,)),
        Operation(random.choice(_COMPARED), (_N, Const(2)), "number", "number"),
        Operation(random.choice(("and", "or")), (yes, Operation("not", (_N,)))),
        Operation("in", (_N, _ITEMS)),
        Operation("==", (Const("a"), Const("b")), "text", "text"),
        BROKEN if random.random() < 0.2 else Field(Result("first"), "ok"),
    )
    return random.choice(choices)


def items(random: Random) -> Expr:
    """Something to map over."""
    return random.choice((_ITEMS, Const([1, 2]), Const([]), Field(Result("first"), "list")))


def duration(random: Random) -> Expr:
    """How long to sleep."""
    return random.choice((Const(5), Const("PT3S"), _TIMES[2]))


def result(random: Random, scope: Scope, seen: tuple[Seen, ...]) -> Result:
    """The result of an earlier step."""
    source = random.choice(seen)
    shared = 0
    for mine, its in zip(scope, source.scope, strict=False):
        if mine != its:
            break
        shared += 1
    return Result(source.name, shared)


def _computed(random: Random) -> Expr:
    if random.random() < 0.3:
        return random.choice(_TIMES)
    op = random.choice(_ARITHMETIC)
    divisor = _N if random.random() < 0.3 else Const(3)
    choices = (
        Operation(op, (Const(6), divisor), "number", "number"),
        Operation(op, (Const("6.50"), divisor), "decimal", "number"),
        Operation("neg", (_N,), "number"),
    )
    return random.choice(choices)
