"""The barrier: an effect happens once, whatever comes twice, too late or in the wrong order.

One row for each effect, written in the transaction of the effect itself, so that both are there or neither is. The
row's primary key decides between copies of a command: the second one waits for the first, and then reads its reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, select
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import Refused, SagaError
from orchestrator.kernel.events import Failure, Vote
from orchestrator.kernel.messages import Outcome
from orchestrator.participant import statements
from orchestrator.participant.commits import CommitUnknownError, check_intact, commit, forget_errors
from orchestrator.participant.database import read_only
from orchestrator.participant.failures import refusal_of
from orchestrator.participant.tables import DONE, REFUSED, TOMBSTONE, UNDONE, barrier, bounded
from orchestrator.transport.messages import stale_epoch

Act = Callable[[Connection], str | None]
"""Does an action's business on this connection; returns its reply as JSON, None for null."""

Reverse = Callable[[Connection, "Done | None"], None]
"""Undoes an action that was ``Done``, or, given None, one that may or may not have been."""

T = TypeVar("T")

_PAGE = 1_000
_PRUNE_BATCH = 500


class Effect(msgspec.Struct, frozen=True):
    """What the barrier needs to know of a command."""

    key: str
    run: str
    step: str
    shard: int
    epoch: int
    args: str
    """The action's arguments as JSON: kept, because an undo is to get what the action got."""


class Done(msgspec.Struct, frozen=True):
    """An action that took effect: its arguments and its reply, as JSON."""

    args: str
    reply: str | None


class Settled(msgspec.Struct, frozen=True):
    """What the barrier says came of a command. ``reply`` is JSON."""

    outcome: Outcome
    reply: str | None = None
    failure: Failure | None = None
    duplicate: bool = False
    vote: Vote | None = None


class Held(msgspec.Struct, frozen=True):
    """An effect as the barrier remembers it."""

    run: str
    step: str
    status: str
    """One of ``done``, ``refused``, ``undone``, ``tombstone``, ``confirmed`` (beside a try's ``done``)."""


