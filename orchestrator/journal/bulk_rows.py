"""Bulk operations in the journal's database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import BulkNotFoundError
from orchestrator.journal.bulk import Bulk, BulkItem, Outcome, Sent
from orchestrator.journal.database import Database
from orchestrator.journal.listing import LAST
from orchestrator.journal.records import shard_of
from orchestrator.journal.run_rows import COLUMNS, summary_of
from orchestrator.journal.schema import BULK, BULK_ITEM, INBOX, RUN
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Noted
from orchestrator.kernel.summary import RunSummary

SEND = text(
    "INSERT INTO saga_inbox (shard, run_id, message)"
    " SELECT shard, run_id, CAST(:message AS text) FROM saga_run WHERE run_id = :run_id"
)
SEND_POSTGRESQL = text(f"{SEND.text} FOR KEY SHARE")  # so that it isn't archived meanwhile
_MARK = text(
    "UPDATE saga_bulk_item SET wave = :wave, outcome = :outcome, why = :why"
    " WHERE bulk = :bulk AND position = :position"
)
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Bulk)


class SqlBulks:
    """The part of a ``SqlJournal`` that keeps bulk operations; see the port."""

    _database: Database

    def shards(self) -> int:
        """How many shards the journal has."""
        raise NotImplementedError

    def add_bulk(self, bulk: Bulk, run_ids: Sequence[str]) -> bool:
        """Record one with its runs."""

        def work(connection: Connection) -> None:
            connection.execute(insert(BULK).values(_row(bulk)))
            items = [
                {"bulk": bulk.id, "position": at, "run_id": run_id, "wave": 0}
                | {"outcome": "waiting", "why": ""}
                for at, run_id in enumerate(run_ids)
            ]
            if items:
                connection.execute(insert(BULK_ITEM), items)
            if bulk.notes:
                connection.execute(insert(INBOX), _noted(self.shards(), [bulk.said()]))

        try:
            self._database.write(work)
        except IntegrityError:
            return False
        return True

    def bulk(self, bulk_id: str) -> Bulk:
        """One by its id or a prefix. Raises ``BulkNotFoundError``."""
        query = select(BULK.c.data).where(BULK.c.id >= bulk_id, BULK.c.id < bulk_id + LAST).limit(2)

        def read(connection: Connection) -> list[Bulk]:
            return _counted(connection, list(connection.scalars(query)))

        found = [] if "\0" in bulk_id or not bulk_id else self._database.read(read)
        return only(bulk_id, found)

    def bulks(self, limit: int = 100, *, running: bool = False) -> list[Bulk]:
        """The newest ones."""
        query = select(BULK.c.data).order_by(BULK.c.created_at.desc(), BULK.c.id).limit(limit)
        if running:
            query = query.where(BULK.c.state == "running")

        def read(connection: Connection) -> list[Bulk]:
            return _counted(connection, list(connection.scalars(query)))

        return self._database.read(read)

    def bulk_items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> list[BulkItem]:
        """Its runs in order."""
        item = BULK_ITEM.c
        query = select(item.position, item.run_id, item.wave, item.outcome, item.why)
        query = query.where(item.bulk == bulk_id, item.position > after)
        if outcome is not None:
            query = query.where(item.outcome == outcome)
        query = query.order_by(item.position).limit(limit)
        return self._database.read(
            lambda connection: [BulkItem(*row) for row in connection.execute(query)]
        )

    def write_bulk(self, bulk: Bulk, items: Sequence[BulkItem], messages: Sequence[Sent]) -> bool:
        """Replace it, unless it was changed since it was read."""
        after = replace(bulk, revision=bulk.revision + 1)
        change = update(BULK).where(BULK.c.id == bulk.id, BULK.c.revision == bulk.revision)
        marks = [msgspec.structs.asdict(item) | {"bulk": bulk.id} for item in items]
        sent = [
            {"run_id": one.run_id, "message": encode_message(one.message).decode()}
            for one in messages
            if not isinstance(one.message, Noted)
        ]
        noted = _noted(self.shards(), [one for one in messages if isinstance(one.message, Noted)])

        def work(connection: Connection) -> bool:
            if connection.execute(change.values(_row(after))).rowcount != 1:
                return False
            if marks:
                connection.execute(_MARK, marks)
            if sent:
                postgresql = self._database.is_postgresql
                connection.execute(SEND_POSTGRESQL if postgresql else SEND, sent)
            if noted:
                connection.execute(insert(INBOX), noted)
            return True

        return self._database.write(work)

    def rows(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """The rows of these runs."""
        query = select(*(RUN.c[name] for name in COLUMNS)).where(RUN.c.run_id.in_(run_ids))
        return self._database.read(
            lambda connection: [summary_of(row) for row in connection.execute(query)]
        )


def only(bulk_id: str, found: Sequence[Bulk]) -> Bulk:
    """The one that was asked for. Raises ``BulkNotFoundError``."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise BulkNotFoundError(
            f"there is no bulk operation {bulk_id!r}; `saga bulk list` has them"
        )
    raise BulkNotFoundError(f"{bulk_id!r} fits several bulk operations: give more of its id")


def _row(bulk: Bulk) -> dict[str, Any]:
    return {
        "id": bulk.id,
        "created_at": bulk.created_at,
        "state": bulk.state,
        "revision": bulk.revision,
        "data": _encode(replace(bulk, counts={})).decode(),
    }


def _counted(connection: Connection, found: Sequence[str]) -> list[Bulk]:
    made = [_decoder.decode(data) for data in found]
    item = BULK_ITEM.c
    query = select(item.bulk, item.outcome, func.count()).group_by(item.bulk, item.outcome)
    counts: dict[str, dict[str, int]] = {bulk.id: {} for bulk in made}
    for bulk, outcome, number in connection.execute(query.where(item.bulk.in_(list(counts)))):
        counts[bulk][outcome] = number
    return [replace(bulk, counts=counts[bulk.id]) for bulk in made]


def _noted(shards: int, messages: Sequence[Sent]) -> list[dict[str, Any]]:
    """Rows of the inbox, for what the log has to say of no run."""
    return [
        {
            "shard": shard_of(one.run_id, shards),
            "run_id": one.run_id,
            "message": encode_message(one.message).decode(),
        }
        for one in messages
    ]
