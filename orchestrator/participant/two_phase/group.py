"""What the barrier does for groups on any database: try, confirm, cancel; and taking back a one-phase branch.

A try is an action like any other, with its barrier row. Confirming it has a row of its own, so it happens once, and so
that a cancel can tell that it came too late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Row, select

from orchestrator.kernel.events import Failure
from orchestrator.participant import statements
from orchestrator.participant.barrier import Barrier, Done, Effect, Reverse, Settled
from orchestrator.participant.commits import check_intact, commit
from orchestrator.participant.tables import CONFIRMED, DONE, TOMBSTONE, UNDONE, barrier, bounded

Confirm = Callable[[Connection, Done], None]
"""Makes final what was tried, given the try's arguments and reply."""


class ConfirmedError(Exception):
    """A cancel came for a try that was confirmed."""


class GroupBarrier(Barrier):
    """The barrier of a database whose participants may take part in atomic groups."""

    def confirm(self, effect: Effect, confirm: Confirm) -> Settled:
        """Confirm a try, once. Errors mean: try again."""
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        connection, row = self._opened(lambda c: self.row(c, effect))
        with connection:
            if row is not None and row.newest is not None and row.newest > effect.epoch:
                return self._superseded(connection, effect)
            if row is not None and _is_confirmed(connection, effect):
                return Settled("succeeded", row.reply, duplicate=True)
            if row is None or row.status != DONE:
                return Settled("protocol_error", failure=_never_tried(effect, row))
            transaction = connection.get_transaction()
            if not self.claim(connection, _confirmation(effect), CONFIRMED):
                return self._superseded(connection, effect)
            confirm(connection, Done(row.args, row.reply))
            check_intact(connection, transaction)
            commit(connection)
        return Settled("succeeded", row.reply)

    def cancel(self, effect: Effect, reverse: Reverse, *, certain: bool) -> Settled:
        """Cancel a try, or see to it that it never takes effect; as ``undo`` does. Errors mean: try again."""

        def unless_confirmed(connection: Connection, done: Done | None) -> None:
            if _is_confirmed(connection, effect):
                raise ConfirmedError
            reverse(connection, done)

        try:
            return self.undo(effect, unless_confirmed, certain=certain)
        except ConfirmedError:
            return Settled("heuristic_commit", failure=_confirmed_before(effect))

    def recall(self, effect: Effect) -> Settled:
        """See to it that a branch that may commit in one phase never does; or learn that it has.

        Waits for one that is at work. Errors mean: try again.
        """
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        connection, is_new = self._opened(lambda c: self.claim(c, effect, TOMBSTONE))
        with connection:
            if is_new:
                commit(connection)
                return Settled("succeeded")
            row = self.row(connection, effect)
            if row is None or (row.newest is not None and row.newest > effect.epoch):
                return self._superseded(connection, effect)
            if row.status in {DONE, UNDONE}:
                return Settled("succeeded", row.reply, duplicate=True, vote="committed")
            if row.status != TOMBSTONE:
                values = {"key": bounded(effect.key), "new_status": TOMBSTONE, "at": time.time()}
                connection.execute(statements.mark, values)
                commit(connection)
        return Settled("succeeded", duplicate=row.status == TOMBSTONE)


def _confirmation(effect: Effect) -> Effect:
    return replace(effect, key=f"{effect.key}#confirmed")


def _is_confirmed(connection: Connection, effect: Effect) -> bool:
    """To be asked while the try's own row is locked."""
    key = bounded(_confirmation(effect).key)
    found = select(barrier.c.status).where(barrier.c.effect_key == key)
    return connection.scalar(found) is not None


def _never_tried(effect: Effect, row: Row[*tuple[Any, ...]] | None) -> Failure:
    said = "it was never tried" if row is None else f"its try is {row.status}"
    return Failure("ProtocolError", f"{effect.step} is to be confirmed, but {said}")


def _confirmed_before(effect: Effect) -> Failure:
    return Failure("HeuristicCommit", f"{effect.step} is to be cancelled, but it was confirmed")