class Barrier:
    """The barrier of one database. ``engine`` gives this process's engine."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._epochs: dict[int, int] = {}

    def do(self, effect: Effect, act: Act) -> Settled:
        """Carry out an action, unless it has been, or its undo has.

        Every exception of ``act`` but ``Refused`` passes through, with nothing written. Raises
        ``CommitUnknownError`` when the connection was lost in COMMIT and the row can't be read back.
        """
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        try:
            try:
                return self._act(effect, act)
            except Refused as refusal:
                return self._refuse(effect, refusal)
        except CommitUnknownError:
            return self._read_back(effect, undo=False)

    def undo(self, effect: Effect, reverse: Reverse | None, *, certain: bool) -> Settled:
        """Undo an action, or see to it that it never takes effect.

        ``certain``: no row means no effect, as all of it is in this database. Otherwise ``reverse`` is given None
        where there is no row. Raises as ``do`` does.
        """
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        try:
            return self._reverse(effect, reverse, certain=certain)
        except CommitUnknownError:
            return self._read_back(effect, undo=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose transaction can't write; nothing is remembered of what is done with it."""
        with read_only(self._engine().connect()) as connection:
            yield connection

    def held(self) -> Iterator[Held]:
        """Every row, those of one run together; read in pages, so of no single moment."""
        columns = (barrier.c.effect_key, barrier.c.run, barrier.c.step, barrier.c.status)
        page = select(*columns).order_by(barrier.c.effect_key).limit(_PAGE)
        last = ""
        while True:
            with self._engine().connect() as connection:
                rows = connection.execute(page.where(barrier.c.effect_key > last)).all()
            for row in rows:
                last = row.effect_key
                yield Held(row.run, row.step, row.status)
            if len(rows) < _PAGE:
                return

    def held_of(self, run: str) -> list[Held]:
        """The rows of one run; reads the whole table."""
        columns = (barrier.c.run, barrier.c.step, barrier.c.status)
        mine = select(*columns).where(barrier.c.run == bounded(run)).order_by(barrier.c.effect_key)
        with self._engine().connect() as connection:
            return [Held(row.run, row.step, row.status) for row in connection.execute(mine)]

    def prune(self, older_than: timedelta) -> int:
        """Delete rows of effects older than this; returns how many.

        ``older_than`` must exceed the longest time that a run may stay open, stuck ones included, and that a message
        may still be delivered: without its row an action that comes again is done again, and an undo finds nothing
        to undo.
        """
        before = time.time() - older_than.total_seconds()
        oldest = select(barrier.c.effect_key).where(barrier.c.created_at < before)
        deleted = 0
        while True:
            with self._engine().begin() as connection:
                keys = connection.scalars(oldest.limit(_PRUNE_BATCH)).all()
                connection.execute(delete(barrier).where(barrier.c.effect_key.in_(keys)))
            deleted += len(keys)
            if len(keys) < _PRUNE_BATCH:
                return deleted

    def claim(self, connection: Connection, effect: Effect, status: str) -> bool:
        """Insert the effect's row in the connection's transaction; False if there is one, or a newer epoch."""
        return _claim(connection, effect, status)

    def row(self, connection: Connection, effect: Effect) -> Row[*tuple[Any, ...]] | None:
        """The effect's row, locked until the connection's transaction ends."""
        return _read(connection, effect)

    def _act(self, effect: Effect, act: Act) -> Settled:
        connection, is_new = self._opened(lambda c: _claim(c, effect, DONE))
        with connection:
            if not is_new:
                return self._known(connection, effect)
            transaction = connection.get_transaction()
            reply = act(connection)
            check_intact(connection, transaction)
            if reply is not None:
                values = {"key": bounded(effect.key), "reply_text": reply}
                connection.execute(statements.store_reply, values)
            commit(connection)
        return Settled("succeeded", reply)

    def _refuse(
        self, effect: Effect, refusal: Refused, first: Callable[[Connection], None] | None = None
    ) -> Settled:
        """Store the no by itself, after what was written before it has been rolled back."""
        failure = refusal_of(refusal)
        text = msgspec.json.encode(failure).decode()

        def claimed(connection: Connection) -> bool:
            if first is not None:
                first(connection)
            return _claim(connection, effect, REFUSED, text)

        connection, is_new = self._opened(claimed)
        with connection:
            if not is_new:
                return self._known(connection, effect)
            commit(connection)
        return Settled("refused", failure=failure)

    def _reverse(self, effect: Effect, reverse: Reverse | None, *, certain: bool) -> Settled:
        connection, row = self._opened(lambda c: _read(c, effect))
        with connection:
            if row is None:
                # Waits for an action that is running now; when that commits there is a row after all.
                if _claim(connection, effect, TOMBSTONE if certain else UNDONE):
                    return _undo_without_row(connection, reverse, certain=certain)
                row = _read(connection, effect)
            if row is None or _is_newer(row.newest, effect):
                return self._superseded(connection, effect)
            if row.status in {UNDONE, TOMBSTONE}:
                return Settled("succeeded", duplicate=True)
            if row.status == DONE:
                if reverse is None:
                    return Settled("failed", failure=_no_undo(effect))
                transaction = connection.get_transaction()
                reverse(connection, Done(row.args, row.reply))
                check_intact(connection, transaction)
            status = UNDONE if row.status == DONE else TOMBSTONE
            values = {"key": bounded(effect.key), "new_status": status, "at": time.time()}
            connection.execute(statements.mark, values)
            commit(connection)
        return Settled("succeeded")

    def _known(self, connection: Connection, effect: Effect) -> Settled:
        """The answer to an action whose row couldn't be inserted."""
        row = _read(connection, effect)
        if row is None or _is_newer(row.newest, effect):
            return self._superseded(connection, effect)
        return _settled(row)

    def _superseded(self, connection: Connection, effect: Effect) -> Settled:
        newest = connection.scalar(statements.newest_epoch, {"shard": effect.shard})
        if newest is None or newest <= effect.epoch:
            raise SagaError(f"the barrier row of {effect.key} is gone: was it pruned just now?")
        self._epochs[effect.shard] = newest
        return _stale(effect, newest)

    def _too_old(self, effect: Effect) -> Settled | None:
        """Compare with the newest epoch this process knows of, and record one that is newer.

        What other processes have recorded is checked in the statement that claims the row.
        """
        known = self._epochs.get(effect.shard)
        if known is not None and effect.epoch <= known:
            return _stale(effect, known) if effect.epoch < known else None
        values = {"shard": effect.shard, "epoch": effect.epoch}

        def note(connection: Connection) -> None:
            connection.execute(statements.note_epoch(connection.dialect.name), values)

        connection, _ = self._opened(note)
        with connection:
            connection.commit()
        self._epochs[effect.shard] = max(effect.epoch, self._epochs.get(effect.shard, 0))
        return None

    def _opened(self, first: Callable[[Connection], T]) -> tuple[Connection, T]:
        """A connection in whose transaction ``first`` has run.

        One that the server has dropped while it lay in the pool is replaced once: ``first`` can't have been committed.
        """
        try:
            return self._opened_once(first)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return self._opened_once(first)

    def _opened_once(self, first: Callable[[Connection], T]) -> tuple[Connection, T]:
        connection = self._engine().connect()
        try:
            forget_errors(connection)
            return connection, first(connection)
        except BaseException:
            connection.close()
            raise

    def _read_back(self, effect: Effect, *, undo: bool) -> Settled:
        """Settle a COMMIT whose outcome is unknown. Only a row is proof: none may yet appear."""
        values = {"effect_key": bounded(effect.key), "shard": effect.shard}
        try:
            with self._engine().connect() as connection:
                row = connection.execute(statements.read_row, values).first()
        except DBAPIError as error:
            raise CommitUnknownError(effect.key) from error
        if row is None or (undo and row.status not in {UNDONE, TOMBSTONE}):
            raise CommitUnknownError(effect.key)
        return Settled("succeeded") if undo else _settled(row)


