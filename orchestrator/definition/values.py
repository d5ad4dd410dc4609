"""Python values to JSON and back, checked on the way: what crosses the border between a saga and its participants.

msgspec does the work in C; what it doesn't know (pydantic models, unions it can't tell apart) is handled around it.
Pydantic is recognised only where the user has imported it.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from decimal import Decimal
from functools import lru_cache, partial
from math import isfinite
from typing import Any, TypeVar

import msgspec

from orchestrator.errors import (
    DefinitionError,
    EncodingError,
    InvalidInputError,
    PayloadTooLargeError,
)

T = TypeVar("T")

Decoder = Callable[[Any, str], Any]

_SUSPECT = re.compile(rb"null|nan|inf", re.IGNORECASE)
_PLAIN = frozenset({bool, type(None)})
_LEAVES = frozenset({str, int, float, bool, type(None), Decimal})


def encode(value: Any, where: str = "value") -> Any:
    """The value as JSON builtins (dict, list, str, int, float, bool, None), never sharing structure with it.

    ``where`` names the value in errors. Raises ``EncodingError`` for what JSON can't hold: unknown types, NaN and
    infinities, text that isn't Unicode.
    """
    if type(value) in _PLAIN:
        return value
    try:
        raw = msgspec.json.encode(value, enc_hook=_encode_foreign)
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodingError(_why_not(value, where, error)) from error
    except RecursionError as error:
        raise EncodingError(
            f"{where}: refers to itself, or is nested too deeply for JSON"
        ) from error
    if _SUSPECT.search(raw):
        for path, offence in _offences(value, where):
            raise EncodingError(f"{path}: {offence}")
    return msgspec.json.decode(raw)


def decode(data: Any, type_: Any, where: str = "value") -> Any:
    """The value of ``type_`` that this JSON stands for.

    Raises ``InvalidInputError`` that names the place, as in ``order.lines[0].sku: expected int, got str``, and
    ``DefinitionError`` for a type that has no JSON form.
    """
    try:
        decoder = _decoder(type_)
    except TypeError:  # an unhashable annotation
        decoder = _build_decoder(type_)
    return decoder(data, where)


def check_type(type_: Any, where: str) -> None:
    """Raise ``DefinitionError``, naming ``where``, unless values of this type can be read from JSON."""
    if type_ is Any or type_ is object:
        return
    members = _union_members(type_)
    try:
        info = msgspec.inspect.type_info(type_)
    except TypeError as error:
        if not members:
            raise DefinitionError(
                f"{where}: {error}; use a tagged union of msgspec structs"
            ) from error
        for member in members:
            check_type(member, where)
        return
    except NameError as error:
        raise DefinitionError(f"{where}: {error}") from error
    customs = (
        t.cls for t in _types_inside(info, set()) if isinstance(t, msgspec.inspect.CustomType)
    )
    for custom in customs:
        if not _is_model(custom):
            raise DefinitionError(
                f"{where}: {getattr(custom, '__qualname__', custom)} has no JSON form; use a dataclass, a msgspec "
                "struct, a pydantic model, a TypedDict or plain values"
            )


def check_size(encoded: bytes, limit: int, where: str = "value") -> None:
    """Raise ``PayloadTooLargeError`` when ``encoded`` has more than ``limit`` bytes."""
    if len(encoded) > limit:
        raise PayloadTooLargeError(
            f"{where}: {len(encoded):,} bytes of JSON are over the limit of {limit:,}; "
            "store the data elsewhere and pass its key"
        )


def is_model(type_: Any) -> bool:
    """Whether this is a pydantic model's class. Never imports pydantic."""
    return _is_model(type_)


def _is_model(type_: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None and isinstance(type_, type) and issubclass(type_, pydantic.BaseModel)
    )


def _encode_foreign(value: Any) -> Any:
    if _is_model(type(value)):
        return value.model_dump(mode="json", round_trip=True, by_alias=False)
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def _decode_foreign(type_: Any, data: Any) -> Any:
    if not _is_model(type_):
        raise DefinitionError(f"{getattr(type_, '__qualname__', type_)} has no JSON form")
    try:
        return _validated(type_, data)
    except InvalidInputError as error:
        raise ValueError(str(error).removeprefix(": ").removeprefix(".")) from error


def _validated(model: Any, data: Any, where: str = "") -> Any:
    try:
        return model.model_validate(data, by_name=True, by_alias=True)
    except ValueError as error:
        details: Callable[[], list[dict[str, Any]]] | None = getattr(error, "errors", None)
        if details is None:
            raise
        lines = [f"{_path(where, item['loc'])}: {item['msg']}" for item in details()]
        raise InvalidInputError("; ".join(lines)) from error


def _path(where: str, parts: tuple[int | str, ...]) -> str:
    return where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


@lru_cache(maxsize=4096)
def _decoder(type_: Any) -> Decoder:
    return _build_decoder(type_)


