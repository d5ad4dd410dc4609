"""What is known about a value before it exists: its type's name, fields and elements, and what it can be passed to.

Checks here are lenient where the type is unknown: the participant checks the real value anyway.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from orchestrator.definition.plan import Kind
from orchestrator.definition.values import is_model

_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, "bool"),
    (int, "number"),
    (float, "number"),
    (Decimal, "decimal"),
    (str, "text"),
    (datetime, "datetime"),
    (date, "date"),
    (timedelta, "duration"),
)
_LISTS = (list, tuple, set, frozenset, collections.abc.Collection)


class FieldFact(NamedTuple):
    """A field of a record: its type, its place in the JSON, and whether the JSON may leave it out."""

    type: Any
    key: str | int | None
    """A name in an object, a position in an array, or None when the record is its field (a root model)."""
    omitted: bool = False


def name_of(type_: Any) -> str:
    """A type as a user would write it: ``list[Order]``, ``int | None``."""
    if type_ is None or type_ is type(None):
        return "None"
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return name_of(typing.get_args(type_)[0])
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(name_of(member) for member in typing.get_args(type_))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(type_)))}]"
    if origin is not None:
        arguments = ["..." if a is Ellipsis else name_of(a) for a in typing.get_args(type_)]
        return f"{name_of(origin)}[{', '.join(arguments)}]" if arguments else name_of(origin)
    name = getattr(type_, "__qualname__", None) or getattr(type_, "__name__", None) or str(type_)
    return str(name).rpartition("<locals>.")[2].removeprefix("typing.")


def plain(type_: Any) -> Any:
    """The type without what only describes it: Annotated, NewType, Required, type aliases."""
    while True:
        origin = typing.get_origin(type_)
        if origin in {typing.Annotated, typing.Required, typing.NotRequired, typing.Final}:
            type_ = typing.get_args(type_)[0]
        elif isinstance(type_, typing.NewType):
            type_ = type_.__supertype__
        elif type(type_).__name__ == "TypeAliasType":
            type_ = type_.__value__
        elif isinstance(type_, typing.TypeVar):
            type_ = type_.__bound__ or Any
        elif type_ is object:
            type_ = Any
        else:
            return type(None) if type_ is None else type_


def alternatives(type_: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself; None among them."""
    type_ = plain(type_)
    if typing.get_origin(type_) in {typing.Union, types.UnionType}:
        return tuple(inner for member in typing.get_args(type_) for inner in alternatives(member))
    return (type_,)


def present(type_: Any) -> tuple[Any, ...]:
    """The members of a union without None; at least one."""
    members = tuple(member for member in alternatives(type_) if member is not type(None))
    return members or (type(None),)


def union_of(members: typing.Iterable[Any]) -> Any:
    """One type for several."""
    distinct = list(dict.fromkeys(members))
    return typing.Union[tuple(distinct)] if distinct else Any  # noqa: UP007 - made at run time


def list_of(type_: Any) -> Any:
    """``list[type_]`` for a type known only at run time."""
    return types.GenericAlias(list, (type_,))


def kind_of(type_: Any) -> Kind:
    """How an operand of this type is read from JSON; ``any`` where that isn't one way."""
    return _common(present(type_))


def _kind_of(type_: Any) -> Kind:
    if typing.get_origin(type_) is typing.Literal:
        return _common(type(value) for value in typing.get_args(type_))
    if not isinstance(type_, type):
        return "any"
    if issubclass(type_, enum.Enum):
        return _common(type(member.value) for member in type_)
    for base, kind in _KINDS:
        if issubclass(type_, base):
            return kind
    return "any"


def _common(members: typing.Iterable[Any]) -> Kind:
    kinds: set[Kind] = {_kind_of(member) for member in members}
    return kinds.pop() if len(kinds) == 1 else "any"


def is_whole(type_: Any) -> bool:
    """Whether every value of this type is an integer."""
    return all(isinstance(member, type) and issubclass(member, int) for member in present(type_))


def assignable(source: Any, target: Any) -> bool:
    """Whether a value of type ``source`` may be passed where ``target`` is declared.

    A possible None is let through: whether the branch was taken, or the field is set, is known only in the run.
    """
    sources, targets = present(source), alternatives(target)
    if Any in sources or Any in targets:
        return True
    if sources == (type(None),):
        return type(None) in targets
    return any(_fits(s, t) for s in sources for t in targets)


def _fits(source: Any, target: Any) -> bool:
    if source == target:
        return True
    source_origin, target_origin = typing.get_origin(source), typing.get_origin(target)
    if target_origin is typing.Literal:
        values = typing.get_args(target)
        return source_origin is typing.Literal and any(v in values for v in typing.get_args(source))
    if source_origin is typing.Literal:
        return any(_fits(type(value), target) for value in typing.get_args(source))
    base, wanted = source_origin or source, target_origin or target
    if not isinstance(base, type) or not isinstance(wanted, type):
        return True
    if wanted is float and base is int:
        return True
    if base is bool:
        return wanted is bool
    if wanted is Decimal and base is int:
        return True
    if typing.is_typeddict(source) and wanted in {dict, collections.abc.Mapping}:
        return True
    if not _derived(base, wanted):
        return False
    return _arguments_fit(source, target)


