"""Finding what operators did in the log itself, and whether the log is as it was written."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, or_, select, text, tuple_

from orchestrator.errors import IllegalEventError, InvalidInputError
from orchestrator.journal.log import CHUNK
from orchestrator.journal.port import Operated, OperationFilter, OperationPage, Recorded
from orchestrator.journal.records import Row, link, recorded
from orchestrator.journal.schema import ANCHOR, AUDITED, EVENT, RUN, of_shard
from orchestrator.kernel.asked import OPERATION_OF, OPERATIONS, operation_of

_PLACE = (EVENT.c.at, EVENT.c.shard, EVENT.c.offset)
_SAGA = "saga:"
"""What the subject of a saga's hold begins with; a run's id has no colon."""
_NAMED = {"cancel", "resolve"}
"""Operations that ``CompensationStarted`` names; any other that somebody asked for is ``compensate``."""


def page(
    connection: Connection, where: OperationFilter, cursor: str | None, limit: int
) -> OperationPage:
    """See ``ReaderJournal.operations``."""
    query = select(EVENT, RUN.c.saga).outerjoin(RUN, RUN.c.run_id == EVENT.c.run_id)
    query = query.where(text(f"({AUDITED})"), *_conditions(where))
    if cursor is not None:
        query = query.where(tuple_(*_PLACE) < read_cursor(cursor))
    query = query.order_by(*(column.desc() for column in _PLACE)).limit(limit + 1)
    rows = connection.execute(query).all()
    shown = [operated(Row._make(row[:-1]), row[-1] or "") for row in rows[:limit]]
    return made_page(shown, more=len(rows) > limit)


def altered(connection: Connection, shard: int, run_ids: Sequence[str]) -> dict[str, list[int]]:
    """See ``ReaderJournal.altered``."""
    rows: list[Row] = []
    for start in range(0, len(run_ids), CHUNK):
        query = select(EVENT).where(
            of_shard(shard), EVENT.c.run_id.in_(run_ids[start : start + CHUNK])
        )
        rows += (Row._make(row) for row in connection.execute(query.order_by(EVENT.c.offset)))
    before = [row.offset - 1 for row in rows]
    hashes: dict[int, str] = {0: ""}
    for start in range(0, len(before), CHUNK):
        wanted = EVENT.c.offset.in_(before[start : start + CHUNK])
        found = select(EVENT.c.offset, EVENT.c.hash).where(EVENT.c.shard == shard, wanted)
        ends = ANCHOR.c.last.in_(before[start : start + CHUNK])
        gone = select(ANCHOR.c.last, ANCHOR.c.hash).where(ANCHOR.c.shard == shard, ends)
        for known in (found, gone):  # what stood before may have been archived
            hashes.update((offset, chain) for offset, chain in connection.execute(known))
    return unlinked(rows, hashes)


def unlinked(rows: Iterable[Row], hashes: Mapping[int, str]) -> dict[str, list[int]]:
    """Offsets by run of the rows whose hash isn't made of what they hold and of the hash before them."""
    found: dict[str, list[int]] = {}
    for row in rows:
        previous = hashes.get(row.offset - 1)
        if previous is None or link(previous, *row[:8]) != row.hash:
            found.setdefault(row.run_id, []).append(row.offset)
    return found


def operated(row: Row, saga: str) -> Operated:
    """A row of the log as an operation; one that was tampered with until it can't be read is shown as it stands."""
    if row.type in {"HoldPlaced", "HoldReleased"} and row.run_id.startswith(_SAGA):
        saga = row.run_id.removeprefix(_SAGA)
    try:
        return Operated(recorded(row), saga)
    except IllegalEventError:
        left = Recorded(
            row.shard, row.offset, row.run_id, row.type, row.at, row.actor, None, row.hash
        )
        return Operated(left, saga)


