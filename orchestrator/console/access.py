"""Who may do what: roles, tokens, and the grants of people whom a proxy vouches for.

Everything is denied unless it is granted here. A token is 32 random bytes, so its plain SHA-256 keeps it as well as a
slow hash would.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from enum import StrEnum

import msgspec

from orchestrator.errors import SagaError, SettingsError

TOKEN_PREFIX = "saga_"  # noqa: S105 - what every token begins with
_TOKEN_BYTES = 32


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Look, without the values of inputs, arguments and results."""
    OPERATOR = "operator"
    """See values; launch, signal and repair."""
    ADMIN = "admin"
    """See who has access."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do what ``other`` may."""
        return _RANK[self] >= _RANK[other]


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


class Token(msgspec.Struct, frozen=True):
    """An API token as it is configured: its hash, never itself."""

    name: str
    """Recorded as the actor of what is done with it."""
    digest: str
    """SHA-256 in hex."""
    role: Role
    sagas: tuple[str, ...] = ()
    """Limited to these; empty for all."""
    expires_at: float | None = None
    """Epoch seconds."""


class Grant(msgspec.Struct, frozen=True):
    """What a person or group that a proxy names may do."""

    role: Role
    user: str = ""
    group: str = ""
    sagas: tuple[str, ...] = ()


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that signs people in, with OpenID Connect perhaps, and names them in headers."""

    networks: tuple[str, ...]
    """Where it speaks from; its headers mean nothing from anywhere else."""
    user_header: str = "x-forwarded-user"
    groups_header: str = "x-forwarded-groups"
    """Names of groups, separated by commas."""
    grants: tuple[Grant, ...] = ()


class Principal(msgspec.Struct, frozen=True):
    """Somebody who was let in."""

    name: str
    role: Role
    sagas: tuple[str, ...] = ()
    ambient: bool = False
    """A browser sends the credentials by itself, so a mutation must prove that a page of ours asked for it."""
    seal: str = ""
    """What the proof is made of."""
    expires_at: float | None = None

    def may_see(self, saga: str) -> bool:
        """Whether runs of this saga exist for them."""
        return not self.sagas or saga in self.sagas


class UnauthenticatedError(SagaError):
    """No credentials, or none that are valid."""


class ForbiddenError(SagaError):
    """The credentials are valid and not enough."""


def new_token() -> str:
    """A token nobody else has."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def digest(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer(tokens: tuple[Token, ...], secret: str, now: float) -> Principal:
    """Who a token stands for. Raises ``UnauthenticatedError``."""
    return _principal(_matching(tokens, digest(secret)), now)


def holder(tokens: tuple[Token, ...], kept: str, now: float) -> Principal:
    """Who a token stands for, by its digest: what a session remembers."""
    return _principal(_matching(tokens, kept), now)


def vouched(proxy: Proxy, peer: str, user: str, groups: str) -> Principal:
    """Who the proxy at ``peer`` says it is. Raises ``UnauthenticatedError``, ``ForbiddenError``."""
    if not user or not is_within(peer, proxy.networks):
        raise UnauthenticatedError("no user was named by a trusted proxy")
    member_of = {group.strip() for group in groups.split(",") if group.strip()}
    grants = [g for g in proxy.grants if g.user == user or (g.group and g.group in member_of)]
    if not grants:
        raise ForbiddenError(f"{user} has no role here: an administrator can grant one")
    best = max(grants, key=lambda grant: _RANK[grant.role])
    same = [grant for grant in grants if grant.role is best.role]
    sagas = () if any(not g.sagas for g in same) else tuple({s for g in same for s in g.sagas})
    return Principal(user, best.role, tuple(sorted(sagas)), ambient=True, seal=f"user:{user}")


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of these networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network) for network in networks)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can only be reached from the machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_networks(proxy: Proxy) -> None:
    """Raise ``SettingsError`` unless the proxy's networks are ones."""
    if not proxy.networks:
        raise SettingsError("console.proxy.networks: name where the proxy speaks from")
    for network in proxy.networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsError(f"console.proxy.networks: {error}") from error


def _matching(tokens: tuple[Token, ...], kept: str) -> Token:
    found = [token for token in tokens if secrets.compare_digest(token.digest, kept)]
    if not found:
        raise UnauthenticatedError("this token isn't known")
    return found[0]


def _principal(token: Token, now: float) -> Principal:
    if token.expires_at is not None and now >= token.expires_at:
        raise UnauthenticatedError(f"the token {token.name!r} has expired")
    return Principal(token.name, token.role, token.sagas, expires_at=token.expires_at)
