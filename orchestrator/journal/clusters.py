"""Clusters of open incidents, and whose turn it is to tell people of them.

``saga_incident`` is an index over the runs' own rows: it finds and counts, and what an incident says is read from the
row of its run.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, text

from orchestrator.errors import InvalidInputError
from orchestrator.journal.incident import Cluster, ClusterPage
from orchestrator.journal.schema import INCIDENT, NOTICE, RUN
from orchestrator.kernel.incidents import Incident
from orchestrator.kernel.summary import RunSummary

COLUMNS = ("run_id", "step", "shard", "saga", "cluster", "since", "acked")
KEPT_S = 7 * 86_400.0
"""How long a notice is remembered, unless it has to be for longer."""
_LAST = chr(0x10FFFF)

IncidentRow = tuple[str, str, int, str, str, float, bool]
_incidents = msgspec.json.Decoder(tuple[Incident, ...])
_SUMS = (
    INCIDENT.c.cluster,
    func.count().label("incidents"),
    func.count(INCIDENT.c.run_id.distinct()).label("runs"),
    func.sum(case((INCIDENT.c.acked, 1), else_=0)).label("acked"),
    func.min(INCIDENT.c.since).label("first"),
    func.max(INCIDENT.c.since).label("last"),
)
_NEWEST = (
    select(INCIDENT.c.run_id, INCIDENT.c.step, RUN.c.saga, RUN.c.incidents)
    .join_from(INCIDENT, RUN, INCIDENT.c.run_id == RUN.c.run_id)
    .where(INCIDENT.c.cluster == bindparam("cluster"))
    .order_by(INCIDENT.c.since.desc(), INCIDENT.c.run_id.desc(), INCIDENT.c.step.desc())
    .limit(1)
)
_CLAIM = text(
    "INSERT INTO saga_notice (cluster, at) VALUES (:cluster, :now) ON CONFLICT (cluster) DO UPDATE SET at = :now"
    " WHERE saga_notice.at <= :before OR saga_notice.at > :after"
)


class Sums(msgspec.Struct, frozen=True):
    """How many incidents a cluster has, and since when."""

    cluster: str
    incidents: int
    runs: int
    acked: int
    first: float
    last: float

    @property
    def rank(self) -> tuple[bool, int, str]:
        """What nobody has taken on comes first, then what is most frequent."""
        return self.acked == self.incidents, -self.incidents, self.cluster


def incident_rows(runs: Iterable[RunSummary]) -> list[IncidentRow]:
    """The index rows of these runs, in the order of ``COLUMNS``."""
    return [
        (
            run.run_id,
            incident.step,
            run.shard,
            run.saga,
            incident.cluster,
            incident.since,
            incident.acked_at is not None,
        )
        for run in runs
        for incident in run.incidents
    ]


def reindex(connection: Connection, runs: Iterable[RunSummary]) -> None:
    """Add the index rows of runs that have none."""
    rows = incident_rows(runs)
    if rows:
        values: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        connection.execute(insert(INCIDENT), values)


def clear(connection: Connection, shard: int) -> None:
    """Remove a shard's index rows."""
    connection.execute(delete(INCIDENT).where(INCIDENT.c.shard == shard))


def page(
    connection: Connection, sagas: Sequence[str], prefix: str, cursor: str | None, limit: int
) -> ClusterPage:
    """Clusters; see the port."""
    query = select(*_SUMS).group_by(INCIDENT.c.cluster)
    if sagas:
        query = query.where(INCIDENT.c.saga.in_(sagas))
    if prefix:
        name = INCIDENT.c.cluster
        query = query.where(name >= prefix, name < prefix + _LAST)
    sums = [Sums(*row) for row in connection.execute(query)]
    shown, cursor = page_of(sums, cursor, limit)
    found = (_cluster(connection, one) for one in shown)
    return ClusterPage(tuple(one for one in found if one is not None), cursor)


def page_of(sums: list[Sums], cursor: str | None, limit: int) -> tuple[list[Sums], str | None]:
    """Those after the cursor, and the next one."""
    ranked = sorted(sums, key=lambda one: one.rank)
    if cursor is not None:
        place = _read_cursor(cursor)
        ranked = [one for one in ranked if one.rank > place]
    shown = ranked[:limit]
    more = len(ranked) > limit and shown
    return shown, _write_cursor(shown[-1]) if more else None


def page_in_memory(
    runs: Mapping[str, RunSummary],
    sagas: Sequence[str],
    prefix: str,
    cursor: str | None,
    limit: int,
) -> ClusterPage:
    """As ``page``, of runs that are held in memory."""
    found: dict[str, list[tuple[float, str, str, RunSummary, Incident]]] = {}
    for run in runs.values():
        for one in run.incidents if not sagas or run.saga in sagas else ():
            if one.cluster.startswith(prefix):
                place = (one.since, run.run_id, one.step, run, one)
                found.setdefault(one.cluster, []).append(place)
    shown, cursor = page_of([_summed(*pair) for pair in found.items()], cursor, limit)
    newest = ((sums, max(found[sums.cluster], key=lambda one: one[:3])) for sums in shown)
    made = (_described(sums, run.run_id, run.saga, one) for sums, (*_, run, one) in newest)
    return ClusterPage(tuple(made), cursor)


def claim(connection: Connection, cluster: str, now: float, every_s: float) -> bool:
    """See ``ReaderJournal.claim_notice``; within a transaction."""
    oldest = now - max(every_s, KEPT_S)
    connection.execute(delete(NOTICE).where(NOTICE.c.at < oldest))
    values = {"cluster": cluster, "now": now, "before": now - every_s, "after": now + every_s}
    return connection.execute(_CLAIM, values).rowcount == 1


def claim_in_memory(notices: dict[str, float], cluster: str, now: float, every_s: float) -> bool:
    """As ``claim``."""
    at = notices.get(cluster)
    if at is not None and now - every_s < at <= now + every_s:
        return False
    notices[cluster] = now
    return True


def noticed(connection: Connection) -> dict[str, float]:
    """When people were last told, by cluster."""
    return {row.cluster: row.at for row in connection.execute(select(NOTICE))}


def _described(sums: Sums, run_id: str, saga: str, incident: Incident) -> Cluster:
    return Cluster(
        cluster=sums.cluster,
        saga=saga,
        step=incident.step.partition("[")[0],
        kind=incident.kind,
        message=incident.message,
        error=incident.error,
        frame=incident.frame,
        incidents=sums.incidents,
        runs=sums.runs,
        acked=sums.acked,
        first=sums.first,
        last=sums.last,
        newest=run_id,
    )


def _summed(cluster: str, places: Sequence[tuple[float, str, str, RunSummary, Incident]]) -> Sums:
    return Sums(
        cluster=cluster,
        incidents=len(places),
        runs=len({run_id for _, run_id, *_ in places}),
        acked=sum(one.acked_at is not None for *_, one in places),
        first=min(since for since, *_ in places),
        last=max(since for since, *_ in places),
    )


def _cluster(connection: Connection, sums: Sums) -> Cluster | None:
    row: Any = connection.execute(_NEWEST, {"cluster": sums.cluster}).one_or_none()
    if row is None:  # closed meanwhile
        return None
    for incident in _incidents.decode(row.incidents):
        if incident.step == row.step:
            return _described(sums, row.run_id, row.saga, incident)
    return None


def _write_cursor(sums: Sums) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(sums.rank)).decode()


def _read_cursor(cursor: str) -> tuple[bool, int, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[bool, int, str])
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"{cursor!r} isn't a cursor of a page of clusters") from error
