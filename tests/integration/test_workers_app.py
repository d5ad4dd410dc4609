"""``celery -A workers.app``: a worker started with Celery's own command serves the participants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orchestrator import wiring
from orchestrator.settings import Settings
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


def test_celerys_own_command_starts_a_worker(tmp_path: Path, redis_url: str) -> None:
    ours = ("SAGA_", "INVENTORY_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
    environment |= {"SAGA_BROKER_URL": redis_url, "SHOP_FOLDER": str(tmp_path)}
    command = ["-A", "workers.app", "worker", "--queues", "saga.inventory", "--concurrency", "1"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *command],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        control = wiring.celery_app(Settings(broker_url=redis_url)).control
        eventually(lambda: control.ping(timeout=0.5, limit=1), 60)
        inspect = control.inspect(timeout=5, limit=1)
        (queues,) = (inspect.active_queues() or {}).values()
        assert [queue["name"] for queue in queues] == ["saga.inventory"]
        (tasks,) = (inspect.registered() or {}).values()
        assert "orchestrator.execute" in tasks
        assert (tmp_path / "inventory.db").exists()  # made before the first process started
    finally:
        worker.terminate()
        worker.wait(30)
