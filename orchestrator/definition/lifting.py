"""Arguments and results of a saga as expressions: constants, references, and records and lists that hold both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any

import msgspec

from orchestrator.definition.expression_text import text_of
from orchestrator.definition.plan import Const, Expr, Listing, Record
from orchestrator.definition.references import Place, Reference, expr_of, places_of, type_of
from orchestrator.definition.static_types import (
    alternatives,
    assignable,
    element_type,
    fields_of,
    item_type,
    name_of,
)
from orchestrator.definition.values import decode, encode, is_model
from orchestrator.errors import DefinitionError, EncodingError, InvalidInputError

Use = Callable[[Reference], Expr]
"""Checks that a reference may be read here and gives its expression."""


def lift(value: Any, type_: Any, where: str, use: Use) -> Expr:
    """The expression for a value of the declared type ``type_``; ``where`` names it in errors.

    Raises ``DefinitionError`` that names both types where they don't fit.
    """
    _check(value, type_, where)
    return _expression(value, where, use)


def references_in(value: Any) -> Iterator[Reference]:
    """Every reference inside a value."""
    if isinstance(value, Reference):
        yield value
    else:
        for _, part in _parts(value):
            yield from references_in(part)


def origins(value: Any) -> tuple[Place, ...]:
    """Where the steps were recorded that a value depends on."""
    return tuple(place for reference in references_in(value) for place in places_of(reference))


def _expression(value: Any, where: str, use: Use) -> Expr:
    if isinstance(value, Reference):
        return use(value)
    if next(references_in(value), None) is None:
        try:
            return Const(encode(value, where))
        except EncodingError as error:
            raise DefinitionError(str(error)) from error
    parts = {key: _expression(part, f"{where}.{key}", use) for key, part in _parts(value)}
    if isinstance(value, msgspec.Struct):
        return _struct_expression(value, parts)
    if isinstance(value, list | tuple):
        return Listing(tuple(parts.values()))
    return Record({str(key): part for key, part in parts.items()})


def _struct_expression(value: msgspec.Struct, parts: dict[Any, Expr]) -> Expr:
    config = value.__struct_config__
    if config.array_like:
        tag = () if config.tag is None else (Const(config.tag),)
        return Listing((*tag, *parts.values()))
    names = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    tagged: dict[str, Expr] = (
        {} if config.tag is None else {config.tag_field or "type": Const(config.tag)}
    )
    return Record(tagged | {names[name]: part for name, part in parts.items()})


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """What is inside a value that may hold references, by name, key or position."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, type):
        return []
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclass_fields(value)]
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    if is_model(type(value)):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    return []


def _check(value: Any, type_: Any, where: str) -> None:
    if isinstance(value, Reference):
        if not assignable(type_of(value), type_):
            raise DefinitionError(
                f"{where} takes {name_of(type_)}, but `{text_of(expr_of(value))}` is {name_of(type_of(value))}"
            )
    elif next(references_in(value), None) is None:
        _check_constant(value, type_, where)
    else:
        _check_mixed(value, type_, where)


def _check_constant(value: Any, type_: Any, where: str) -> None:
    try:
        decode(encode(value, where), type_, where)
    except InvalidInputError as error:
        raise DefinitionError(
            f"{where} takes {name_of(type_)}, not {name_of(type(value))}: {error}"
        ) from error


def _check_mixed(value: Any, type_: Any, where: str) -> None:
    """A container with references inside: its parts against one of the members of ``type_``."""
    errors = []
    for member in alternatives(type_):
        try:
            _check_parts(value, member, where)
        except DefinitionError as error:
            errors.append(error)
        else:
            return
    raise errors[0]


def _check_parts(value: Any, type_: Any, where: str) -> None:
    if type_ is Any:
        return
    facts = fields_of(type_)
    for key, part in _parts(value):
        inner = _part_type(value, type_, key)
        if inner is None:
            known = f"; it has the fields {', '.join(facts)}" if facts else ""
            raise DefinitionError(
                f"{where} takes {name_of(type_)}, not {name_of(type(value))}{known}"
            )
        _check(part, inner, f"{where}.{key}" if isinstance(key, str) else f"{where}[{key!r}]")
    missing = [name for name in _required(type_) if isinstance(value, dict) and name not in value]
    if missing:
        raise DefinitionError(f"{where} takes {name_of(type_)}: {', '.join(missing)} is missing")


def _part_type(value: Any, type_: Any, key: Any) -> Any:
    if isinstance(value, dict):
        fact = fields_of(type_).get(str(key))
        return fact.type if fact is not None else item_type(type_, str(key))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return item_type(type_, key) if isinstance(value, tuple) else element_type(type_)
    if not assignable(type(value), type_):
        return None
    if isinstance(value, tuple):
        return list(fields_of(type(value)).values())[key].type
    fact = fields_of(type_).get(key) or fields_of(type(value)).get(key)
    return Any if fact is None else fact.type


def _required(type_: Any) -> frozenset[str]:
    required: frozenset[str] = getattr(type_, "__required_keys__", frozenset())
    return required
