"""References: what stands for a value while a saga is being defined.

To the editor a reference is the value itself, so a saga is checked like any function; here it knows its type and
writes down what is done with it. What can't be written down raises ``DefinitionError`` with the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Never, cast

from orchestrator.definition import operators
from orchestrator.definition.expression_text import text_of
from orchestrator.definition.operators import Typing
from orchestrator.definition.plan import (
    Const,
    Element,
    Expr,
    Field,
    Listing,
    Operation,
    Operator,
    Record,
)
from orchestrator.definition.static_types import (
    FieldFact,
    element_type,
    fields_of,
    item_type,
    list_of,
    name_of,
    present,
    union_of,
)
from orchestrator.definition.values import encode
from orchestrator.errors import DefinitionError, EncodingError

Place = tuple[tuple[Any, int], ...]
"""Where in a saga something was recorded: each open block, and the position in it."""


class Reference:
    """A value that will exist when the saga runs."""

    __slots__ = ("_saga_expr", "_saga_owner", "_saga_places", "_saga_type")

    _saga_expr: Expr
    _saga_type: Any
    _saga_owner: object
    _saga_places: tuple[Place, ...]

    def __init__(
        self, expr: Expr, type_: Any, owner: object, places: tuple[Place, ...] = ()
    ) -> None:
        """``owner`` is the saga being built; ``places`` are where the steps it depends on were recorded."""
        for name, value in (("expr", expr), ("type", type_), ("owner", owner), ("places", places)):
            object.__setattr__(self, f"_saga_{name}", value)

    def __repr__(self) -> str:
        """Safe to print in a debugger, unlike ``str()``."""
        return f"<reference to {text_of(self._saga_expr)}: {name_of(self._saga_type)}>"

    # -- parts

    def __getattr__(self, name: str) -> Any:
        """The reference to a field."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        members = present(self._saga_type)
        if Any in members:
            return _derived(self, Field(self._saga_expr, name), Any)
        facts = [fields_of(member).get(name) for member in members]
        if None in facts:
            raise DefinitionError(_no_field(self, members, name))
        return _field(self, name, cast(list[FieldFact], facts))

    def __getitem__(self, key: Any) -> Any:
        """The reference to an element of a list or a mapping."""
        if isinstance(key, Reference) or not isinstance(key, int | str) or isinstance(key, bool):
            raise DefinitionError(
                f"{self!r}: [{key!r}] can't be recorded; a key must be a constant int or str"
            )
        type_ = item_type(self._saga_type, key)
        if type_ is None:
            known = next(
                (tuple(fields_of(m)) for m in present(self._saga_type) if fields_of(m)), ()
            )
            hint = f"; it has {', '.join(known)}" if known else ""
            raise DefinitionError(f"{self!r} has no element {key!r}{hint}")
        return _derived(self, Element(self._saga_expr, key), type_)

    # -- operators

    def __eq__(self, other: object) -> Any:
        return _binary("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _binary("!=", self, other)

    def __lt__(self, other: Any) -> Any:
        return _binary("<", self, other)

    def __le__(self, other: Any) -> Any:
        return _binary("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return _binary(">", self, other)

    def __ge__(self, other: Any) -> Any:
        return _binary(">=", self, other)

    def __add__(self, other: Any) -> Any:
        return _binary("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _binary("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _binary("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return _binary("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return _binary("%", other, self)

    def __and__(self, other: Any) -> Any:
        return _binary("and", self, other)

    def __rand__(self, other: Any) -> Any:
        return _binary("and", other, self)

    def __or__(self, other: Any) -> Any:
        return _binary("or", self, other)

    def __ror__(self, other: Any) -> Any:
        return _binary("or", other, self)

    def __neg__(self) -> Any:
        return _unary("neg", self)

    def __invert__(self) -> Any:
        return _unary("not", self)

    # -- what would need the value now

    def __bool__(self) -> Never:
        raise _not_yet(
            self,
            "be tested by if, and, or, not, in, or a chained comparison",
            "use `with when(condition):`, and combine conditions with &, | and ~ or not_()",
        )

    def __iter__(self) -> Never:
        raise _not_yet(
            self,
            "be looped over or unpacked",
            "use `.map(items)` on the participant or saga, or `value[0]` for one element",
        )

    def __contains__(self, item: object) -> Never:
        raise _not_yet(self, "be searched with `in`", "use `contains(items, item)`")

    def __len__(self) -> Never:
        raise _not_yet(self, "be measured with len()", "have a participant return the number")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Never:
        """A value that doesn't exist yet can't be called."""
        raise _not_yet(self, "be called", "do it in a participant")

    def __hash__(self) -> Never:
        raise _not_yet(self, "be a key or a member of a set", "build the mapping in a participant")

    def __str__(self) -> Never:
        raise _not_yet(
            self, "be turned into text", "join text with +, or format it in a participant"
        )

    def __format__(self, spec: str) -> Never:
        raise _not_yet(self, "be formatted", "join text with +, or format it in a participant")

    def __int__(self) -> Never:
        raise _not_yet(self, "be converted with int()", "convert it in a participant")

    def __float__(self) -> Never:
        raise _not_yet(self, "be converted with float()", "convert it in a participant")

    def __index__(self) -> Never:
        raise _not_yet(self, "be used as an index or a count", "have a participant do it")

    def __abs__(self) -> Never:
        raise _not_yet(self, "be passed to abs()", "compute it in a participant")

    def __round__(self, digits: int | None = None) -> Never:
        raise _not_yet(self, "be rounded", "round it in a participant")

    def __enter__(self) -> Never:
        raise _not_yet(
            self, "be entered with `with`", "use `with when(condition):` for a condition"
        )

    def __exit__(self, *details: object) -> None:
        """Never reached: entering raises."""

    def __await__(self) -> Iterator[Any]:
        raise _not_yet(
            self, "be awaited", "just call the participant; steps run in the order of their calls"
        )

    def __setattr__(self, name: str, value: object) -> Never:
        raise _not_yet(
            self, f"be changed ({name} = ...)", "build a new value, or change it in a participant"
        )

    def __setitem__(self, key: object, value: object) -> Never:
        raise _not_yet(
            self,
            f"be changed ([{key!r}] = ...)",
            "build a new value, or change it in a participant",
        )


def expr_of(reference: Reference) -> Expr:
    """The expression a reference stands for."""
    return reference._saga_expr  # noqa: SLF001 - a reference has no public names, they are its value's fields


def type_of(reference: Reference) -> Any:
    """The type of the value a reference stands for."""
    return reference._saga_type  # noqa: SLF001 - as above


def owner_of(reference: Reference) -> object:
    """The saga being built that a reference belongs to."""
    return reference._saga_owner  # noqa: SLF001 - as above


def places_of(reference: Reference) -> tuple[Place, ...]:
    """Where the steps were recorded that a reference depends on."""
    return reference._saga_places  # noqa: SLF001 - as above


def not_(condition: bool) -> bool:  # noqa: FBT001 - a condition is what it is about
    """The opposite of a condition; ``~condition`` does the same, but editors warn of it."""
    given: Any = condition
    if not isinstance(given, Reference):
        raise DefinitionError(f"not_() needs a condition on a value of the saga, not {given!r}")
    return cast(bool, ~given)


def contains(items: Any, item: object) -> bool:
    """Whether a list has this element, or a text this part: what ``item in items`` is for values that exist.

    Elements are compared by their JSON.
    """
    if not isinstance(items, Reference) and not isinstance(item, Reference):
        raise DefinitionError("contains() needs a value of the saga; use `in` for constants")
    within, sought = as_operand(items), as_operand(item)
    element = within[1] if within[1] is str else element_type(within[1])
    if element is None:
        raise DefinitionError(f"contains() looks in lists and texts, not in {name_of(within[1])}")
    operators.membership(sought[1], element)
    return cast(bool, _combined(Operation("in", (sought[0], within[0])), bool, items, item))


def as_operand(value: Any) -> tuple[Expr, Any]:
    """The expression and type of a reference or a constant; lists of both become a listing."""
    if isinstance(value, Reference):
        return expr_of(value), type_of(value)
    if isinstance(value, list | tuple) and any(isinstance(item, Reference) for item in value):
        parts = [as_operand(item) for item in value]
        return Listing(tuple(part[0] for part in parts)), list_of(
            union_of(part[1] for part in parts)
        )
    try:
        encoded = encode(value, "the operand")
    except EncodingError as error:
        raise DefinitionError(str(error)) from error
    if isinstance(value, list | tuple | set | frozenset):
        return Const(encoded), list_of(union_of(type(item) for item in value))
    return Const(encoded), type(value)


def _field(of: Reference, name: str, facts: list[FieldFact]) -> Reference:
    places = {(fact.key, fact.omitted) for fact in facts}
    if len(places) > 1:
        raise DefinitionError(
            f"{of!r}: the types of the union keep {name!r} in different places; use a participant"
        )
    key, omitted = places.pop()
    if omitted:
        raise DefinitionError(
            f"{of!r}: {name!r} is left out of the JSON when it has its default; define the struct without omit_defaults"
        )
    type_ = union_of(fact.type for fact in facts)
    expr = expr_of(of)
    if key is None:
        return _derived(of, expr, type_)
    if isinstance(expr, Record) and key in expr.fields:
        return _derived(of, expr.fields[str(key)], type_)
    return _derived(of, Element(expr, key) if isinstance(key, int) else Field(expr, key), type_)


def _no_field(of: Reference, members: tuple[Any, ...], name: str) -> str:
    lacking = next(member for member in members if name not in fields_of(member))
    known = fields_of(lacking)
    if not known:
        way = (
            f"use [{name!r}]" if item_type(lacking, name) is not None else "do it in a participant"
        )
        return (
            f"{of!r}: {name_of(lacking)} has no fields, and its methods can't be called yet; {way}"
        )
    kind = "a method or property, which needs the value" if hasattr(lacking, name) else "no field"
    return f"{of!r}: {name!r} is {kind}; {name_of(lacking)} has the fields {', '.join(known)}"


def _binary(op: Operator, left: Any, right: Any) -> Reference:
    (first, left_type), (second, right_type) = as_operand(left), as_operand(right)
    try:
        made = operators.binary(op, left_type, right_type)
    except DefinitionError as error:
        raise DefinitionError(f"`{text_of(first)} {op} {text_of(second)}`: {error}") from None
    return _combined(_operation(op, (first, second), made), made.type, left, right)


def _unary(op: Operator, of: Reference) -> Reference:
    made = operators.unary(op, type_of(of))
    return _derived(of, _operation(op, (expr_of(of),), made), made.type)


def _operation(op: Operator, args: tuple[Expr, ...], made: Typing) -> Operation:
    return Operation(op, args, made.kind, made.other)


def _derived(of: Reference, expr: Expr, type_: Any) -> Reference:
    return Reference(expr, type_, owner_of(of), places_of(of))


def _combined(expr: Expr, type_: Any, *sources: Any) -> Reference:
    references = [reference for source in sources for reference in _shallow(source)]
    owner = owner_of(references[0])
    if any(owner_of(reference) is not owner for reference in references):
        raise DefinitionError(
            f"`{text_of(expr)}` mixes values of two sagas; pass the value in as a parameter"
        )
    places = tuple(dict.fromkeys(place for r in references for place in places_of(r)))
    return Reference(expr, type_, owner, places)


def _shallow(source: Any) -> list[Reference]:
    if isinstance(source, list | tuple):
        return [item for item in source if isinstance(item, Reference)]
    return [source] if isinstance(source, Reference) else []


def _not_yet(of: Reference, what: str, way: str) -> DefinitionError:
    return DefinitionError(f"{of!r} can't {what}: it has no value before the saga runs; {way}")
