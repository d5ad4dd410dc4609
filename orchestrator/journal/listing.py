"""Finding and listing runs in the read model."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
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
from orchestrator.kernel.summary import RunSummary

_RUNS = select(*(RUN.c[name] for name in COLUMNS))
_BY_ID = _RUNS.where(RUN.c.run_id == bindparam("wanted"))
LAST = chr(0x10FFFF)
_VALUES = 500
_NAMED = 5
"""How many runs an ambiguity error names."""


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
    """Runs, newest first, after the cursor."""
    at, run_id = _place(where)
    by = literal_column("+saga_run.launched_at") if _few_open(connection, where) else at
    query = _RUNS.where(*_conditions(connection, where))
    query = query.order_by(by.desc(), run_id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(at, run_id) < read_cursor(cursor))
    rows = connection.execute(query).all()
    runs = tuple(summary_of(row) for row in rows[:limit])
    return Page(runs, write_cursor(runs[-1]) if len(rows) > limit and runs else None)


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Saga to status to number of runs."""
    query = select(RUN.c.saga, RUN.c.status, func.count()).group_by(RUN.c.saga, RUN.c.status)
    found: dict[str, dict[str, int]] = {}
    for saga, status, number in connection.execute(query.order_by(RUN.c.saga, RUN.c.status)):
        found.setdefault(saga, {})[status] = number
    return found


def open_runs(connection: Connection, shard: int) -> list[str]:
    """Runs that are in the log and not at rest, oldest first."""
    query = select(RUN.c.run_id).where(IS_OPEN, RUN.c.shard == shard, RUN.c.status != "accepted")
    return list(connection.scalars(query.order_by(RUN.c.launched_at, RUN.c.run_id)))


def write_cursor(run: RunSummary) -> str:
    """Where the next page starts."""
    return base64.urlsafe_b64encode(msgspec.json.encode((run.launched_at, run.run_id))).decode()


def read_cursor(cursor: str) -> tuple[float, str]:
    """The place a cursor names. Raises ``InvalidInputError``."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[float, str])
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"{cursor!r} isn't a cursor of a page of runs") from error


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
        found.append(RUN.c.status.in_(where.status))
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
    if where.text is not None:
        columns = (RUN.c.run_id, RUN.c.key, RUN.c.saga, RUN.c.reason)
        found.append(or_(*(column.icontains(where.text, autoescape=True) for column in columns)))
    found += [*_among(where), *tagged(connection, where.tags)]
    return found if where.step is None else [*found, _at_step(connection, where.step)]


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
