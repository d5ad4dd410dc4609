"""Our side in one process: the embedded orchestrator, in-process transport, eight threads, a journal in PostgreSQL."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tally
from benchmarks.sides.serving import serve
from benchmarks.steps import STEPS, five_steps
from orchestrator.settings import load
from orchestrator.wiring import definitions, embedded

BATCH = 100
LOOK_EVERY_S = 0.02
"""Rarely: looking takes time from the process that is measured."""
GIVE_UP_S = 60.0


def main(journal_url: str) -> None:
    """Serve with the journal at this URL."""
    folder = Path(os.environ[tally.FOLDER_VARIABLE])
    settings = load(journal_url=journal_url)
    with embedded(definitions(["benchmarks.steps"]), settings, threads=8) as it:

        def completed() -> int:
            return it.journal.counts().get("five_steps", {}).get("completed", 0)

        def run(count: int) -> tuple[int, Sequence[int]]:
            before, completed_before = tally.totals(folder), completed()
            for start in range(0, count, BATCH):
                numbers = range(start, min(start + BATCH, count))
                it.client.launch_many(five_steps, [(number,) for number in numbers])
            give_up_at = time.monotonic() + GIVE_UP_S
            while (done := completed() - completed_before) < count:
                if time.monotonic() > give_up_at:
                    break  # the numbers will show it
                time.sleep(LOOK_EVERY_S)
            after = tally.totals(folder)
            return done, [after[slot] - before[slot] for slot in range(STEPS)]

        serve(run)


if __name__ == "__main__":
    main(sys.argv[1])
