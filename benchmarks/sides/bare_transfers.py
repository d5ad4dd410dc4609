"""The bare loop: threads that each book in both databases, prepare both, commit both, and write nothing down.

SQLAlchemy's own two-phase session does it, as anybody would who has no coordinator: if this process died between the
two commits, half of a transfer would stay prepared and nobody would know what to do with it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from benchmarks.ledgers import ACCOUNTS, BOOK
from benchmarks.sides.serving import serve


def main(source_url: str, target_url: str, threads: int) -> None:
    """Serve with so many threads."""
    source, target = (create_engine(url, pool_size=threads) for url in (source_url, target_url))
    pool = ThreadPoolExecutor(threads)

    def transfer(_number: int) -> bool:
        debited, credited = random.randint(1, ACCOUNTS), random.randint(1, ACCOUNTS)
        with Session(twophase=True) as session:
            done = _book(session, source, debited, -1) + _book(session, target, credited, 1)
            session.commit()
        return done == 2

    def run(count: int) -> tuple[int, Sequence[int]]:
        return sum(pool.map(transfer, range(count))), []

    run(threads)
    serve(run)
    pool.shutdown()


def _book(session: Session, engine: Engine, number: int, cents: int) -> int:
    values = {"number": number, "cents": cents}
    found = session.execute(text(BOOK), values, bind_arguments={"bind": engine}).all()
    return len(found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
