"""What an event becomes in the log: its place, its JSON, and its link in the shard's hash chain.

Shared by every journal, so that a log copied from one to another still verifies. This is the hot path: plain
functions over plain tuples.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from orchestrator.errors import IllegalEventError
from orchestrator.journal.port import Recorded, ShardWrite, Tenure
from orchestrator.kernel.codec import CURRENT_VERSION, decode_event, encode_event

TENURE = "tenure"
"""The type of a shard's own record: a change of writer."""


class _Opening(msgspec.Struct):
    epoch: int


class Row(NamedTuple):
    """One row of the log, column for column."""

    shard: int
    offset: int
    run_id: str
    type: str
    schema_version: int
    at: float
    actor: str
    data: str
    hash: str


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive records of a shard: ``before`` is the hash of the record before them, ``hash`` of the last."""

    shard: int
    first: int
    last: int
    before: str
    hash: str


def shard_of(run_id: str, shards: int) -> int:
    """The shard a run lives in: the same in every process and release."""
    return zlib.crc32(run_id.encode()) % shards


def rows_of(write: ShardWrite) -> tuple[list[Row], Tenure]:
    """The rows a write adds to the log, and the shard's tenure once they are there. Raises ``EncodingError``."""
    tenure = write.tenure
    shard, offset, chain = tenure.shard, tenure.next_offset, tenure.chain
    version = CURRENT_VERSION
    rows: list[Row] = []
    make = Row._make
    for run_id, event in write.events:
        data = encode_event(event).decode()
        kind, at, actor = type(event).__name__, float(event.at), event.actor
        if "\0" in actor:  # PostgreSQL has no text with nulls
            actor = actor.replace("\0", "\ufffd")
        chain = link(chain, shard, offset, run_id, kind, version, at, actor, data)
        rows.append(make((shard, offset, run_id, kind, version, at, actor, data, chain)))
        offset += 1
    after = Tenure(
        shard=shard,
        epoch=tenure.epoch,
        next_offset=offset,
        chain=chain,
        cursor_offset=write.cursor_offset,
        cursor_at=write.cursor_at,
    )
    return rows, after


def tenure_row(shard: int, epoch: int, owner: str, at: float, end: tuple[int, str]) -> Row:
    """The record that opens a tenure, after a log that ends with this offset and hash."""
    offset, chain = end[0] + 1, end[1]
    data = msgspec.json.encode({"epoch": epoch, "owner": owner}).decode()
    at = float(at)
    chain = link(chain, shard, offset, "", TENURE, CURRENT_VERSION, at, owner, data)
    return Row(shard, offset, "", TENURE, CURRENT_VERSION, at, owner, data, chain)


def epoch_after(rows: Sequence[Row], before: int) -> int:
    """The epoch in which these rows of one shard end, which follow a log that ends in epoch ``before``."""
    for row in reversed(rows):
        if row.type == TENURE:
            return msgspec.json.decode(row.data, type=_Opening).epoch
    return before


def recorded(row: Sequence[object] | Row) -> Recorded:
    """A row of the log as it is read. Raises ``IllegalEventError`` when it holds no event of ours."""
    shard, offset, run_id, kind, version, at, actor, data, chain = row
    event = None if kind == TENURE else decode_event(kind, version, data)  # type: ignore[arg-type]
    return Recorded(shard, offset, run_id, kind, at, actor, event, chain)  # type: ignore[arg-type]


def link(
    previous: str,
    shard: int,
    offset: int,
    run_id: str,
    kind: str,
    version: int,
    at: float,
    actor: str,
    data: str,
) -> str:
    """The hash of one record, in hex: SHA-256 over the previous hash and every column.

    Free text is preceded by its length, so that no two records have the same bytes.
    """
    return sha256(
        f"{previous} {shard} {offset} {kind} {version} {at!r} "
        f"{len(run_id)}:{run_id} {len(actor)}:{actor} {data}".encode()
    ).hexdigest()


def stretches_of(
    rows: Iterable[Row], before: Mapping[tuple[int, int], str] = MappingProxyType({})
) -> list[Stretch]:
    """The stretches that rows in order of shard and offset make; ``before`` has hashes of the records before them."""
    found: list[Stretch] = []
    for row in rows:
        last = found[-1] if found else None
        if last is not None and (last.shard, last.last + 1) == (row.shard, row.offset):
            found[-1] = Stretch(last.shard, last.first, row.offset, last.before, row.hash)
        else:
            chain = before.get((row.shard, row.offset - 1), "")
            found.append(Stretch(row.shard, row.offset, row.offset, chain, row.hash))
    return found


def faults(
    rows: Sequence[Row], end: tuple[int, str], archived: Sequence[Stretch] = ()
) -> tuple[list[str], tuple[int, str]]:
    """What is wrong with these rows of one shard, which follow a log that ends with ``end``; and the new end.

    ``archived`` are stretches of it that were moved to files, in order, as read after the rows.
    """
    found: list[str] = []
    offset, chain = end
    gone_to = 0
    firsts = [stretch.first for stretch in archived]
    for row in rows:
        while row.offset > offset + 1 and (index := bisect_right(firsts, offset + 1)):
            gone = archived[index - 1]
            if gone.last <= offset:
                break
            if gone.first == offset + 1 and gone.before != chain:
                found.append(
                    f"shard {gone.shard} offset {gone.first}: what was archived from here on follows"
                    " another record"
                )
            offset, chain = gone_to, _ = gone.last, gone.hash
        if row.offset <= gone_to:
            continue  # archived since it was read
        place = f"shard {row.shard} offset {row.offset}"
        if row.offset != offset + 1:
            found.append(f"{place}: follows offset {offset}, so records are missing")
        elif link(chain, *row[:8]) != row.hash:
            found.append(
                f"{place}: its content or its predecessor isn't what was written ({row.type})"
            )
        else:
            found.extend(_unreadable(row, place))
        offset, chain = row.offset, row.hash
    return found, (offset, chain)


def _unreadable(row: Row, place: str) -> list[str]:
    try:
        recorded(row)
    except IllegalEventError as error:
        return [f"{place}: {error}"]
    return []
