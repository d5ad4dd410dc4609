"""Holds in the journal's database."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.journal.database import Database
from orchestrator.journal.hold import Hold
from orchestrator.journal.records import shard_of
from orchestrator.journal.schema import HOLD, INBOX
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Noted

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Hold)


class SqlHolds:
    """The part of a ``SqlJournal`` that keeps holds; see the port."""

    _database: Database

    def shards(self) -> int:
        """How many shards the journal has."""
        raise NotImplementedError

    def holds(self, limit: int = 1_000, *, in_force: bool = True) -> list[Hold]:
        """The newest first."""
        query = select(HOLD.c.data).order_by(HOLD.c.placed_at.desc(), HOLD.c.id).limit(limit)
        if in_force:
            query = query.where(HOLD.c.in_force)
        return self._database.read(
            lambda connection: [_decoder.decode(data) for data in connection.scalars(query)]
        )

    def place_hold(self, hold: Hold) -> bool:
        """Put it into force, unless its saga or service is held."""
        noted = self._noted(hold.subject, Noted(at=hold.at, actor=hold.actor, event=hold.placed()))
        row = {"id": hold.id, "kind": hold.kind, "name": hold.name, "placed_at": hold.at}
        row |= {"in_force": True, "data": _encode(hold).decode()}

        def work(connection: Connection) -> None:
            connection.execute(insert(HOLD).values(row))
            connection.execute(insert(INBOX).values(noted))

        try:
            self._database.write(work)
        except IntegrityError:
            return False
        return True

    def release_hold(self, hold: Hold) -> bool:
        """Write its end, unless it has one."""
        event = hold.released()
        noted = self._noted(hold.subject, Noted(at=event.at, actor=event.actor, event=event))
        change = update(HOLD).where(HOLD.c.id == hold.id, HOLD.c.in_force)
        change = change.values(in_force=False, data=_encode(hold).decode())

        def work(connection: Connection) -> bool:
            if connection.execute(change).rowcount != 1:
                return False
            connection.execute(insert(INBOX).values(noted))
            return True

        return self._database.write(work)

    def note(self, subject: str, message: Noted) -> None:
        """Put what the log has to say of no run into the inbox."""
        noted = self._noted(subject, message)
        self._database.write(lambda connection: connection.execute(insert(INBOX).values(noted)))

    def _noted(self, subject: str, message: Noted) -> dict[str, Any]:
        shard = shard_of(subject, self.shards())
        return {"shard": shard, "run_id": subject, "message": encode_message(message).decode()}
