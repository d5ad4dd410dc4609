"""Which broker a URL means."""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from orchestrator.errors import SettingsError

BrokerKind = Literal["redis", "rabbitmq"]

_SCHEMES: dict[str, tuple[BrokerKind, str]] = {
    "redis": ("redis", "redis"),
    "rediss": ("redis", "rediss"),
    "valkey": ("redis", "redis"),
    "valkeys": ("redis", "rediss"),
    "amqp": ("rabbitmq", "amqp"),
    "amqps": ("rabbitmq", "amqps"),
}


class BrokerAddress(NamedTuple):
    """A broker's URL in the form that Celery and the client libraries know."""

    kind: BrokerKind
    url: str

    @property
    def redacted(self) -> str:
        """The URL without its password, for messages to people."""
        parts = urlsplit(self.url)
        user = f"{parts.username or ''}:***@" if parts.password else ""
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"


def parse_broker(url: str) -> BrokerAddress:
    """Return what the URL names; raises ``SettingsError`` for a broker that isn't supported."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise SettingsError(f"broker URL {scheme!r}: the scheme must be one of {known}")
    if ";" in rest:
        raise SettingsError("broker URL: name one broker; a list of them is not supported")
    kind, canonical = _SCHEMES[scheme]
    return BrokerAddress(kind, f"{canonical}://{rest}")
