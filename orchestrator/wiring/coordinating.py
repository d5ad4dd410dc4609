"""A coordinator, and what tells people of the incidents it opens."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

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
from orchestrator.errors import SettingsError
from orchestrator.journal.port import Journal
from orchestrator.settings import Settings
from orchestrator.views.redaction import Curtains
from orchestrator.wiring.broker import transport
from orchestrator.wiring.second import two_people


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


def coordinator_options(settings: Settings) -> CoordinatorOptions:
    """The coordinator's part of the settings."""
    return CoordinatorOptions(
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
        gather_share=settings.gather_share,
        bundle=BundleOptions(settings.bundle_work_s, settings.bundle, settings.window),
        two_people=two_people(settings),
    )
