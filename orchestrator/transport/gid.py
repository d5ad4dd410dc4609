"""The name of a branch of an atomic group in its database: what ``PREPARE TRANSACTION`` and ``XA START`` are given.

It names the run, the step, the group's attempt and the shard, so that whoever finds a prepared transaction, even long
after, can tell that it is ours and ask the journal for its decision.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import NamedTuple

PREFIX = "saga-orch1"
"""Begins every gid of ours; the digit is the format's version. Nothing else is ever touched."""

GID_BYTES_AT_MOST = 199
"""PostgreSQL wants fewer than 200."""

XA_BYTES_AT_MOST = 64
"""MariaDB's limit for each of the two parts of an XA transaction's name."""

_DIGEST = 16


class Gid(NamedTuple):
    """One branch in one attempt of its group.

    ``run`` and ``step`` are cut, and end in ``~`` and a hash, where they are too long for the database.
    """

    shard: int
    round: int
    """The group's attempt, from 0: ``Work.round``."""
    run: str
    step: str

    def __str__(self) -> str:
        """As PostgreSQL gets it: ``saga-orch1:shard:round:run:step``."""
        head = f"{PREFIX}:{self.shard}:{self.round}:"
        room = GID_BYTES_AT_MOST - len(head) - 1
        run = _cut(self.run, room // 2)
        return f"{head}{run}:{_cut(self.step, room - len(run.encode()))}"

    def xa(self, database: str) -> tuple[str, str]:
        """As MariaDB gets it: the transaction's name (prefix, run) and the branch's (shard, round, database, step).

        The names are the whole server's, so a database's own are told by a hash of its name.
        """
        head = f"{self.shard}:{self.round}:{_tag(database)}:"
        run = _cut(self.run, XA_BYTES_AT_MOST - len(PREFIX) - 1)
        return f"{PREFIX}:{run}", f"{head}{_cut(self.step, XA_BYTES_AT_MOST - len(head))}"

    @property
    def has_whole_run(self) -> bool:
        """Whether ``run`` is the run's id, and not the cut beginning of a long one."""
        return "~" not in self.run

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is cut."""
        return self.has_whole_run and "~" not in self.step

    def is_of(self, step: str) -> bool:
        """Whether the branch is this step's, which may be longer than the name in the database."""
        digest = hashlib.sha256(step.encode()).hexdigest()[:_DIGEST]
        return self.step == step or self.step.endswith(f"~{digest}")


def read_gid(text: str) -> Gid | None:
    """The branch that a PostgreSQL gid names; None for a foreign one."""
    parts = text.split(":", 4)
    if len(parts) != 5 or parts[0] != PREFIX:
        return None
    return _read(parts[1], parts[2], parts[3], parts[4])


def read_xa(transaction: str, branch: str, database: str) -> Gid | None:
    """The branch that an XA transaction's two names give; None for a foreign one, or another database's."""
    prefix, _, run = transaction.partition(":")
    parts = branch.split(":", 3)
    if prefix != PREFIX or len(parts) != 4 or parts[2] != _tag(database):
        return None
    return _read(parts[0], parts[1], run, parts[3])


def _tag(database: str) -> str:
    return f"{zlib.crc32(database.encode()):08x}"


def _read(shard: str, round_: str, run: str, step: str) -> Gid | None:
    if not (shard.isdecimal() and round_.isdecimal() and run and step):
        return None
    return Gid(int(shard), int(round_), run, step)


def _cut(text: str, room: int) -> str:
    """At most ``room`` bytes of ``text``; a colon would part a run's name in two, so it goes too."""
    raw = text.encode()
    if len(raw) <= room and b":" not in raw:
        return text
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST]
    kept = raw.replace(b":", b"_")[: room - _DIGEST - 1].decode(errors="ignore")
    return f"{kept}~{digest}"
