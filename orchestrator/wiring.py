"""The composition root: settings in, running parts out. Nothing else in the package builds what it uses."""

from __future__ import annotations

import importlib
import os
import pkgutil
import socket
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import Celery

from orchestrator.client import Client, ClientOptions
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.coordinator.metering import Meter
from orchestrator.coordinator.notices import (
    Channel,
    LogChannel,
    NoticeOptions,
    Notifier,
    SagaChannel,
)
from orchestrator.coordinator.outbox import BundleOptions
from orchestrator.coordinator.webhook import Webhook, WebhookOptions
from orchestrator.definition.saga import Saga
from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.exposing import serve_counts, worker_counts
from orchestrator.journal.port import Journal
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import check_schema, upgrade
from orchestrator.kernel.second import TwoPeople
from orchestrator.participant.declare import Participant
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import RemoteService, Service
from orchestrator.participant.two_phase.sweep import SweepOptions
from orchestrator.settings import Settings
from orchestrator.transport.celery_app import make_celery
from orchestrator.transport.celery_transport import CeleryTransport
from orchestrator.transport.local import LocalTransport
from orchestrator.transport.presence import AskedBroker
from orchestrator.transport.worker import install
from orchestrator.views.redaction import Curtains

if TYPE_CHECKING:
    from fastapi import FastAPI

    from orchestrator.console import ConsoleOptions


class Definitions(NamedTuple):
    """What the user's modules define."""

    sagas: Mapping[str, Saga[..., Any]]
    services: Sequence[Service]
    contracts: Sequence[Participant[..., Any]] = ()
    """Participants of other repositories, declared with ``remote``."""


def definitions(apps: Sequence[str]) -> Definitions:
    """Import modules, and the modules of packages, and collect the sagas, services and contracts in them."""
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    sagas: dict[str, Saga[..., Any]] = {}
    services: dict[str, Service] = {}
    contracts: dict[int, Participant[..., Any]] = {}
    for module in _modules(apps):
        for value in vars(module).values():
            if isinstance(value, Saga):
                _add(sagas, value.name, value, "saga")
            elif isinstance(value, Service):
                _add(services, value.name, value, "service")
            elif isinstance(value, Participant) and value.is_remote:
                contracts[id(value)] = value
            elif isinstance(value, RemoteService):
                contracts |= {id(one): one for one in value.participants.values()}
    return Definitions(sagas, list(services.values()), list(contracts.values()))


def open_journal(settings: Settings) -> SqlJournal:
    """The journal; its schema must be this release's. Raises ``SchemaError`` naming the command that mends it."""
    return SqlJournal(settings.journal_url)


def check_journal(settings: Settings) -> None:
    """Raise ``SchemaError`` unless the journal has this release's schema."""
    journal = SqlJournal(settings.journal_url)
    try:
        check_schema(journal.engine)
    finally:
        journal.close()


def make_journal(settings: Settings) -> SqlJournal:
    """The journal, its schema created or upgraded first: for demos, development and tests."""
    upgrade(settings.journal_url, shards=settings.shards)
    return SqlJournal(settings.journal_url)


def celery_app(settings: Settings) -> Celery:
    """The Celery app, for publishing and for workers."""
    return make_celery(settings.broker_url)


def transport(settings: Settings) -> CeleryTransport:
    """The coordinator's end of the broker."""
    return CeleryTransport(
        celery_app(settings),
        namespace=settings.namespace,
        keys=signing_keys(settings),
        limit_bytes=_message_limit_bytes(settings),
    )


def client(settings: Settings, journal: Journal, sagas: Mapping[str, Saga[..., Any]]) -> Client:
    """A client that wakes the coordinator through the broker; its connection there is closed when it is gone."""
    link = transport(settings)
    made = Client(journal, sagas, link.poke, client_options(settings))
    weakref.finalize(made, link.close).atexit = False  # at its end, the process closes everything
    return made


def coordinator(settings: Settings, journal: Journal, meter: Meter | None = None) -> Coordinator:
    """A coordinator for this process; ``meter`` counts for it, as one of ``measured``."""
    options = coordinator_options(settings)
    return Coordinator(journal, transport(settings), options, time.time, meter)


def notifier(
    settings: Settings,
    journal: Journal,
    sagas: Mapping[str, Saga[..., Any]],
    poke: Callable[[int], None],
) -> Notifier:
    """What tells people of incidents. Raises ``SettingsError`` for a saga that isn't there."""
    given = settings.incidents
    channels: list[Channel] = [LogChannel()]
    if given.saga:
        saga = sagas.get(given.saga)
        if saga is None:
            raise SettingsError(
                f"incidents.saga: no saga of apps is called {given.saga!r}; name its module in apps"
            )
        channels.append(SagaChannel(journal, saga, poke))
    if given.webhook_url and given.webhook_key is not None:
        key = given.webhook_key.get_secret_value().encode()
        channels.append(Webhook(WebhookOptions(given.webhook_url, key, given.webhook_private)))
    options = NoticeOptions(given.every_s, given.look_s)
    return Notifier(journal, channels, options, time.time, Curtains(journal).cluster)


