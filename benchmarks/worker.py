"""The Celery worker under measurement: our participants, and on the same processes the five tasks of the peer's chain.

celery -A benchmarks.worker worker --pool prefork --concurrency 2
"""

from __future__ import annotations

import os

from benchmarks.chain import BACKEND_VARIABLE, register
from orchestrator.settings import load
from orchestrator.wiring import worker_app

app = worker_app(load())
# For the last task of a chain; ours has no use for it.
app.conf.update(result_backend=os.environ[BACKEND_VARIABLE])
register(app)
