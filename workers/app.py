"""The Celery app, for those who start workers by hand: ``celery -A workers.app worker -Q saga.inventory``.

``saga worker`` makes the same app from the settings.
"""

from __future__ import annotations

from orchestrator.settings import load
from orchestrator.wiring import worker_app

APPS = (
    "workers.inventory",
    "workers.mail",
    "workers.payments",
    "workers.shipping",
    "workers.trips",
)

app = worker_app(load(apps=APPS))
