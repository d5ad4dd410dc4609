"""A plain value of a type, for what a stand-in returns when the test doesn't say: 1, true, a text, one item."""

from __future__ import annotations

from typing import Any

from msgspec import inspect as mi

from orchestrator.definition.static_types import present
from orchestrator.definition.values import decode, is_model
from orchestrator.errors import SagaError, StagingError
from orchestrator.testing.stage.hiding import hidden

__tracebackhide__ = hidden

_NESTED_MAX = 6
_INSTANT = "2030-01-01T00:00:00Z"

_PLAIN: dict[type[mi.Type], Any] = {
    mi.AnyType: None,
    mi.NoneType: None,
    mi.BoolType: True,
    mi.FloatType: 1.0,
    mi.BytesType: "",
    mi.DateTimeType: _INSTANT,
    mi.DateType: _INSTANT[:10],
    mi.TimeType: _INSTANT[11:19],
    mi.TimeDeltaType: "PT1S",
    mi.UUIDType: "00000000-0000-4000-8000-000000000001",
    mi.DecimalType: "1",
    mi.RawType: None,
}


def made_up(type_: Any, what: str) -> Any:
    """A value of this type. ``what`` names it; raises ``StagingError`` that says how to give one."""
    try:
        return decode(_json(type_, what.rpartition(".")[2], 0), type_, what)
    except (SagaError, TypeError, LookupError) as error:
        raise StagingError(
            f"{what} is a stand-in in this test, and no result can be made up for it ({error}): give one with "
            f"sagas.when({what}).returns(...)"
        ) from None


def _json(type_: Any, name: str, depth: int) -> Any:
    if is_model(type_):
        return _pydantic(type_, depth)
    if type_ is object:
        return None
    members = present(type_)
    if len(members) > 1:  # which msgspec may not be able to tell apart
        return _json(members[0], name, depth)
    return _of(mi.type_info(type_), name, depth)


def _of(info: mi.Type, name: str, depth: int) -> Any:
    if type(info) in _PLAIN:
        return _PLAIN[type(info)]
    if depth > _NESTED_MAX:
        raise TypeError(f"it is nested more than {_NESTED_MAX} deep")
    match info:
        case mi.StrType():
            return name.ljust(info.min_length or 0, "-")
        case mi.IntType():
            least = max([1, *(n for n in (info.ge, info.gt and info.gt + 1) if n is not None)])
            return least if info.le is None else min(info.le, least)
        case mi.LiteralType():
            return info.values[0]
        case mi.EnumType():
            return next(iter(info.cls)).value
        case _:
            return _made_of_others(info, name, depth)


def _made_of_others(info: mi.Type, name: str, depth: int) -> Any:
    match info:
        case mi.UnionType():
            return _first_of(info.types, name, depth)
        case mi.TupleType():
            return [_of(item, name, depth + 1) for item in info.item_types]
        case mi.CollectionType():
            return [_of(info.item_type, name, depth + 1)]
        case mi.DictType():
            return {_of(info.key_type, "key", depth + 1): _of(info.value_type, name, depth + 1)}
        case mi.CustomType() if is_model(info.cls):
            return _pydantic(info.cls, depth + 1)
        case _:
            return _record(info, depth)


def _first_of(types: tuple[mi.Type, ...], name: str, depth: int) -> Any:
    """The first that can be made up, None last."""
    others = [type_ for type_ in types if not isinstance(type_, mi.NoneType)]
    for position, type_ in enumerate(others):
        try:
            return _of(type_, name, depth + 1)
        except TypeError:
            if position == len(others) - 1 and len(others) == len(types):
                raise
    return None


def _record(info: mi.Type, depth: int) -> Any:
    fields: tuple[mi.Field, ...] | None = getattr(info, "fields", None)
    if fields is None:
        raise TypeError(f"{getattr(info, 'cls', info)} isn't known")
    needed = [field for field in fields if field.required]
    made = {field.encode_name: _of(field.type, field.name, depth + 1) for field in needed}
    if isinstance(info, mi.StructType):
        if info.tag_field is not None:
            made[info.tag_field] = info.tag
        if info.array_like:
            tag = [] if info.tag_field is None else [info.tag]
            return tag + [made[field.encode_name] for field in needed]
    return list(made.values()) if isinstance(info, mi.NamedTupleType) else made


def _pydantic(model: Any, depth: int) -> Any:
    needed = {name: field for name, field in model.model_fields.items() if field.is_required()}
    return {name: _json(field.annotation, name, depth + 1) for name, field in needed.items()}
