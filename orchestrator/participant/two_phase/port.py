"""What a database must do for its transactions to be prepared: vote first, commit or roll back later, from anywhere.

The barrier decides what to do (``branches``); a resource manager knows how its database says it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SagaError
from orchestrator.transport.gid import Gid

Standing = Literal["entered", "written", "prepared", "running"]
"""What came of beginning a branch: its transaction is begun, with its proof row; or nothing is, as the proof row, or a
newer epoch, is there already; as a prepared transaction is; as a copy is at work now."""

Proof = Mapping[str, Any]
"""A proof row, and the ``epoch`` it must not be older than."""

Ending = Literal["COMMIT", "ROLLBACK"]


class WrongDatabaseError(SagaError):
    """A branch is there, but not where, or not whose, this service is: its decision must come from its own database."""


class StillRunningError(SagaError):
    """A copy of the command, or its dying connection, holds the branch; asking again later helps."""


class ProofGoneError(SagaError):
    """The proof row isn't there any more: the participant has deleted it."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(f"the barrier row of {proof['effect_key']} went away while its action ran")


class Found(msgspec.Struct, frozen=True):
    """A prepared transaction of ours."""

    gid: Gid
    age_s: float | None = None
    """Since it was prepared; None where the database doesn't tell."""
    owner: str = ""
    locks: tuple[str, ...] = ()
    """The tables it holds locks on, each with the strongest lock."""
    waiting: int = 0
    """How many sessions wait for it."""
    holds_back: int | None = None
    """How many transactions' worth of dead rows vacuum has to leave because of it."""


class Shortcoming(msgspec.Struct, frozen=True):
    """Why a database can't take part, and what to do about it."""

    what: str
    way_out: str


class ResourceManager(Protocol):
    """The prepared transactions of one kind of database. Keeps nothing between calls; usable from several threads."""

    def connect_to_finish(self, engine: Engine) -> Connection:
        """A connection for ``finish``, on which every statement stands alone."""
        ...

    def begin(
        self, connection: Connection, gid: Gid, proof: Proof, wait_s: float, *, look: bool = True
    ) -> Standing:
        """Begin a transaction that can be prepared, with its proof row in it, unless either is there already.

        It will wait no longer than ``wait_s`` for a lock, here or later. Without ``look`` a database that would have to
        be asked whether the gid is taken isn't: the proof row finds out. Raises ``WrongDatabaseError`` if it is taken
        elsewhere.
        """
        ...

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """From now on let the connection's transaction wait no longer than this for a lock."""
        ...

    def is_wait_over(self, error: DBAPIError) -> bool:
        """Whether the error says that a lock wasn't got in time."""
        ...

    def prepare(self, connection: Connection, gid: Gid, proof: Proof, reply: str | None) -> bool:
        """Write the reply into the proof row, and prepare the connection's transaction, whose connection is given back.

        False if nothing but the proof row was written since ``begin``: then nothing is prepared, and nothing is left.
        Raises ``SagaError`` if the participant has taken its transaction or the row away. After another error the
        outcome is unknown: ask ``begin``.
        """
        ...

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """Roll back what was begun, under a gid or without, and give the connection back."""
        ...

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """Commit or roll back what is prepared under a gid; False if there is nothing under it.

        False is certain: what was there has ended, and its rows can be seen. Raises ``WrongDatabaseError``,
        ``StillRunningError`` and, where the outcome is unknown, the database's errors.
        """
        ...

    def commit_together(self, engine: Engine, gids: Sequence[Gid]) -> Collection[Gid]:
        """Commit what is prepared under several gids, where that costs less than one by one; returns those it did.

        Of the others, and after an error of the database's of all, nothing is known: ``finish`` each.
        """
        ...

    def found(self, connection: Connection) -> list[Found]:
        """Every prepared transaction that is ours and of this database."""
        ...

    def shortcomings(self, connection: Connection) -> list[Shortcoming]:
        """What is missing for preparing transactions here."""
        ...