def _build_decoder(type_: Any) -> Decoder:
    if type_ is Any or type_ is object:
        return _anything
    if type_ is None:
        type_ = type(None)
    if type_ in {str, int, bool, type(None)}:
        return partial(_decode_scalar, type_)
    if _is_model(type_):
        return partial(_decode_model, type_)
    try:
        info = msgspec.inspect.type_info(type_)
    except (TypeError, NameError):
        check_type(type_, "value")
        return partial(_decode_alternatives, _union_members(type_))
    if _leaves_defaults_out(info):
        return partial(_decode_filled, type_)
    return partial(_decode_known, type_)


def _anything(data: Any, where: str) -> Any:
    del where
    return data


def _decode_scalar(type_: Any, data: Any, where: str) -> Any:
    return data if type(data) is type_ else _decode_known(type_, data, where)


def _decode_model(type_: Any, data: Any, where: str) -> Any:
    return _validated(type_, data, where)


def _decode_known(type_: Any, data: Any, where: str) -> Any:
    try:
        return msgspec.convert(data, type_, dec_hook=_decode_foreign, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_readable(str(error), where)) from error


def _decode_filled(type_: Any, data: Any, where: str) -> Any:
    value = _decode_known(type_, data, where)
    _fill_defaults(value)
    return value


def _readable(message: str, where: str) -> str:
    text, _, path = message.rpartition(" - at `")
    if not text:
        text, path = message, "$`"
    place = where + path.removesuffix("`").removeprefix("$")
    if place.startswith(where + "key"):
        place = where
    text = text.replace("`", "")
    return f"{place}: {text[0].lower()}{text[1:]}"


def _decode_alternatives(members: tuple[Any, ...], data: Any, where: str) -> Any:
    """For unions msgspec can't tell apart: an exact fit first, then the first member that takes the data."""
    fits = []
    reasons = []
    for member in members:
        try:
            fits.append(decode(data, member, where))
        except InvalidInputError as error:
            reasons.append(str(error))
    for value in fits:
        if encode(value) == data:
            return value
    if fits:
        return fits[0]
    raise InvalidInputError("; or ".join(reasons))


def _union_members(type_: Any) -> tuple[Any, ...]:
    if typing.get_origin(type_) in {typing.Union, types.UnionType}:
        return typing.get_args(type_)
    return ()


def _types_inside(info: Any, seen: set[int]) -> Iterator[msgspec.inspect.Type]:
    """A type and every type its values may hold."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, list | tuple):
        for item in info:
            yield from _types_inside(item, seen)
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        if isinstance(info, msgspec.inspect.Type):
            yield info
        for name in info.__struct_fields__:
            part = getattr(info, name)
            if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field | tuple | list):
                yield from _types_inside(part, seen)


def _leaves_defaults_out(info: Any) -> bool:
    """Whether msgspec makes dataclasses of this type whose plain defaults exist on the class alone.

    Such an object would lose them when it is encoded again.
    """
    return any(
        not field.required and field.default is not msgspec.NODEFAULT
        for part in _types_inside(info, set())
        if isinstance(part, msgspec.inspect.DataclassType)
        for field in part.fields
    )


def _fill_defaults(value: Any) -> None:
    """Put the defaults that msgspec left on the class into every dataclass inside a value."""
    inside: Iterable[Any]
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    elif isinstance(value, msgspec.Struct):
        inside = [getattr(value, name) for name in value.__struct_fields__]
    elif is_dataclass(value):
        kind: Any = type(value)
        names = _field_names(kind)
        inside = [getattr(value, name) for name in names]
        own = getattr(value, "__dict__", None)
        if own is not None and len(own) < len(names):
            for name, part in zip(names, inside, strict=True):
                own.setdefault(name, part)
    else:
        return
    for part in inside:
        if type(part) not in _LEAVES:
            _fill_defaults(part)


@lru_cache(maxsize=4096)
def _field_names(type_: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclass_fields(type_))


def _why_not(value: Any, where: str, error: Exception) -> str:
    for path, offence in _offences(value, where):
        return f"{path}: {offence}"
    return f"{where}: {error}"


def _offences(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """What JSON can't hold, found the slow way, only once something is known or suspected to be wrong."""
    inner = _inner(value, path)
    if inner is not None:
        for place, item in inner:
            yield from _offences(item, place)
    elif isinstance(value, float | Decimal) and not isfinite(value):
        yield path, f"{value} can't be written as JSON"
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            yield path, "the text isn't valid Unicode"
    else:
        try:
            msgspec.json.encode(value, enc_hook=_encode_foreign)
        except (TypeError, ValueError, OverflowError) as error:
            yield path, str(error)


def _inner(value: Any, path: str) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return ((f"{path}[{key!r}]", item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"{path}[{index}]", item) for index, item in enumerate(value))
    if isinstance(value, type):
        return None
    names: tuple[str, ...] | None = None
    if is_dataclass(value):
        names = tuple(field.name for field in dataclass_fields(value))
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif _is_model(type(value)):
        names = tuple(type(value).model_fields)
    return None if names is None else ((f"{path}.{name}", getattr(value, name)) for name in names)
