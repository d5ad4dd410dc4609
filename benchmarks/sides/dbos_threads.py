"""The peer's side in one process: DBOS in its fastest mode, eight threads that each call the workflow.

Of its modes measured here (direct calls, ``start_workflow``, a queue), direct calls from threads were the fastest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS

from benchmarks import tally
from benchmarks.sides.serving import serve

STEPS = 5
THREADS = 8


def main(database_url: str) -> None:
    """Serve with DBOS's tables in this database."""
    folder = Path(os.environ[tally.FOLDER_VARIABLE])
    DBOS(
        config={
            "name": "bench",
            "system_database_url": database_url,
            "log_level": "ERROR",
        }
    )

    @DBOS.step()  # type: ignore[untyped-decorator]
    def step(slot: int, n: int) -> int:
        tally.count(slot)
        return n

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    def five_steps(n: int) -> int:
        for slot in range(STEPS):
            n = step(slot, n)
        return n

    DBOS.launch()
    pool = ThreadPoolExecutor(THREADS)

    def run(count: int) -> tuple[int, Sequence[int]]:
        before = tally.totals(folder)
        results = list(pool.map(five_steps, range(count)))
        after = tally.totals(folder)
        returned = sum(1 for number, result in enumerate(results) if number == result)
        return returned, [after[slot] - before[slot] for slot in range(STEPS)]

    serve(run)
    pool.shutdown()
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
