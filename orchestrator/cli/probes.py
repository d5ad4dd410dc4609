"""What the doctor asks of the world: the broker, its queues, the database's clock and schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import SchemaError

if TYPE_CHECKING:
    from orchestrator.settings import Settings
    from orchestrator.transport.safety import BrokerState, QueueState


class Probe(Protocol):
    """The questions. All raise the package's errors if there is no answer."""

    def schema(self) -> None:
        """Raise ``SchemaError`` unless the journal's schema is this release's."""
        ...

    def database_time(self) -> float | None:
        """The database's clock, in epoch seconds; None where it is this machine's own."""
        ...

    def broker(self) -> BrokerState:
        """What the broker says of itself; raises ``UnsafeBrokerError`` for one that loses messages."""
        ...

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        """How much waits in these queues, and who reads them."""
        ...


class RealProbe:
    """Asks the servers of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def schema(self) -> None:
        """See the port."""
        from orchestrator import wiring  # noqa: PLC0415 - start-up time

        wiring.check_journal(self._settings)

    def database_time(self) -> float | None:
        """See the port."""
        from sqlalchemy import text  # noqa: PLC0415 - start-up time

        from orchestrator import wiring  # noqa: PLC0415 - start-up time

        journal = wiring.open_journal(self._settings)
        try:
            if journal.engine.dialect.name != "postgresql":
                return None
            with journal.engine.connect() as connection:
                now = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
            if now is None:
                raise SchemaError("the database doesn't tell its time")
            return float(now)
        finally:
            journal.close()

    def broker(self) -> BrokerState:
        """See the port."""
        from orchestrator.transport.safety import require_safe_broker  # noqa: PLC0415 - start-up time

        return require_safe_broker(self._settings.broker_url)

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        """See the port."""
        from orchestrator import wiring  # noqa: PLC0415 - start-up time
        from orchestrator.transport.safety import queue_states  # noqa: PLC0415 - start-up time

        return queue_states(wiring.celery_app(self._settings), names)
