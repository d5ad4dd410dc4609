"""Finding and listing runs in the read model."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from orchestrator.errors import (
    AmbiguousRunError,
    InvalidInputError,
    RunArchivedError,
    RunNotFoundError,
)
from orchestrator.journal.port import Page, RunFilter
from orchestrator.journal.run_rows import COLUMNS, has_text, summary_of
from orchestrator.journal.schema import (
    ARCHIVE,
    ARCHIVED_RUN,
    INCIDENT,
    IS_OPEN,
    LAUNCH_KEY,
    RUN,
    TAG,
)
from orchestrator.journal.tags import tagged
from orchestrator.kernel.summary import RunStatus, RunSummary

_RUNS = select(*(RUN.c[name] for name in COLUMNS))
_PLACES = select(RUN.c.launched_at, RUN.c.run_id)
_BY_ID = _RUNS.where(RUN.c.run_id == bindparam("wanted"))
LAST = chr(0x10FFFF)
_VALUES = 500
_NAMED = 5
"""How many runs an ambiguity error names."""
_LANES = 50
LOOKED_THROUGH, LOOKED_THROUGH_TAGGED = 5_000, 1_000
"""In how many runs one page looks for a text: no index has texts, and a page is to come at once. Runs with a tag lie
scattered, so there it is fewer.
"""

_After = tuple[float, str] | None
_Columns = Select[*tuple[Any, ...]]


def find(connection: Connection, id_or_prefix: str) -> RunSummary:
    """One run by its id, a prefix of it, its key, or ``saga:key``."""
    if "\0" in id_or_prefix:
        raise RunNotFoundError(f"no run has the id or key {id_or_prefix!r}")
    exact = connection.execute(_BY_ID, {"wanted": id_or_prefix}).one_or_none()
    if exact is not None:  # first and cheaply, as whoever waits for a result asks often
        return summary_of(exact)
    run_id = RUN.c.run_id
    fits = and_(run_id >= id_or_prefix, run_id < id_or_prefix + LAST)
    rows = connection.execute(_RUNS.where(fits).order_by(run_id).limit(_NAMED + 1)).all()
    if not id_or_prefix or not rows:
        rows = connection.execute(_RUNS.where(run_id.in_(_with_key(id_or_prefix)))).all()
    if not rows:
        raise _not_here(connection, id_or_prefix)
    if len(rows) == 1:
        return summary_of(rows[0])
    raise ambiguous(id_or_prefix, [f"{row.run_id} ({row.saga})" for row in rows])


def page(connection: Connection, where: RunFilter, cursor: str | None, limit: int) -> Page:
    """Runs, newest first, after the cursor; a text is looked for in the newest ``LOOKED_THROUGH`` of them only."""
    after = None if cursor is None else read_cursor(cursor)
    if where.text is not None:
        return _mentioning(connection, where, where.text, after, limit)
    if len(_lanes(where)) == 1:
        query = _newest(connection, where, _RUNS, after, limit + 1)
    else:
        query = _rows_at(_newest(connection, where, _PLACES, after, limit + 1))
    return _page(connection.execute(query).all(), limit)


def _page(rows: Sequence[Row[Any]], limit: int) -> Page:
    runs = tuple(summary_of(row) for row in rows[:limit])
    return Page(runs, write_cursor(runs[-1]) if len(rows) > limit and runs else None)


def _rows_at(places: _Columns) -> _Columns:
    """Only the page's rows are read as a whole, and SQLAlchemy has fewer columns to write for each part."""
    place = places.subquery().c
    query = _RUNS.where(RUN.c.run_id == place.run_id)
    return query.order_by(place.launched_at.desc(), place.run_id.desc())


def looked_through(where: RunFilter) -> int:
    """In how many of the runs that fit otherwise one page looks for a text."""
    return LOOKED_THROUGH_TAGGED if where.tags else LOOKED_THROUGH


