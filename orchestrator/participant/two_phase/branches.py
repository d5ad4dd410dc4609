"""Branches of atomic groups as prepared transactions: the barrier's rules for vote, commit and abort.

The barrier row is written inside the prepared transaction. So once a gid is unknown, the row says what became of it:
there, it was committed; not there, it wasn't. An abort that comes first leaves a tombstone in its place.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import Refused, SagaError
from orchestrator.kernel.events import Failure
from orchestrator.participant import statements
from orchestrator.participant.barrier import Act, Effect, Reverse, Settled, row_of
from orchestrator.participant.commits import CommitUnknownError, check_intact, commit
from orchestrator.participant.tables import DONE, REFUSED, TOMBSTONE, UNDONE, bounded, epoch
from orchestrator.participant.two_phase.group import Confirm, GroupBarrier
from orchestrator.participant.two_phase.port import (
    Ending,
    Found,
    Proof,
    ResourceManager,
    Shortcoming,
    Standing,
    StillRunningError,
    WrongDatabaseError,
)
from orchestrator.transport.gid import Gid

P = ParamSpec("P")
R = TypeVar("R")

CLAIM_WAIT_S = 0.5
"""How long the proof row is waited for, before it is looked again whether its transaction is prepared by now; where an
action follows, ``LOCK_WAIT_S`` at most, as a second limit would cost a second statement."""

LOCK_WAIT_S = 0.02
"""How long an action may wait for a lock. It may be a prepared branch's, whose commit needs a worker process: were all
of them waiting, it would never come. So an action that waits longer fails, and its group tries again."""

PAUSE_S = 0.02

_NO_EPOCH = 2**31
"""Newer than any."""


class Prepared(NamedTuple):
    """A branch that is to be committed, and what its action has returned, as JSON."""

    effect: Effect
    gid: Gid
    reply: str


class Branches(GroupBarrier):
    """The barrier of a database whose transactions can be prepared."""

    def __init__(self, engine: Callable[[], Engine], resources: ResourceManager) -> None:
        super().__init__(engine)
        self._resources = resources

    def do(self, effect: Effect, act: Act) -> Settled:
        """As any barrier does; a lock, which may be a prepared branch's, is not waited for much longer than there."""
        return super().do(effect, self._impatient(act))

    def undo(self, effect: Effect, reverse: Reverse | None, *, certain: bool) -> Settled:
        """As ``do``."""
        impatient = None if reverse is None else self._impatient(reverse)
        return super().undo(effect, impatient, certain=certain)

    def confirm(self, effect: Effect, confirm: Confirm) -> Settled:
        """As ``do``."""
        return super().confirm(effect, self._impatient(confirm))

    def prepare(self, effect: Effect, gid: Gid, act: Act, timeout_s: float) -> Settled:
        """Carry out an action up to the point where it can be committed and can be rolled back; and vote.

        What isn't ``succeeded`` has left nothing prepared. An exception of ``act`` passes through, as an error does
        that the database answers PREPARE with. Raises ``CommitUnknownError`` where nobody can say what came of PREPARE.
        """
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        until = time.monotonic() + timeout_s
        look = False  # a first copy finds its gid free, so only one that has had to wait asks
        while True:
            try:
                settled = self._prepared(effect, gid, act, until, look=look)
            except Refused as refusal:
                return self._refused(effect, gid, refusal, until)
            if settled is not None:
                return settled
            look = True
            if time.monotonic() > until:
                raise CommitUnknownError(f"a copy of this command is at work on {gid} still")

    def commit(self, effect: Effect, gid: Gid, told: str | None = None) -> Settled:
        """Commit what is prepared, or find out what became of it. Errors mean: try again.

        ``told``: the reply, if the coordinator knows it from the vote; then it isn't read where there is something to
        commit.
        """
        unheard_of = not self._has_heard_of(effect.shard)
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        committed, row = self._committed(effect, gid, read=told is None)
        if committed and told is not None:
            return Settled("succeeded", told)
        if row is None:
            if committed or unheard_of:
                raise WrongDatabaseError(
                    f"branch {gid}: this database has no proof row of it"
                    f"{'' if committed else ', and has never heard of its shard'}: is it the service's own?"
                )
            return Settled("heuristic_rollback", failure=_lost(gid))
        if row.status in {DONE, UNDONE}:
            return Settled("succeeded", row.reply, duplicate=not committed)
        return Settled("protocol_error", failure=_never_voted(gid, row.status))

    def commit_together(self, branches: Sequence[Prepared]) -> dict[Gid, Settled]:
        """Commit several whose replies are known, as far as that is plain; the others are left to ``commit``."""
        plain = {
            one.gid: Settled("succeeded", one.reply)
            for one in branches
            if self._epochs.get(one.effect.shard) == one.effect.epoch
        }
        if len(plain) < 2:
            return {}
        try:
            ended = self._resources.commit_together(self._engine(), list(plain))
        except Exception:  # noqa: BLE001 - each is committed by itself then, and tells of it
            return {}
        return {gid: plain[gid] for gid in ended}

    def abort(self, effect: Effect, gid: Gid, timeout_s: float) -> Settled:
        """Roll back what is prepared, or see to it that nothing ever is. Errors mean: try again."""
        if (too_old := self._too_old(effect)) is not None:
            return too_old
        until = time.monotonic() + timeout_s
        while True:
            self._finished(gid, "ROLLBACK")
            settled = self._buried(effect, gid)
            if settled is not None:
                return settled
            if time.monotonic() > until:
                raise StillRunningError(f"{gid} is being prepared still; its abort has to wait")

    def roll_back(self, gid: Gid) -> bool:
        """Roll back a branch that nobody has a record of; False if it is gone."""
        return self._finished(gid, "ROLLBACK")

    def found(self) -> list[Found]:
        """The prepared transactions of this database that are ours."""
        with self._engine().connect() as connection:
            return self._resources.found(connection)

    def shortcomings(self) -> list[Shortcoming]:
        """What keeps this database from taking part; if nothing is known to, it is tried. Raises its errors."""
        with self._engine().connect() as connection:
            found = self._resources.shortcomings(connection)
        return found or self._rehearsed()

    def _impatient(
        self, act: Callable[Concatenate[Connection, P], R]
    ) -> Callable[Concatenate[Connection, P], R]:
        def limited(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> R:
            self._resources.limit_waits(connection, LOCK_WAIT_S)
            return act(connection, *args, **kwargs)

        return limited

    def _rehearsed(self) -> list[Shortcoming]:
        """Prepare a proof row and roll it back, as the service's own user."""
        name = f"rehearsal-{uuid.uuid4().hex}"
        gid = Gid(0, 0, name, "rehearsal")
        proof = row_of(Effect(name, name, "rehearsal", 0, _NO_EPOCH, "{}"), DONE)
        try:
            with self._begun(gid, proof) as (connection, _):
                written = {"key": proof["effect_key"], "reply_text": "null"}
                connection.execute(statements.store_reply, written)
                self._resources.prepare(connection, gid, proof, None)
            self.roll_back(gid)
        except DBAPIError as error:
            what = f"a transaction can't be prepared: {' '.join(str(error.orig).split())}"
            return [Shortcoming(what, "see what its user may do, and what the server's limits are")]
        return []

    def heard_of(self) -> dict[int, int]:
        """Shard to the newest epoch that this database has heard of."""
        with self._engine().connect() as connection:
            return {row.shard: row.epoch for row in connection.execute(select(epoch))}

    # -- prepare

    def _prepared(
        self, effect: Effect, gid: Gid, act: Act, until: float, *, look: bool
    ) -> Settled | None:
        """Do it and vote; None if a copy of the command is at work now, or has been."""
        limit_s = min(max(until - time.monotonic(), 0.001), LOCK_WAIT_S)
        proof = row_of(effect, DONE)
        with self._begun(gid, proof, limit_s, look=look) as (connection, standing):
            if standing != "entered":
                return self._said(effect, standing)
            transaction = connection.get_transaction()
            reply = act(connection)
            check_intact(connection, transaction)
            try:
                has_written = self._resources.prepare(connection, gid, proof, reply)
            except SagaError:
                raise
            except Exception as error:  # noqa: BLE001 - asked about, and raised if it was true
                connection.invalidate()
                connection.close()
                self._ask(effect, gid, error, until)
                has_written = True
            return Settled("succeeded", reply, vote="prepared" if has_written else "read_only")

    def _said(self, effect: Effect, standing: Standing) -> Settled | None:
        """The answer of a branch that is there already; None, after a pause, while a copy is at work on it."""
        if standing == "prepared":
            return Settled("succeeded", duplicate=True, vote="prepared")
        if standing == "written":
            with self._engine().connect() as connection:
                return _voted(self._known(connection, effect))
        time.sleep(PAUSE_S)
        return None

    def _refused(self, effect: Effect, gid: Gid, refusal: Refused, until: float) -> Settled:
        """Store the no, unless a copy has said yes meanwhile: then that is the answer, as its branch is there."""
        while True:
            with self._begun(gid, row_of(effect, DONE)) as (_, standing):
                pass
            said = (
                self._no(effect, refusal) if standing == "entered" else self._said(effect, standing)
            )
            if said is not None:
                return said
            if time.monotonic() > until:
                raise CommitUnknownError(f"a copy of this command is at work on {gid} still")

    def _no(self, effect: Effect, refusal: Refused) -> Settled | None:
        """Store a no; None if a copy has entered meanwhile, which may be prepared for as long as its group takes."""
        try:
            return self._refuse(effect, refusal, self._limit_claim)
        except DBAPIError as error:
            if not self._resources.is_wait_over(error):
                raise
            return None

    def _ask(self, effect: Effect, gid: Gid, error: Exception, until: float) -> None:
        """Return if the branch is prepared after all; raise ``error`` if it isn't and never will be.

        The proof row can be claimed only after the lost transaction has ended without a trace.
        """
        while True:
            try:
                with self._begun(gid, row_of(effect, DONE)) as (_, standing):
                    pass
                said = None if standing == "entered" else self._said(effect, standing)
            except DBAPIError as unreachable:
                raise CommitUnknownError(f"nobody answers for {gid}: {unreachable}") from error
            if said is not None and said.vote == "prepared":
                return  # and, if it is the row that says so, committed meanwhile
            if said is not None or standing == "entered":
                raise error
            if time.monotonic() > until:
                raise CommitUnknownError(
                    f"whether {gid} is prepared isn't known in time"
                ) from error

    @contextmanager
    def _begun(
        self, gid: Gid, proof: Proof, wait_s: float = CLAIM_WAIT_S, *, look: bool = True
    ) -> Iterator[tuple[Connection, Standing]]:
        """A connection in a transaction under the gid if that is free; abandoned at the end unless it is prepared."""
        begun: tuple[Connection, Standing] = self._opened(
            lambda c: self._resources.begin(c, gid, proof, wait_s, look=look)
        )
        connection, standing = begun
        try:
            yield begun
        finally:
            if not connection.closed:
                self._resources.abandon(connection, gid if standing == "entered" else None)

    def _limit_claim(self, connection: Connection) -> None:
        self._resources.limit_waits(connection, CLAIM_WAIT_S)

    # -- abort

    def _buried(self, effect: Effect, gid: Gid) -> Settled | None:
        """Leave a tombstone where no proof row is; None while a prepare holds the row."""
        connection, _ = self._opened(self._limit_claim)
        try:
            if self.claim(connection, effect, TOMBSTONE):
                commit(connection)
                return Settled("succeeded")
            row = self.row(connection, effect)
            if row is None or (row.newest is not None and row.newest > effect.epoch):
                return self._superseded(connection, effect)
            if row.status in {DONE, UNDONE}:
                return Settled("heuristic_commit", row.reply, failure=_committed(gid))
            if row.status == REFUSED:
                values = {"key": bounded(effect.key), "new_status": TOMBSTONE, "at": time.time()}
                connection.execute(statements.mark, values)
                commit(connection)
            return Settled("succeeded", duplicate=row.status == TOMBSTONE)
        except DBAPIError as error:
            if not self._resources.is_wait_over(error):
                raise
            return None
        finally:
            with suppress(DBAPIError):  # a connection that is lost has nothing to roll back
                connection.rollback()
            self._resources.abandon(connection, None)

    # -- looking

    def _finished(self, gid: Gid, ending: Ending) -> bool:
        return self._ending(lambda connection: self._resources.finish(connection, gid, ending))

    def _committed(
        self, effect: Effect, gid: Gid, *, read: bool
    ) -> tuple[bool, Row[*tuple[Any, ...]] | None]:
        """Whether a branch was committed now; and its proof row, on the same connection, unless it isn't needed."""

        def committed(connection: Connection) -> tuple[bool, Row[*tuple[Any, ...]] | None]:
            found = self._resources.finish(connection, gid, "COMMIT")
            return found, self._proof(connection, effect) if read or not found else None

        return self._ending(committed)

    def _ending(self, end: Callable[[Connection], R]) -> R:
        """End a branch; once more on a new connection if the pooled one was dead: to end it twice is harmless."""
        try:
            with self._resources.connect_to_finish(self._engine()) as connection:
                return end(connection)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        with self._resources.connect_to_finish(self._engine()) as connection:
            return end(connection)

    def _proof(self, connection: Connection, effect: Effect) -> Row[*tuple[Any, ...]] | None:
        values = {"effect_key": bounded(effect.key), "shard": effect.shard}
        return connection.execute(statements.read_row, values).first()

    def _has_heard_of(self, shard: int) -> bool:
        """Whether any command of the shard has ever come here; a database that isn't the service's own hasn't."""
        if shard in self._epochs:
            return True
        with self._engine().connect() as connection:
            return connection.scalar(statements.newest_epoch, {"shard": shard}) is not None


def _voted(settled: Settled) -> Settled:
    """A row that is there says yes if the action is done; it has been committed since."""
    if settled.outcome != "succeeded":
        return settled
    return Settled("succeeded", settled.reply, duplicate=True, vote="prepared")


def _lost(gid: Gid) -> Failure:
    return Failure(
        "HeuristicRollback",
        f"there is no branch {gid} in the database, and no proof row: somebody has rolled it back by hand, or it was "
        "lost with the database's own data",
    )


def _committed(gid: Gid) -> Failure:
    return Failure(
        "HeuristicCommit",
        f"branch {gid} is gone, and its proof row is there: somebody has committed it by hand",
    )


def _never_voted(gid: Gid, status: str) -> Failure:
    said = "it refused" if status == REFUSED else "it was aborted"
    return Failure(
        "ProtocolError", f"branch {gid} is to commit, but {said}: it has no yes to stand by"
    )
