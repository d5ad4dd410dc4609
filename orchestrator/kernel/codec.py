"""Events and messages to JSON bytes and back; old events are upcast as they are read, never rewritten.

An event's JSON is the whole event, so a record can be read without its other columns. A reader ignores fields
it doesn't know, so a field may be added with a default at any time; anything else raises ``CURRENT_VERSION`` and
puts the way up from the older version into ``UPCASTERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from orchestrator.errors import EncodingError, IllegalEventError
from orchestrator.kernel.events import Event
from orchestrator.kernel.messages import Inbound

CURRENT_VERSION = 1
"""The schema version that events are written in."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes an event's JSON in one version and returns it in the next; ``type`` in it may change."""

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
"""By type and the version they start from; a type that isn't listed didn't change in that version."""

EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
"""Every event type by the name it is stored under."""

_encoder = msgspec.json.Encoder()
_event_decoders = {name: msgspec.json.Decoder(kind) for name, kind in EVENT_TYPES.items()}
_message_decoder: msgspec.json.Decoder[Inbound] = msgspec.json.Decoder(Inbound)


def encode_event(event: Event) -> bytes:
    """An event as JSON, in ``CURRENT_VERSION``. Raises ``EncodingError``."""
    try:
        return _encoder.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodingError(f"{type(event).__name__} can't be written as JSON: {error}") from error


def decode_event(
    type_name: str,
    schema_version: int,
    data: bytes | str,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> Event:
    """Read an event that was written in ``schema_version``.

    Raises ``IllegalEventError`` when the bytes aren't such an event, or come from a newer release.
    """
    try:
        if schema_version == CURRENT_VERSION:
            return _event_decoders[type_name].decode(data)
        return _upcast(type_name, schema_version, msgspec.json.decode(data), upcasters)
    except KeyError as error:
        raise IllegalEventError(f"there is no event type {error.args[0]!r}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IllegalEventError(f"a stored {type_name} can't be read: {error}") from error


def encode_message(message: Inbound) -> bytes:
    """A message as JSON. Raises ``EncodingError``."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodingError(
            f"{type(message).__name__} can't be written as JSON: {error}"
        ) from error


def decode_message(data: bytes | str) -> Inbound:
    """Read a message. Raises ``IllegalEventError`` when the bytes aren't one."""
    try:
        return _message_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IllegalEventError(f"a stored message can't be read: {error}") from error


def _upcast(
    type_name: str,
    version: int,
    data: dict[str, Any],
    upcasters: Mapping[tuple[str, int], Upcaster],
) -> Event:
    if version > CURRENT_VERSION or version < 0:
        raise IllegalEventError(
            f"a {type_name} was written in version {version}, this release knows {CURRENT_VERSION}: upgrade it"
        )
    for older in range(version, CURRENT_VERSION):
        upcast = upcasters.get((data.get("type", type_name), older))
        if upcast is not None:
            data = upcast(data)
    return msgspec.convert(data, EVENT_TYPES[data.get("type", type_name)])
