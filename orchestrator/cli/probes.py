"""What the doctor asks of the world: the broker, the workers, the database's clock and schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from orchestrator.errors import SchemaError, TransportUnavailableError

if TYPE_CHECKING:
    from orchestrator.settings import Settings

WORKERS_ANSWER_S = 1.5
"""How long workers are given to say which queues they serve."""
SAFE_POLICY = "noeviction"


class Broker(msgspec.Struct, frozen=True):
    """What the broker says of itself."""

    kind: str
    policy: str
    """What a Redis or Valkey does when its memory is full; empty for other brokers, or if it doesn't tell."""


class Probe(Protocol):
    """The questions. Those about servers raise the package's errors if there is no answer."""

    def schema(self) -> None:
        """Raise ``SchemaError`` unless the journal's schema is this release's."""
        ...

    def database_time(self) -> float | None:
        """The database's clock, in epoch seconds; None where it is this machine's own."""
        ...

    def broker(self) -> Broker:
        """Raise ``TransportUnavailableError`` if it can't be reached."""
        ...

    def served_queues(self) -> dict[str, list[str]]:
        """Each worker that answers, with its queues."""
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

    def broker(self) -> Broker:
        """See the port."""
        from orchestrator.transport.brokers.address import parse_broker  # noqa: PLC0415

        address = parse_broker(self._settings.broker_url)
        if address.kind == "redis":
            return Broker("redis", _policy(address.url, address.redacted))
        from orchestrator import wiring  # noqa: PLC0415 - start-up time

        with wiring.celery_app(self._settings).connection_for_read() as connection:
            try:
                connection.connect()
            except Exception as error:  # the client library's own, by broker
                if not isinstance(error, OSError | connection.connection_errors):
                    raise
                raise TransportUnavailableError(
                    f"the broker at {address.redacted} can't be reached: {error}"
                ) from error
        return Broker("rabbitmq", "")

    def served_queues(self) -> dict[str, list[str]]:
        """See the port."""
        from orchestrator import wiring  # noqa: PLC0415 - start-up time

        inspect = wiring.celery_app(self._settings).control.inspect(timeout=WORKERS_ANSWER_S)
        answers = inspect.active_queues() or {}
        return {worker: [queue["name"] for queue in queues] for worker, queues in answers.items()}


def _policy(url: str, shown: str) -> str:
    import redis  # noqa: PLC0415 - start-up time

    from orchestrator.transport.brokers.redis import connect  # noqa: PLC0415 - start-up time

    client = connect(url)
    try:
        client.ping()
        return str(client.info("memory").get("maxmemory_policy", ""))
    except redis.RedisError as error:
        raise TransportUnavailableError(
            f"the broker at {shown} can't be reached: {error}"
        ) from error
    finally:
        client.close()
