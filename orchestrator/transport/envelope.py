"""The envelope around what travels: versioned, size-limited JSON, signed as a whole when a key is configured.

The signature covers the version, the kind and every byte of the body, so nothing in a message can be edited, and work
can't be passed off as an answer. The body is encoded once and copied into the envelope as it is.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

from orchestrator.errors import EnvelopeError, SettingsError
from orchestrator.transport.messages import Answer, Work

VERSION = 1
LIMIT_BYTES = 8 * 1024 * 1024
"""More than one payload of the default 1 MiB fits; below RabbitMQ's own limit of 16 MiB once it is quoted."""
KEY_BYTES_AT_LEAST = 16

Kind = Literal["work", "answers"]
T = TypeVar("T")


class _Envelope(msgspec.Struct, frozen=True):
    v: int
    k: str
    b: msgspec.Raw
    s: str = ""


class Envelopes:
    """Seals and opens envelopes with one set of keys.

    ``keys``: none leaves messages unsigned and signatures unchecked. The first key signs, every key is accepted, so a
    key is rotated by adding the new one at the end everywhere, then moving it to the front, then dropping the old one.
    ``limit_bytes``: the most an envelope may have, sealed or opened.

    Raises ``SettingsError`` for a key that is too short to be one.
    """

    def __init__(self, keys: Sequence[bytes] = (), *, limit_bytes: int = LIMIT_BYTES) -> None:
        if any(len(key) < KEY_BYTES_AT_LEAST for key in keys):
            raise SettingsError(
                f"a signing key has fewer than {KEY_BYTES_AT_LEAST} bytes; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        self._keys = tuple(keys)
        self._limit_bytes = limit_bytes
        self._encode = msgspec.json.Encoder().encode
        self._open = msgspec.json.Decoder(_Envelope).decode
        self._decode_work = msgspec.json.Decoder(tuple[Work, ...])
        self._decode_answers = msgspec.json.Decoder(tuple[Answer, ...])

    def seal_work(self, work: Sequence[Work]) -> str:
        """Return the envelope for these commands; raises ``EnvelopeError``."""
        return self._seal("work", work)

    def seal_answers(self, answers: Sequence[Answer]) -> str:
        """Return the envelope for these answers; raises ``EnvelopeError``."""
        return self._seal("answers", answers)

    def open_work(self, data: object) -> tuple[Work, ...]:
        """Return the commands in an envelope that arrived; raises ``EnvelopeError`` for anything that isn't one."""
        return self._unseal("work", data, self._decode_work)

    def open_answers(self, data: object) -> tuple[Answer, ...]:
        """Return the answers in an envelope that arrived; raises ``EnvelopeError`` for anything that isn't one."""
        return self._unseal("answers", data, self._decode_answers)

    def _seal(self, kind: Kind, content: Sequence[Work] | Sequence[Answer]) -> str:
        try:
            body = self._encode(content)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            raise EnvelopeError(f"can't be written as JSON: {error}", reason="encoding") from error
        signature = _sign(self._keys[0], kind, body) if self._keys else ""
        head = f'{{"v":{VERSION},"k":"{kind}","s":"{signature}","b":'
        size = len(head) + len(body) + 1
        if size > self._limit_bytes:
            raise EnvelopeError(
                f"{len(content)} {kind} make a message of {size} bytes; the limit is {self._limit_bytes}",
                reason="oversized",
            )
        return f"{head}{body.decode()}}}"

    def _unseal(self, kind: Kind, data: object, decoder: msgspec.json.Decoder[T]) -> T:
        raw = _bytes(data)
        if len(raw) > self._limit_bytes:
            raise EnvelopeError(
                f"{len(raw)} bytes; the limit is {self._limit_bytes}", reason="oversized"
            )
        try:
            envelope = self._open(raw)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise EnvelopeError(f"not an envelope: {error}") from error
        if envelope.v != VERSION:
            raise EnvelopeError(
                f"envelope version {envelope.v}; this release reads version {VERSION}",
                reason="version",
            )
        if envelope.k != kind:
            raise EnvelopeError(f"{envelope.k!r} where {kind!r} belongs", reason="misplaced")
        self._verify(kind, envelope)
        try:
            return decoder.decode(envelope.b)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise EnvelopeError(f"not {kind}: {error}") from error

    def _verify(self, kind: Kind, envelope: _Envelope) -> None:
        if not self._keys:
            return
        if not envelope.s:
            raise EnvelopeError("unsigned, and a signing key is configured", reason="unsigned")
        given = envelope.s.encode()
        # Every key is tried, so the time taken tells nothing about which one fits.
        fits = [
            hmac.compare_digest(_sign(key, kind, envelope.b).encode(), given) for key in self._keys
        ]
        if not any(fits):
            raise EnvelopeError("the signature doesn't hold", reason="forged")


def _sign(key: bytes, kind: Kind, body: bytes | msgspec.Raw) -> str:
    return hmac.digest(
        key, b"saga:%d:%s:%s" % (VERSION, kind.encode(), bytes(body)), "sha256"
    ).hex()


def _bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            raise EnvelopeError(f"not an envelope: {error}") from error
    raise EnvelopeError(f"not an envelope but {type(data).__name__}")
