"""A journal with very many finished runs, written by the database itself in the shape the program writes.

Rows and events are plausible, not replayable: what is measured is how they are found. Runs of five sagas, launched over
a hundred days, a tenth of them compensated, each with a key, every fourth with a tag; 200 are open, 40 stuck.
"""

from __future__ import annotations

from sqlalchemy import Connection

SAGAS = ("place_order", "book_trip", "transfer", "onboard", "refund")
DAYS = 100
OPEN, STUCK = 200, 40

_NAME = f"CASE n % 5 {' '.join(f'WHEN {i} THEN {name!r}' for i, name in enumerate(SAGAS))} END"
_SERIES = {
    "postgresql": "generate_series(0, {runs} - 1) AS s(n)",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {runs} - 1) SELECT n FROM s)",
}
_ID = {
    "postgresql": "md5(n::text)",
    "sqlite": "printf('%08x%08x%08x%08x', (n * 2654435761) % 4294967296, n, n * 40503 % 65536, n)",
}


def fill(connection: Connection, runs: int, shards: int, now: float) -> None:
    """Add so many runs, the newest of which was launched just before ``now``."""
    kind = connection.dialect.name
    series, run_id = _SERIES[kind].format(runs=runs), _ID[kind]
    at = f"{now} - {DAYS * 86_400.0} * ({runs} - n) / {runs}"
    status = (
        f"CASE WHEN n >= {runs - STUCK} THEN 'stuck' WHEN n >= {runs - OPEN} THEN 'running'"
        " WHEN n % 10 = 3 THEN 'compensated' ELSE 'completed' END"
    )
    parked = f"CASE WHEN n >= {runs - STUCK} THEN '[\"charge\"]' ELSE '[]' END"
    rows = f"""
        INSERT INTO saga_run (run_id, shard, saga, version, plan, status, open, launched_at, updated_at, key, tags,
            ended_at, result, reason, steps, parked)
        SELECT {run_id}, n % {shards}, {_NAME}, 1, 'plan', {status}, n >= {runs - OPEN}, {at}, {at} + 3, 'order-' || n,
            CASE WHEN n % 4 = 0 THEN '{{"region":"' || (n % 50) || '"}}' ELSE '{{}}' END,
            CASE WHEN n < {runs - OPEN} THEN {at} + 3 END, '{{"receipt":"r-' || n || '"}}',
            CASE WHEN n >= {runs - STUCK} THEN 'charge: ConnectionError: no route to host'
                WHEN n % 10 = 3 THEN 'charge: card declined' ELSE '' END,
            {parked}, {parked}
        FROM {series}"""
    keys = f"INSERT INTO saga_launch_key (saga, key, run_id) SELECT {_NAME}, 'order-' || n, {run_id} FROM {series}"
    tags = f"""
        INSERT INTO saga_run_tag (name, value, launched_at, run_id)
        SELECT 'region', CAST(n % 50 AS text), {at}, {run_id} FROM {series} WHERE n % 4 = 0"""
    tally = """
        INSERT INTO saga_tally (shard, saga, status, archived, runs)
        SELECT shard, saga, status, false, count(*) FROM saga_run WHERE NOT saga_run.open
        GROUP BY shard, saga, status"""
    events = [
        f"""
        INSERT INTO saga_event (shard, "offset", run_id, type, schema_version, at, actor, data, hash)
        SELECT n % {shards}, n / {shards} * {len(_EVENTS)} + {place}, {run_id}, '{name}', 1, {at} + {place - 1}, '',
            '{data}', '{"f" * 64}'
        FROM {series}"""
        for place, (name, data) in enumerate(_EVENTS, 1)
    ]
    for statement in (rows, keys, tags, tally, *events):
        connection.exec_driver_sql(
            statement.replace("%", "%%") if kind == "postgresql" else statement
        )


_LAUNCHED = (
    '{"type":"RunLaunched","at":1.0,"actor":"ann","run_id":"x","saga":"place_order","version":1,'
    '"plan":"p","input":{"order":{"id":"o-1","lines":[{"sku":"tea"}],"total":"19.90"}}}'
)
_EVENTS = (
    ("RunLaunched", _LAUNCHED),
    (
        "StepSucceeded",
        '{"type":"StepSucceeded","at":2.0,"step":"charge","attempt":1,"result":{"id":"p-1"},"took_s":0.01}',
    ),
    ("RunCompleted", '{"type":"RunCompleted","at":3.0,"result":{"receipt":"r-1"}}'),
)
