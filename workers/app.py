"""The Celery app, for those who start workers by hand: ``celery -A workers.app worker -Q saga.inventory``."""

from __future__ import annotations

from orchestrator.settings import load
from orchestrator.wiring import worker_app

app = worker_app(load())
