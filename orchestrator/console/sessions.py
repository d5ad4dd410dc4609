"""Session cookies: signed, so that nothing is kept on the server, and bound to a token that must still be valid."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

import msgspec

from orchestrator.console.access import Principal, Token, UnauthenticatedError, holder

COOKIE = "saga_session"


class Session(msgspec.Struct, frozen=True):
    """What a cookie says."""

    token: str
    """The digest of the token it was made with."""
    until: float
    nonce: str


class Sessions:
    """Makes and reads cookies, and the proofs that a page of ours asked for a mutation."""

    def __init__(self, key: bytes, lasts_s: float) -> None:
        self._key = key or secrets.token_bytes(32)
        self._lasts_s = lasts_s

    def begin(self, token_digest: str, now: float) -> str:
        """A cookie's value."""
        session = Session(token_digest, now + self._lasts_s, secrets.token_hex(8))
        body = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode()
        return f"{body}.{self._signed('session', body)}"

    def principal(self, cookie: str, tokens: tuple[Token, ...], now: float) -> Principal:
        """Who the cookie was made for. Raises ``UnauthenticatedError``."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signed("session", body).encode()):
            raise UnauthenticatedError("the session isn't valid any more: sign in again")
        try:
            session = msgspec.json.decode(base64.urlsafe_b64decode(body), type=Session)
        except (binascii.Error, msgspec.MsgspecError) as error:
            raise UnauthenticatedError("the session can't be read: sign in again") from error
        if now >= session.until:
            raise UnauthenticatedError("the session is over: sign in again")
        found = holder(tokens, session.token, now)
        until = min(session.until, found.expires_at or session.until)
        return msgspec.structs.replace(found, ambient=True, seal=cookie, expires_at=until)

    def proof(self, principal: Principal) -> str:
        """What a page of ours has that no other site can know."""
        return self._signed("csrf", principal.seal)

    def proves(self, principal: Principal, given: str) -> bool:
        """Whether a mutation was asked for by a page of ours."""
        return hmac.compare_digest(given.encode(), self.proof(principal).encode())

    def _signed(self, use: str, text: str) -> str:
        return hmac.new(self._key, f"{use}:{text}".encode(), hashlib.sha256).hexdigest()
