"""The web console with its API; imported lazily, as it needs the extra ``console``."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from orchestrator.client import Client
from orchestrator.definition.saga import Saga
from orchestrator.journal.port import Journal
from orchestrator.participant.service import Service
from orchestrator.settings import Settings
from orchestrator.transport.presence import AskedBroker
from orchestrator.wiring.broker import celery_app, transport
from orchestrator.wiring.clients import client_options
from orchestrator.wiring.extras import needing

if TYPE_CHECKING:
    from fastapi import FastAPI

    from orchestrator.console import ConsoleOptions


def console_app(
    settings: Settings,
    journal: Journal,
    sagas: Mapping[str, Saga[..., Any]],
    *,
    insecure_dev: bool = False,
    poke: Callable[[int], None] | None = None,
    services: Sequence[Service] = (),
) -> FastAPI:
    """The console, to serve or to mount. ``poke`` wakes a coordinator of this process instead of the broker's, which
    then isn't asked for its queues; ``services`` are those whose databases are asked what is in doubt.

    Needs the extra ``console``. Raises ``SettingsError``.
    """
    with needing("console", "the console needs"):
        from orchestrator.console import console  # noqa: PLC0415 - all else works without the extra
        from orchestrator.console.around import Surroundings  # noqa: PLC0415
        from orchestrator.console.doubts import Doubts  # noqa: PLC0415
        from orchestrator.console.rulings import Rulings  # noqa: PLC0415
    link = None
    if poke is None:
        link = transport(settings)
        poke = link.poke
    wake = poke
    known = client_options(settings)

    def clients(actor: str) -> Client:
        return Client(journal, sagas, wake, replace(known, actor=actor))

    rulings = Rulings(journal, known.two_people)
    doubts = Doubts(services, journal, clients(settings.actor).state, settings.in_doubt_s, rulings)
    broker = AskedBroker(celery_app(settings), settings.namespace) if link is not None else None
    around = Surroundings(services, broker, doubts)
    options = console_options(settings, insecure_dev=insecure_dev)
    made = console(journal, clients, sagas, options, around=around)
    if link is not None:
        # An app that mounts it tells it of no end.
        weakref.finalize(made, link.close).atexit = False
    return made


def console_options(settings: Settings, *, insecure_dev: bool = False) -> ConsoleOptions:
    """The console's part of the settings."""
    from orchestrator.console import ConsoleOptions, Grant, Proxy, Role, Token  # noqa: PLC0415

    given = settings.console
    tokens = tuple(
        Token(
            name=token.name,
            digest=token.sha256,
            role=Role(token.role),
            sagas=token.sagas,
            expires_at=None if token.expires is None else token.expires.timestamp(),
        )
        for token in given.tokens
    )
    proxy = given.proxy
    return ConsoleOptions(
        tokens=tokens,
        proxy=None
        if proxy is None
        else Proxy(
            networks=proxy.networks,
            user_header=proxy.user_header,
            groups_header=proxy.groups_header,
            grants=tuple(
                Grant(Role(grant.role), grant.user, grant.group, grant.sagas)
                for grant in proxy.grants
            ),
        ),
        insecure_dev=insecure_dev,
        session_key=b""
        if given.session_key is None
        else given.session_key.get_secret_value().encode(),
        session_s=given.session_s,
        https=given.https,
        viewers_see_values=given.viewers_see_values,
        redacted_shown_to=None
        if given.redacted_shown_to == "nobody"
        else Role(given.redacted_shown_to),
        mutations_per_min=given.mutations_per_min,
        archive_folder=settings.archive_folder,
    )
