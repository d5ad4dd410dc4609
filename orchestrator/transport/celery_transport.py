"""The coordinator's end on Celery: bundles go out as tasks, answers come in on the broker's reply streams."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from celery import Celery

from orchestrator.errors import EnvelopeError
from orchestrator.transport.brokers.opening import coordinator_link
from orchestrator.transport.brokers.port import TaskMessage
from orchestrator.transport.dropped import Dropped
from orchestrator.transport.envelope import LIMIT_BYTES, Envelopes
from orchestrator.transport.parts import seal_in_parts
from orchestrator.transport.port import Bundle, Received
from orchestrator.transport.task_message import TaskMessages

logger = logging.getLogger(__name__)


class CeleryTransport:
    """A ``CoordinatorTransport`` over the app's broker; connects when first used.

    ``namespace``: separates the reply streams of installations that share a broker; workers need the same.
    ``keys``, ``limit_bytes``: as for ``Envelopes``. Raises ``SettingsError`` for a broker that isn't supported.
    """

    def __init__(
        self,
        app: Celery,
        *,
        namespace: str,
        keys: Sequence[bytes] = (),
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._envelopes = Envelopes(keys, limit_bytes=limit_bytes)
        self._messages = TaskMessages(app)
        self._link = coordinator_link(app.conf.broker_url, namespace)
        self._dropped = Dropped("answers", logger)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many replies were thrown away since the start, by reason."""
        return self._dropped.counts

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """Publish each bundle; see the port."""
        errors: list[Exception | None] = [None] * len(bundles)
        messages: list[TaskMessage] = []
        owners: list[int] = []
        for index, bundle in enumerate(bundles):
            try:
                built = self._build(bundle)
            except EnvelopeError as error:
                errors[index] = error
                continue
            messages += built
            owners += [index] * len(built)
        for index, outcome in zip(owners, self._link.publish(messages), strict=True):
            errors[index] = errors[index] or outcome
        return errors

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """Wait for answers or a poke; see the port."""
        received: list[Received] = []
        spoiled: list[tuple[int, str]] = []
        for shard, entry, data in self._link.receive(shards, timeout_s):
            token = (shard, entry)
            try:
                received.append(Received(self._envelopes.open_answers(data), token))
            except EnvelopeError as error:
                self._dropped.add(error.reason, f"shard {shard}: {error}")
                spoiled.append(token)
        if spoiled:
            self._link.forget(spoiled)
        return received

    def acknowledge(self, received: Sequence[Received]) -> None:
        """Forget these answers; see the port."""
        if received:
            self._link.forget([item.token for item in received])

    def release(self, shard: int) -> None:
        """Leave the shard's answers to its next owner; see the port."""
        self._link.release(shard)

    def poke(self, shard: int) -> None:
        """Wake whoever receives for the shard; see the port."""
        self._link.poke(shard)

    def close(self) -> None:
        """Let go of connections; see the port."""
        self._link.close()

    def _build(self, bundle: Bundle) -> list[TaskMessage]:
        return [
            self._messages.build(bundle.queue, sealed, bundle.work)
            for sealed in seal_in_parts(self._envelopes.seal_work, bundle.work)
        ]
