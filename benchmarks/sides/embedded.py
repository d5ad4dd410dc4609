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
            while tally.totals(folder)[STEPS - 1] < before[STEPS - 1] + count:
                time.sleep(0.005)
            while (done := completed() - completed_before) < count:
                time.sleep(0.002)
            after = tally.totals(folder)
            return done, [after[slot] - before[slot] for slot in range(STEPS)]

        serve(run)


if __name__ == "__main__":
    main(sys.argv[1])