def row_of(effect: Effect, status: str, failure: str | None = None) -> dict[str, Any]:
    """What claiming an effect writes: its row, and the epoch it must not be older than."""
    return {
        "effect_key": bounded(effect.key),
        "run": bounded(effect.run),
        "step": bounded(effect.step),
        "shard": effect.shard,
        "status": status,
        "args": effect.args,
        "failure": failure,
        "created_at": time.time(),
        "epoch": effect.epoch,
    }


def _claim(connection: Connection, effect: Effect, status: str, failure: str | None = None) -> bool:
    return statements.write_claim(connection, row_of(effect, status, failure))


def _read(connection: Connection, effect: Effect) -> Row[*tuple[Any, ...]] | None:
    values = {"effect_key": bounded(effect.key), "shard": effect.shard}
    return connection.execute(statements.lock_row, values).first()


def _undo_without_row(connection: Connection, reverse: Reverse | None, *, certain: bool) -> Settled:
    if not certain:
        if reverse is None:
            return Settled("failed", failure=_NOTHING_KNOWN)
        reverse(connection, None)
    commit(connection)
    return Settled("succeeded")


def _settled(row: Row[*tuple[Any, ...]]) -> Settled:
    """What a stored row says to an action that comes again."""
    match row.status:
        case "done":
            return Settled("succeeded", row.reply, duplicate=True)
        case "refused":
            failure = msgspec.json.decode(row.failure, type=Failure)
            return Settled("refused", failure=failure, duplicate=True)
        case _:
            return Settled("rejected", failure=_UNDONE_BEFORE)


def _is_newer(newest: int | None, effect: Effect) -> bool:
    return newest is not None and newest > effect.epoch


def _stale(effect: Effect, newest: int) -> Settled:
    message = (
        f"epoch {effect.epoch} of shard {effect.shard} is over: this participant has heard from "
        f"epoch {newest}"
    )
    return Settled("rejected", failure=stale_epoch(message, newest))


def _no_undo(effect: Effect) -> Failure:
    return Failure(
        "UndoMissing",
        f"{effect.step} took effect, and this worker's participant has no undo: deploy one, then retry",
    )


_UNDONE_BEFORE = Failure(
    "UndoneBefore", "the action came after its undo, so it was not carried out"
)
_NOTHING_KNOWN = Failure(
    "UndoMissing",
    "whether the action took effect outside the database isn't known, and this worker's participant has no undo: "
    "deploy one, then retry",
)