def _derived(base: type, wanted: type) -> bool:
    try:
        return issubclass(base, wanted)
    except TypeError:  # a TypedDict, or a protocol that can't be asked
        return not typing.is_typeddict(wanted) and not typing.is_typeddict(base)


def _arguments_fit(source: Any, target: Any) -> bool:
    have, want = typing.get_args(source), typing.get_args(target)
    if not have or not want:
        return True
    if Ellipsis in have or Ellipsis in want or len(have) != len(want):
        first, second = element_type(source), element_type(target)
        return first is None or second is None or assignable(first, second)
    return all(assignable(s, t) for s, t in zip(have, want, strict=True))


def element_type(type_: Any) -> Any:
    """The type of a list's elements; None when the type is no list."""
    found = []
    for member in present(type_):
        if member is Any:
            return Any
        base = typing.get_origin(member) or member
        if not isinstance(base, type) or not _is_list(base):
            return None
        arguments = [a for a in typing.get_args(member) if a is not Ellipsis]
        found.append(union_of(arguments) if arguments else Any)
    return union_of(found)


def _is_list(base: type) -> bool:
    if issubclass(base, str | bytes | bytearray | collections.abc.Mapping):
        return False
    return issubclass(base, _LISTS) or base is collections.abc.Iterable


def item_type(type_: Any, key: int | str) -> Any:
    """The type of ``value[key]``; None when there is no such element."""
    found = []
    for member in present(type_):
        if member is Any:
            return Any
        inner = _item_type(member, key)
        if inner is None:
            return None
        found.append(inner)
    return union_of(found)


def _item_type(type_: Any, key: int | str) -> Any:
    base, arguments = typing.get_origin(type_) or type_, typing.get_args(type_)
    if typing.is_typeddict(base):
        fact = fields_of(type_).get(key) if isinstance(key, str) else None
        return None if fact is None else fact.type
    if isinstance(base, type) and issubclass(base, collections.abc.Mapping):
        return arguments[1] if len(arguments) == 2 else Any
    if isinstance(key, str) or not isinstance(base, type) or not _is_list(base):
        return None
    if issubclass(base, set | frozenset):
        return None
    if base is tuple and arguments and Ellipsis not in arguments:
        return arguments[key] if -len(arguments) <= key < len(arguments) else None
    return element_type(type_)


def is_record(type_: Any) -> bool:
    """Whether values of this type have named fields."""
    base = typing.get_origin(type_) or type_
    if not isinstance(base, type):
        return False
    return (
        is_dataclass(base)
        or issubclass(base, msgspec.Struct)
        or is_model(base)
        or hasattr(base, "__attrs_attrs__")
        or typing.is_typeddict(base)
        or (issubclass(base, tuple) and hasattr(base, "_fields"))
    )


def fields_of(type_: Any) -> dict[str, FieldFact]:
    """The fields of a record type, in order; empty for any other type."""
    if not is_record(type_):
        return {}
    base = typing.get_origin(type_) or type_
    bound = dict(zip(getattr(base, "__parameters__", ()), typing.get_args(type_), strict=False))
    facts = _facts(base)
    return {
        name: fact._replace(type=_substituted(fact.type, bound)) for name, fact in facts.items()
    }


def _facts(base: Any) -> dict[str, FieldFact]:
    if is_model(base):
        rooted = "root" in base.model_fields and base.__pydantic_root_model__
        return {
            n: FieldFact(f.annotation, None if rooted else n) for n, f in base.model_fields.items()
        }
    if issubclass(base, msgspec.Struct):
        return _struct_facts(base)
    hints = typing.get_type_hints(base)
    if typing.is_typeddict(base):
        return {name: FieldFact(plain(hint), name) for name, hint in hints.items()}
    if is_dataclass(base):
        return {f.name: FieldFact(hints[f.name], f.name) for f in dataclass_fields(base)}
    if hasattr(base, "__attrs_attrs__"):
        return {a.name: FieldFact(hints.get(a.name, Any), a.name) for a in base.__attrs_attrs__}
    return {name: FieldFact(hints.get(name, Any), index) for index, name in enumerate(base._fields)}


def _struct_facts(base: type[msgspec.Struct]) -> dict[str, FieldFact]:
    config = base.__struct_config__
    first = 0 if config.tag is None else 1
    facts = {}
    for index, field in enumerate(msgspec.structs.fields(base)):
        key = first + index if config.array_like else field.encode_name
        facts[field.name] = FieldFact(field.type, key, config.omit_defaults and not field.required)
    return facts


def _substituted(type_: Any, bound: dict[Any, Any]) -> Any:
    if not bound:
        return type_
    if type_ in bound:
        return bound[type_]
    parameters = getattr(type_, "__parameters__", ())
    return type_[tuple(bound.get(p, Any) for p in parameters)] if parameters else type_