def worker_app(settings: Settings) -> Celery:
    """A Celery app that carries out the participants of the settings' modules."""
    services = definitions(settings.apps).services
    if not services:
        raise SettingsError(
            "no service in apps: name the modules that define participants, as SAGA_APPS=mypackage"
        )
    app = celery_app(settings)
    counts = worker_counts(settings, services)
    executor = WorkExecutor(Registry.of(services), sweep_options(settings), counts)
    install(
        app,
        executor,
        namespace=settings.namespace,
        keys=signing_keys(settings),
        limit_bytes=_message_limit_bytes(settings),
        on_dropped=None if counts is None else counts.dropped,
    )
    if counts is not None:
        serve_counts(settings, executor, counts)
    return app


def queues(services: Sequence[Service]) -> list[str]:
    """Every queue that participants of these services listen to."""
    return sorted(
        {action.spec.queue for service in services for action in service.participants.values()}
    )


class Embedded(NamedTuple):
    """Everything in one process."""

    client: Client
    coordinator: Coordinator
    journal: Journal
    poke: Callable[[int], None]
    """Wakes the coordinator for a shard: for further clients, and for ``console_app``."""


@contextmanager
def embedded(
    definitions: Definitions,
    settings: Settings,
    *,
    threads: int = 4,
    journal: Journal | None = None,
    meter: Meter | None = None,
) -> Iterator[Embedded]:
    """Run sagas in this process: a thread for the coordinator, ``threads`` for participants, no broker.

    For tests and for programs that want durable sagas without a deployment. The journal is a real one. ``meter``
    counts for the coordinator: a ``PrometheusMeter`` has a registry to serve, or to add to the program's own.
    """
    own = journal is None
    store = journal or make_journal(settings)
    local = LocalTransport(
        WorkExecutor(Registry.of(definitions.services)),
        threads=threads,
    )
    driver = Coordinator(store, local, coordinator_options(settings), time.time, meter)
    teller = notifier(settings, store, definitions.sagas, local.poke)
    thread = threading.Thread(target=driver.run, name="saga-coordinator", daemon=True)
    thread.start()
    teller.start()
    try:
        client = Client(store, definitions.sagas, local.poke, client_options(settings))
        yield Embedded(client, driver, store, local.poke)
    finally:
        teller.stop()
        driver.stop()
        local.poke(0)
        thread.join()
        local.close()
        if own:
            store.close()


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
    try:
        from orchestrator.console import console  # noqa: PLC0415 - all else works without the extra
        from orchestrator.console.around import Surroundings  # noqa: PLC0415
        from orchestrator.console.doubts import Doubts  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("orchestrator"):
            raise
        raise SettingsError(
            f"the console needs {error.name}: pip install 'saga-orchestrator[console]'"
        ) from error
    wake = transport(settings).poke if poke is None else poke

    def clients(actor: str) -> Client:
        return Client(journal, sagas, wake, ClientOptions(actor, settings.payload_limit_bytes))

    doubts = Doubts(services, journal, clients(settings.actor).state, settings.in_doubt_s)
    broker = AskedBroker(celery_app(settings), settings.namespace) if poke is None else None
    around = Surroundings(services, broker, doubts)
    options = console_options(settings, insecure_dev=insecure_dev)
    return console(journal, clients, sagas, options, around=around)


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


def client_options(settings: Settings) -> ClientOptions:
    """The client's part of the settings."""
    return ClientOptions(settings.actor, settings.payload_limit_bytes)


def coordinator_options(settings: Settings) -> CoordinatorOptions:
    """The coordinator's part of the settings."""
    return CoordinatorOptions(
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
        bundle=BundleOptions(settings.bundle_work_s, settings.bundle, settings.window),
        two_people=two_people(settings),
    )


def two_people(settings: Settings) -> TwoPeople:
    """What takes a second person."""
    given = settings.second_person
    return TwoPeople(
        operations=frozenset(given.operations),
        sagas=frozenset(given.sagas),
        approvers=frozenset(given.approvers),
        expires_s=given.expires_s,
    )


def sweep_options(settings: Settings) -> SweepOptions:
    """The sweep's part of the settings."""
    return SweepOptions(settings.sweep_s, settings.in_doubt_s, settings.in_doubt_s * 5)


def signing_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys messages are signed with, the first one, and accepted with, all."""
    return tuple(key.get_secret_value().encode() for key in settings.signing_keys)


def _message_limit_bytes(settings: Settings) -> int:
    return settings.payload_limit_bytes * 4


def _modules(apps: Sequence[str]) -> Iterator[ModuleType]:
    for name in apps:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise
            raise SettingsError(
                f"no module named {name!r}: is it in the working folder or installed?"
            ) from error
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if not found.name.startswith("_"):
                yield importlib.import_module(f"{name}.{found.name}")


def _add(known: dict[str, Any], name: str, value: Any, what: str) -> None:
    other = known.setdefault(name, value)
    if other is not value:
        raise DefinitionError(f"two {what}s are called {name!r}: rename one")
