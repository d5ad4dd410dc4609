"""The Celery app that carries work: settings chosen from what was seen to lose messages, and nothing that costs.

``docs/transport.md`` says what each setting is for.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.apps.worker import Worker
from celery.worker.consumer import Consumer

from orchestrator.transport.brokers.address import BrokerAddress, parse_broker

logger = logging.getLogger(__name__)

EXECUTE_TASK = "orchestrator.execute"
POOL_WATCH_EVERY_S = 0.5


def make_celery(broker_url: str, *, name: str = "orchestrator", **settings: Any) -> Celery:
    """Return a Celery app for a broker, for publishing work and for workers.

    ``settings`` are Celery's own, in lower case, and go before ours. Raises ``SettingsError`` for a broker that isn't
    supported. Connects to nothing.
    """
    address = parse_broker(broker_url)
    app = _SagaCelery(name, broker=address.url, set_as_current=False)
    app.conf.update({**_common(), **_for_broker(address), **settings})
    app.steps["worker"].add(_PoolWatch)
    return app


class _LeanWorker(Worker):
    """A worker that tells no other worker about itself: nothing of ours listens, and mingling delays its start 1 s.

    Remote control (``celery inspect``) stays, and so do events where they are asked for (``-E``).
    """

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        quiet = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(app, hostname, **{**options, **quiet})


class WorkConsumer(Consumer):
    """Reads the queues; outlives what a broker's death or a foreign message does to Celery's own reader."""

    loop: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.loop = functools.partial(_reconnecting, self.loop)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The broker is gone. What this worker holds goes on; nothing is pushed back.

        On Redis, Celery would try to: it would run again what is running, and fail where Redis is down.
        """
        transport = self.connection.transport if self.connection else None
        for channel in getattr(transport, "channels", None) or ():
            channel.do_restore = False
        super().on_connection_error_after_connected(exc)


def _reconnecting(loop: Callable[..., None], *arguments: Any) -> None:
    """Run Celery's event loop; what it can't read of a message ends the connection, not the worker.

    On Redis anything can be pushed onto a queue. It is off the queue when reading it fails, so it does no harm again.
    """
    try:
        loop(*arguments)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        logger.exception("dropped what is no Celery message; reconnecting")
        raise ConnectionAbortedError(f"unreadable message: {error}") from error


class _SagaCelery(Celery):
    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        return self.subclass_with_self(_LeanWorker)


class _PoolWatch(bootsteps.StartStopStep):
    """Looks for dead worker processes twice a second.

    Celery is told by the closing of a pipe, but a process that was killed closes it a moment before it can be reaped.
    When that moment is missed, the next look is Celery's own, every 5 s.
    """

    requires = ("celery.worker.components:Pool",)
    _timer: Any = None

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Set the timer; Celery calls this again after every reconnection."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = hub.call_repeatedly(POOL_WATCH_EVERY_S, worker.pool.maintain_pool)


def _common() -> dict[str, Any]:
    return {
        # JSON only: nothing that arrives is ever unpickled.
        "accept_content": ["json"],
        "task_serializer": "json",
        "event_serializer": "json",
        # Answers travel on streams of our own.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_track_started": False,
        # A message that was started and not finished is unknown, never run again by the broker's own doing.
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # One message in work and one waiting per process: what waits behind a slow one can't go to an idle worker.
        "worker_prefetch_multiplier": 2,
        "worker_consumer": f"{__name__}:{WorkConsumer.__name__}",
        "worker_disable_rate_limits": True,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
        # A worker outlives its broker's restart, however long that takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 4,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_publish_retry": False,
    }


def _for_broker(address: BrokerAddress) -> dict[str, Any]:
    if address.kind == "rabbitmq":
        return {
            "broker_heartbeat": 30,
            "broker_transport_options": {"confirm_publish": True},
        }
    return {
        "broker_transport_options": {
            # Celery's imitation of acknowledgements on Redis gives nothing that the deadlines don't, runs things
            # twice when clocks differ, and is half of a worker's cost per message.
            "ack_emulation": False,
            # One list per queue instead of one per priority.
            "priority_steps": [0],
            "socket_timeout": 15,
            "socket_connect_timeout": 4,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
