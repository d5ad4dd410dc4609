"""The Celery app that carries work: settings chosen from what was seen to lose messages, and nothing that costs.

``docs/transport.md`` says what each setting is for.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from orchestrator.transport.brokers.address import BrokerAddress, parse_broker
from orchestrator.transport.celery_worker import LeanWorker, PoolWatch, WorkConsumer

EXECUTE_TASK = "orchestrator.execute"


def make_celery(broker_url: str, *, name: str = "orchestrator", **settings: Any) -> Celery:
    """Return a Celery app for a broker, for publishing work and for workers.

    ``settings`` are Celery's own, in lower case, and go before ours. Raises ``SettingsError`` for a broker that isn't
    supported. Connects to nothing.
    """
    address = parse_broker(broker_url)
    app = _SagaCelery(name, broker=address.url, set_as_current=False)
    app.conf.update({**_common(), **_for_broker(address), **settings})
    app.steps["worker"].add(PoolWatch)
    return app


class _SagaCelery(Celery):
    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        return self.subclass_with_self(LeanWorker)


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
        "worker_consumer": f"{WorkConsumer.__module__}:{WorkConsumer.__name__}",
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