def _mentioning(
    connection: Connection, where: RunFilter, wanted: str, after: _After, limit: int
) -> Page:
    """The runs with a text among the newest of those that fit otherwise, however rare it is."""
    number = looked_through(where)
    newest = _newest(connection, where, _RUNS, after, number).subquery()
    run = newest.c
    texts = (run.run_id, run.key, run.saga, run.reason)
    mentions = or_(*(column.icontains(wanted, autoescape=True) for column in texts))
    query = select(newest).where(mentions).order_by(run.launched_at.desc(), run.run_id.desc())
    rows = connection.execute(query.limit(limit + 1)).all()
    if len(rows) > limit:
        return _page(rows, limit)
    places = _newest(connection, where, select(*_place(where)), after, number)
    last = connection.execute(places.offset(number - 1).limit(1)).one_or_none()
    if last is None:
        return _page(rows, limit)
    return Page(tuple(map(summary_of, rows)), _cursor(*last), number)


def _newest(
    connection: Connection, where: RunFilter, columns: _Columns, after: _After, number: int
) -> _Columns:
    """The newest runs that fit, merged from what an index has in order of launch already."""
    lanes = [_lane(connection, lane, columns, after, number) for lane in _lanes(where)]
    if len(lanes) == 1:
        return lanes[0]
    each = union_all(*(select(lane.subquery()) for lane in lanes)).subquery()
    order = each.c.launched_at.desc(), each.c.run_id.desc()
    return select(each).order_by(*order).limit(number)


def _lane(
    connection: Connection, where: RunFilter, columns: _Columns, after: _After, number: int
) -> _Columns:
    at, run_id = _place(where)
    by = literal_column("+saga_run.launched_at") if _few_open(connection, where) else at
    query = columns.where(*_conditions(connection, where))
    if after is not None:
        query = query.where(tuple_(at, run_id) < after)
    return query.order_by(by.desc(), run_id.desc()).limit(number)


def _lanes(where: RunFilter) -> list[RunFilter]:
    """The filter divided by saga and status, so that an index has the runs of each part in order of launch.

    Not if something else chooses the runs: then there are few, or another index has them.
    """
    elsewhere = where.tags or where.ids or where.stuck
    if elsewhere or not (where.key is where.cluster is where.step is None):
        return [where]
    sagas = (where.saga,) if where.saga is not None else where.sagas
    also = () if where.saga is None else where.sagas
    statuses = where.status or (get_args(RunStatus) if sagas else ())
    lanes = [
        replace(where, saga=saga, sagas=also, status=(status,))
        for saga in dict.fromkeys(sagas or (None,))
        for status in dict.fromkeys(statuses)
    ]
    return lanes if 0 < len(lanes) <= _LANES else [where]


def open_runs(connection: Connection, shard: int) -> list[str]:
    """Runs that are in the log and not at rest, oldest first."""
    query = select(RUN.c.run_id).where(IS_OPEN, RUN.c.shard == shard, RUN.c.status != "accepted")
    return list(connection.scalars(query.order_by(RUN.c.launched_at, RUN.c.run_id)))


def write_cursor(run: RunSummary) -> str:
    """Where the next page starts."""
    return _cursor(run.launched_at, run.run_id)


