"""Notices by HTTP: signed, retried, and never sent into the network that the coordinator itself stands in.

The address is looked up once, checked, and connected to as it was checked: a name that answers differently the second
time leads nowhere. Redirects are a refusal.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from orchestrator.definition.notice import Notice
from orchestrator.errors import NoticeError, SettingsError

SIGNATURE = "Saga-Signature"
"""``t=<seconds since the epoch>,v1=<hex of HMAC-SHA256 over "<t>." and the body>``."""
NOTICE_ID = "Saga-Notice"
_AGAIN = frozenset({408, 425, 429})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_BODY_MAX_BYTES = 64 * 1024

Resolve = Callable[[str, int], list[str]]
"""The addresses of a host, for a port."""


class WebhookOptions(msgspec.Struct, frozen=True):
    """Where to, and how. Times are in seconds."""

    url: str
    key: bytes
    private: bool = False
    """Private, loopback and link-local addresses are allowed."""
    attempts: int = 5
    timeout_s: float = 10.0
    wait_s: float = 30.0
    """The longest pause between attempts."""


class _AgainError(NoticeError):
    """It may work next time."""


def resolved(host: str, port: int) -> list[str]:
    """As the system resolves it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Webhook:
    """Posts notices as JSON. Raises ``SettingsError`` for a URL that can't be used."""

    def __init__(
        self,
        options: WebhookOptions,
        *,
        resolve: Resolve = resolved,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._url = _checked(options.url)
        self._resolve = resolve
        self._clock = clock
        self._sleep = sleep

    def send(self, notice: Notice) -> None:
        """Post it until it is answered with success. Raises ``NoticeError``."""
        body = msgspec.json.encode(notice)
        patiently = Retrying(
            retry=retry_if_exception_type(_AgainError),
            wait=wait_random_exponential(multiplier=0.5, max=self._options.wait_s),
            stop=stop_after_attempt(self._options.attempts),
            sleep=self._sleep,
            reraise=True,
        )
        patiently(self._post, notice.id, body)

    def _post(self, notice_id: str, body: bytes) -> None:
        connection = self._connection(self._address())
        at = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "saga-orchestrator",
            NOTICE_ID: notice_id,
            SIGNATURE: f"t={at},v1={signature(self._options.key, at, body)}",
        }
        path = self._url.path or "/"
        try:
            connection.request(
                "POST", f"{path}?{self._url.query}" if self._url.query else path, body, headers
            )
            answer = connection.getresponse()
            answer.read(_BODY_MAX_BYTES)
        except ssl.SSLCertVerificationError as error:  # waiting makes no certificate better
            raise NoticeError(
                f"the webhook's certificate isn't one of {self._url.hostname!r}: {error.verify_message}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _AgainError(f"the webhook can't be reached: {type(error).__name__}") from error
        finally:
            connection.close()
        _judge(answer.status)

    def _address(self) -> str:
        """Where to connect to: only if every address of the name may be."""
        host, port = self._url.hostname or "", _port(self._url)
        try:
            found = self._resolve(host, port)
        except OSError as error:
            raise _AgainError(f"the webhook's host {host!r} can't be resolved") from error
        if not found:
            raise _AgainError(f"the webhook's host {host!r} has no address")
        hidden = [one for one in found if not is_public(one)]
        if hidden and not self._options.private:
            raise NoticeError(
                f"the webhook's host {host!r} is at {hidden[0]}, which isn't public: set incidents.webhook_private to"
                " allow it"
            )
        return found[0]

    def _connection(self, address: str) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", _port(self._url)
        timeout_s = self._options.timeout_s
        if self._url.scheme == "http":
            return _Pinned(address, host, port, timeout=timeout_s)
        return _PinnedTls(address, host, port, timeout=timeout_s)


class _Pinned(http.client.HTTPConnection):
    """Speaks to a host at the one address that was checked."""

    def __init__(self, address: str, host: str, port: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._address = address

    def connect(self) -> None:
        """Connect to the address, not the name."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedTls(_Pinned):
    """The same over TLS, whose certificate has to be the host's."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Connect to the address, and have it prove to be the host."""
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def signature(key: bytes, at: int, body: bytes) -> str:
    """What a receiver makes too, and compares."""
    return hmac.new(key, b"%d." % at + body, hashlib.sha256).hexdigest()


def is_public(address: str) -> bool:
    """Whether anybody on the internet may be there: no private, loopback, link-local or reserved network, nor one of
    these inside an IPv6 address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if not all(is_public(str(one)) for one in inner if one is not None):
            return False
        if found.ipv4_mapped is not None:
            return True
    return found.is_global and not found.is_multicast


def _judge(status: int) -> None:
    if status in range(200, 300):
        return
    if status in range(300, 400):
        raise NoticeError(f"the webhook answered {status}: redirects aren't followed")
    if status in _AGAIN or status >= 500:
        raise _AgainError(f"the webhook answered {status}")
    raise NoticeError(f"the webhook answered {status}")


def _checked(url: str) -> SplitResult:
    found = urlsplit(url)
    try:
        port = found.port
    except ValueError as error:
        raise SettingsError(f"incidents.webhook_url: {error}") from error
    plain = url.isascii() and url.isprintable() and " " not in url
    if found.scheme not in {"http", "https"} or not found.hostname or port == 0 or not plain:
        raise SettingsError("incidents.webhook_url isn't an http:// or https:// address")
    if found.username is not None or found.password is not None:
        raise SettingsError(
            "incidents.webhook_url holds a user or password: notices are signed instead"
        )
    return found


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
