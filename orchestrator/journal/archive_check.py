"""Do the files of an archive hold what the journal says was moved to them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import ArchiveError
from orchestrator.journal import archive_removal as removal
from orchestrator.journal import log
from orchestrator.journal.archive_folder import Manifest, manifests, verified
from orchestrator.journal.records import Stretch
from orchestrator.journal.sql import SqlJournal

_ALL = 1 << 62


class _Held(NamedTuple):
    """A stretch, and the file that holds it."""

    stretch: Stretch
    manifest: Manifest


def archive_faults(journal: SqlJournal, folder: Path) -> Iterator[str]:
    """One line per thing that is wrong.

    Every file that runs were removed for has to be there with the SHA-256 that the journal knows, its links and
    replays right; and together they have to fill each anchor without a gap, from the record before it to the one
    behind it. Raises ``ArchiveError`` for a folder that can't be read.
    """
    known = journal.database.read(removal.files)
    found = {manifest.file: manifest for manifest in manifests(folder)}
    held: dict[int, list[_Held]] = {}
    for name, (sha256, _) in known.items():
        manifest = found.get(name)
        if manifest is None:
            yield f"{name}: it isn't in {folder}, and the journal has moved runs to it"
        elif manifest.sha256 != sha256:
            yield f"{name}: its manifest doesn't name the SHA-256 that the journal knows"
        else:
            try:
                for stretch in verified(folder, manifest).stretches:
                    held.setdefault(stretch.shard, []).append(_Held(stretch, manifest))
            except ArchiveError as error:
                yield str(error)
    for shard in range(journal.shards()):
        here = sorted(held.get(shard, ()), key=lambda one: one.stretch.first)
        for anchor in journal.database.read(
            lambda connection, shard=shard: log.anchors(connection, shard, 0, _ALL)  # type: ignore[misc]
        ):
            yield from _unfilled(anchor, here, folder)


def _unfilled(anchor: Stretch, held: Sequence[_Held], folder: Path) -> Iterator[str]:
    place, chain = anchor.first, anchor.before
    while place <= anchor.last:
        one = next((h for h in held if h.stretch.first <= place <= h.stretch.last), None)
        where = f"shard {anchor.shard} offset {place}"
        if one is None:
            yield f"{where}: no file of the archive has this record"
            return
        stretch = one.stretch
        before = stretch.before if stretch.first == place else _hash_at(one, place - 1, folder)
        if before != chain:
            yield f"{where}: {one.manifest.file} follows another record here"
            return
        to = min(stretch.last, anchor.last)
        chain = stretch.hash if to == stretch.last else _hash_at(one, to, folder)
        place = to + 1
    if chain != anchor.hash:
        yield f"shard {anchor.shard} offset {anchor.last}: the archive ends in another record here"


def _hash_at(held: _Held, offset: int, folder: Path) -> str:
    """The hash of a record in the middle of a file's stretch: a run that the file holds was kept."""
    rows = verified(folder, held.manifest).rows
    return next(row.hash for row in rows if (row.shard, row.offset) == (held.stretch.shard, offset))
