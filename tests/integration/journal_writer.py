"""A writer in a process of its own: two events a turn, until it has made its turns, or is fenced (exit code 3)."""

from __future__ import annotations

import sys

from orchestrator.errors import FencedError
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import done, launched, row, run_in, write


def main(url: str, shard: int, turns: int) -> int:
    journal = SqlJournal(url)
    run_id = run_in(shard)
    tenure = journal.begin_tenure(shard, "writer", 1.0)
    tenure = journal.append([write(tenure, [(run_id, launched(run_id))], [row(run_id)])])[0]
    for turn in range(turns):
        at = float(tenure.next_offset)
        events = [(run_id, done(at=at)), (run_id, done(at=at))]
        try:
            turn_write = write(tenure, events, [row(run_id, updated_at=at)], cursor=(turn, at))
            tenure = journal.append([turn_write])[0]
        except FencedError:
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