def page_of(
    rows: Iterable[Row],
    sagas: Mapping[str, str],
    where: OperationFilter,
    cursor: str | None,
    limit: int,
) -> OperationPage:
    """``page`` for a log in memory."""
    check_operation(where)
    end = None if cursor is None else read_cursor(cursor)
    audited = [(row.at, row.shard, row.offset, row) for row in rows if is_audited(row)]
    found = [
        one
        for *place, row in sorted(audited, reverse=True)
        if end is None or tuple(place) < end
        for one in (operated(row, sagas.get(row.run_id, "")),)
        if fits(one, where)
    ]
    return made_page(found[:limit], more=len(found) > limit)


def fits(one: Operated, where: OperationFilter) -> bool:
    """What ``page`` says in SQL, of an event that is somebody's doing."""
    record = one.record
    event = record.event
    return (
        (where.actor is None or record.actor == where.actor)
        and (where.operation is None or (event and operation_of(event)) == where.operation)
        and (where.saga is None or one.saga == where.saga)
        and (not where.sagas or one.saga in where.sagas)
        and (where.run is None or record.run_id == where.run)
        and (where.after is None or record.at >= where.after)
        and (where.before is None or record.at < where.before)
        and (not where.refused or record.type == "OperationRefused")
    )


def is_audited(row: Row) -> bool:
    """``AUDITED`` for a row in memory."""
    if row.type == "CompensationStarted":
        return bool(row.actor)
    return row.type in OPERATION_OF or row.type == "OperationRefused"


def made_page(shown: Sequence[Operated], *, more: bool) -> OperationPage:
    """A page with the cursor of the next."""
    return OperationPage(tuple(shown), write_cursor(shown[-1].record) if more and shown else None)


def write_cursor(record: Recorded) -> str:
    """Where the next page starts."""
    place = (record.at, record.shard, record.offset)
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def read_cursor(cursor: str) -> tuple[float, int, int]:
    """The place a cursor names. Raises ``InvalidInputError``."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[float, int, int])
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"{cursor!r} isn't a cursor of a page of operations") from error


def check_operation(where: OperationFilter) -> None:
    """Raise ``InvalidInputError`` for an operation that nobody could have asked for."""
    if where.operation is not None and where.operation not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise InvalidInputError(f"{where.operation!r} is no operation; there are {known}")


def _conditions(where: OperationFilter) -> list[ColumnElement[bool]]:
    check_operation(where)
    found: list[ColumnElement[bool]] = []
    if where.actor is not None:
        found.append(EVENT.c.actor == where.actor)
    if where.operation is not None:
        found.append(_of_operation(where.operation))
    if where.saga is not None:
        found.append(_of_sagas((where.saga,)))
    if where.sagas:
        found.append(_of_sagas(where.sagas))
    if where.run is not None:
        found.append(EVENT.c.run_id == where.run)
    if where.after is not None:
        found.append(EVENT.c.at >= where.after)
    if where.before is not None:
        found.append(EVENT.c.at < where.before)
    if where.refused:
        found.append(EVENT.c.type == "OperationRefused")
    return found


def _of_sagas(sagas: Sequence[str]) -> ColumnElement[bool]:
    held = EVENT.c.run_id.in_([f"{_SAGA}{saga}" for saga in sagas])
    return or_(RUN.c.saga.in_(sagas), held)


def _of_operation(operation: str) -> ColumnElement[bool]:
    """By the event's type, or by what its JSON says, in which a quoted name can't stand inside of a text."""
    of_type = [name for name, meant in OPERATION_OF.items() if meant == operation]
    compensation = EVENT.c.type == "CompensationStarted"
    if operation == "compensate":
        others = [EVENT.c.data.not_like(_says(name)) for name in sorted(_NAMED)]
        started = and_(compensation, *others)
    else:
        started = and_(compensation, EVENT.c.data.like(_says(operation)))
    refused = and_(EVENT.c.type == "OperationRefused", EVENT.c.data.like(_says(operation)))
    return or_(EVENT.c.type.in_(of_type), started, refused)


def _says(operation: str) -> str:
    return f'%"operation":"{operation}"%'