def read_cursor(cursor: str) -> tuple[float, str]:
    """The place a cursor names. Raises ``InvalidInputError``."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[float, str])
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"{cursor!r} isn't a cursor of a page of runs") from error


def _cursor(launched_at: float, run_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((launched_at, run_id))).decode()


def ambiguous(wanted: str, candidates: list[str]) -> AmbiguousRunError:
    """The error for an id or key that fits several runs."""
    more = " and more" if len(candidates) > _NAMED else ""
    return AmbiguousRunError(
        f"{wanted!r} fits several runs: {', '.join(candidates[:_NAMED])}{more}"
    )


def archived(connection: Connection, run_ids: Sequence[str]) -> dict[str, str]:
    """How those of the runs ended that were archived."""
    found: dict[str, str] = {}
    for start in range(0, len(run_ids), _VALUES):
        query = select(ARCHIVED_RUN.c.run_id, ARCHIVED_RUN.c.status)
        chunk = query.where(ARCHIVED_RUN.c.run_id.in_(run_ids[start : start + _VALUES]))
        found.update({row.run_id: row.status for row in connection.execute(chunk)})
    return found


def _not_here(connection: Connection, wanted: str) -> RunNotFoundError:
    gone = ARCHIVED_RUN.c.run_id
    fits = or_(and_(gone >= wanted, gone < wanted + LAST), gone.in_(_with_key(wanted)))
    query = select(gone, ARCHIVED_RUN.c.status, ARCHIVE.c.name)
    query = query.join(ARCHIVE, ARCHIVE.c.id == ARCHIVED_RUN.c.archive).where(fits)
    row = connection.execute(query.order_by(gone).limit(1)).one_or_none() if wanted else None
    if row is None:
        return RunNotFoundError(f"no run has the id, id prefix or key {wanted!r}")
    message = (
        f"run {row.run_id} is {row.status} and archived in {row.name}:"
        f" see `saga show --archive FOLDER {row.run_id}`"
    )
    return RunArchivedError(message, row.run_id, row.name)


def _with_key(key: str) -> Select[tuple[str]]:
    keys = LAUNCH_KEY.c
    fits: ColumnElement[bool] = keys.key == key
    saga, colon, rest = key.partition(":")
    if colon:
        fits = or_(fits, and_(keys.saga == saga, keys.key == rest))
    return select(keys.run_id).where(fits)


def _place(where: RunFilter) -> tuple[ColumnElement[float], ColumnElement[str]]:
    """The columns that a page is in order of: with a tag those of its index, which the page is read from."""
    columns = TAG.c if where.tags else RUN.c
    return columns.launched_at, columns.run_id


def _few_open(connection: Connection, where: RunFilter) -> bool:
    """Whether SQLite should sort the open runs, instead of going through all finished ones that are newer."""
    only_open = where.stuck or where.step is not None
    return only_open and not where.tags and connection.dialect.name == "sqlite"


def _conditions(connection: Connection, where: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.status:
        found.append(_one_of(RUN.c.status, where.status))
    if where.saga is not None:
        found.append(RUN.c.saga == where.saga)
    if where.sagas:
        found.append(RUN.c.saga.in_(where.sagas))
    if where.launched_after is not None:
        found.append(_place(where)[0] >= where.launched_after)
    if where.launched_before is not None:
        found.append(_place(where)[0] < where.launched_before)
    if where.stuck:
        found.append(and_(IS_OPEN, or_(RUN.c.status == "stuck", RUN.c.parked != "[]")))
    found += [*_among(where), *tagged(connection, where.tags)]
    return found if where.step is None else [*found, _at_step(connection, where.step)]


def _one_of(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _among(where: RunFilter) -> list[ColumnElement[bool]]:
    """Conditions that name the runs, by themselves or by what another table says of them."""
    found: list[ColumnElement[bool]] = []
    if where.key is not None:
        keyed = select(LAUNCH_KEY.c.run_id).where(LAUNCH_KEY.c.key == where.key)
        found.append(RUN.c.run_id.in_(keyed))
    if where.ids:
        found.append(RUN.c.run_id.in_(where.ids))
    if where.cluster is not None:
        clustered = select(INCIDENT.c.run_id).where(INCIDENT.c.cluster == where.cluster)
        found.append(RUN.c.run_id.in_(clustered))
    return found


def _at_step(connection: Connection, step: str) -> ColumnElement[bool]:
    """A condition on JSON columns: they hold compact JSON, where a quoted name can't occur by accident."""
    name = msgspec.json.encode(step).decode()
    instance = f"{name[:-1]}["
    at = [
        has_text(connection, column, part)
        for column in (RUN.c.steps, RUN.c.parked)
        for part in (name, instance)
    ]
    return and_(IS_OPEN, or_(*at))  # what holds a run up keeps it open
