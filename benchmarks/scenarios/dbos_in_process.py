"""Five-step sagas in one process against DBOS workflows of five steps, both on the same PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import make_url

from benchmarks import tally
from benchmarks.figure import Figure, Target, in_pairs
from benchmarks.processes import Process
from benchmarks.sides.serving import ask
from benchmarks.size import Size
from benchmarks.stack import Servers


def throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """At saturation: eight threads for participants here, eight threads that call workflows there."""
    with ExitStack() as cleanup:
        ours = _side(servers, cleanup, "benchmarks.sides.embedded", "postgresql+psycopg")
        peer = _side(servers, cleanup, "benchmarks.sides.dbos_threads", "postgresql")
        for side in (ours, peer):
            ask(side, size.warm_up)
        mine, theirs, ratio = in_pairs(
            size.pairs,
            lambda: size.embedded_runs / ask(ours, size.embedded_runs).wall_s,
            lambda: size.dbos_runs / ask(peer, size.dbos_runs).wall_s,
        )
    settings = {
        "threads": 8,
        "steps": 5,
        "fsync": "on",
        "pairs": size.pairs,
        "our_runs": size.embedded_runs,
        "peer_runs": size.dbos_runs,
        "our_launches": "100 a transaction",
        "peer_mode": "direct calls from threads",
    }
    name = "dbos_in_process_throughput"
    yield Figure(name, mine, "runs/s", settings, theirs, ratio, Target(25.0, "more"))


def _side(servers: Servers, cleanup: ExitStack, module: str, driver: str) -> Process:
    url = cleanup.enter_context(servers.postgres.database())
    folder = servers.folder / module.rpartition(".")[2]
    folder.mkdir()
    plain = make_url(url).set(drivername=driver).render_as_string(hide_password=False)
    env = {tally.FOLDER_VARIABLE: str(folder)}
    side = Process(["-m", module, plain], Path(folder / "log"), env)
    cleanup.callback(side.stop)
    if side.hear() != "ready":
        raise RuntimeError(side.tail())
    return side
