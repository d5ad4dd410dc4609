"""``Redacted``: says of a type, where it is declared, that its values are nobody's business but the participants'.

The marks go into the plan with the types they stand in, so that whoever shows a run knows them without the code that
declared them.
"""

from __future__ import annotations

import collections.abc
import sys
import types
import typing
from typing import Any, final

from orchestrator.definition.plan import Path
from orchestrator.definition.static_types import FieldFact, fields_of, is_record
from orchestrator.definition.values import is_model

EACH = "*"
"""In a path: any element of a list, any value of a mapping."""

_Paths = frozenset[Path]
_NONE: _Paths = frozenset()
_ALL: _Paths = frozenset({()})
_WRAPPERS = (typing.Required, typing.NotRequired, typing.Final)


@final
class Redacted:
    """A mark for ``Annotated``: ``card: Annotated[str, Redacted]``.

    Stands at a parameter or result of a saga or participant, or at a field of a dataclass, struct, pydantic model,
    TypedDict or named tuple at any depth. Such values reach the participants as ever, and are in the journal; no page,
    answer, command or event that is shown has them.
    """

    __slots__ = ()


def redacted_paths(type_: Any) -> tuple[Path, ...]:
    """Where values of this type have what is redacted: one ``()`` for all of it."""
    found = _paths(type_, ())
    return ((),) if () in found else tuple(sorted(found))


def _paths(type_: Any, inside: tuple[Any, ...]) -> _Paths:
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        inner, *marks = typing.get_args(type_)
        marked = any(mark is Redacted or isinstance(mark, Redacted) for mark in marks)
        return _ALL if marked else _paths(inner, inside)
    if origin in _WRAPPERS:
        return _paths(typing.get_args(type_)[0], inside)
    if isinstance(type_, typing.NewType):
        return _paths(type_.__supertype__, inside)
    if type(type_).__name__ == "TypeAliasType":
        return _paths(type_.__value__, inside)
    if origin in {typing.Union, types.UnionType}:
        members = [_paths(member, inside) for member in typing.get_args(type_)]
        return _NONE.union(*members)
    if is_record(type_):
        return _of_record(type_, inside)
    return _of_elements(origin, typing.get_args(type_), inside)


def _of_elements(origin: Any, arguments: tuple[Any, ...], inside: tuple[Any, ...]) -> _Paths:
    if not isinstance(origin, type) or not arguments:
        return _NONE
    if issubclass(origin, collections.abc.Mapping):
        return _below(EACH, _paths(arguments[-1], inside))
    if origin is tuple and Ellipsis not in arguments:
        parts = [_below(str(n), _paths(part, inside)) for n, part in enumerate(arguments)]
        return _NONE.union(*parts)
    parts = [_below(EACH, _paths(part, inside)) for part in arguments if part is not Ellipsis]
    return _NONE.union(*parts)


def _of_record(type_: Any, inside: tuple[Any, ...]) -> _Paths:
    """A record inside one of its own kind is redacted whole if that kind has anything to redact."""
    if type_ in inside:
        return _ALL if _fields_of(type_, (), deep=False) else _NONE
    return _fields_of(type_, (*inside, type_), deep=True)


def _fields_of(type_: Any, inside: tuple[Any, ...], *, deep: bool) -> _Paths:
    found: set[Path] = set()
    hints = _hints(typing.get_origin(type_) or type_)
    for name, fact in fields_of(type_).items():
        parts = _NONE
        for declared in (hints.get(name), fact.type):
            if deep or _is_marked(declared):
                parts |= _paths(declared, inside)
        if _is_marked_field(type_, name):
            parts = _ALL
        found |= parts if fact.key is None else _below(_key(fact), parts)
    return frozenset(found)


def _is_marked(type_: Any) -> bool:
    return typing.get_origin(type_) is typing.Annotated and _paths(type_, ()) == _ALL


def _is_marked_field(type_: Any, name: str) -> bool:
    """Pydantic takes the marks off the annotation."""
    if not is_model(typing.get_origin(type_) or type_):
        return False
    marks = type_.model_fields[name].metadata
    return any(mark is Redacted or isinstance(mark, Redacted) for mark in marks)


def _hints(base: Any) -> dict[str, Any]:
    names = vars(sys.modules.get(base.__module__, types.ModuleType("")))
    try:
        return typing.get_type_hints(base, globalns=names, include_extras=True)
    except NameError:  # a name of the function it was declared in: msgspec and pydantic resolved it
        return {}


def _key(fact: FieldFact) -> str:
    return str(fact.key)


def _below(key: str, paths: _Paths) -> _Paths:
    return frozenset((key, *path) for path in paths)
