"""A folder of archive files: written so that a crash leaves nothing half, and read again as runs.

A file is named by its content. Beside it lies its manifest, which is written last: a file without one was never
verified, and nothing was removed for it.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from orchestrator.definition.plan import Plan
from orchestrator.errors import ArchiveError, RunNotFoundError, UnknownSagaError
from orchestrator.journal.archive_file import Batch, Head, check, decoded, encoded, head_of
from orchestrator.journal.matching import found_run, page_of
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.journal.records import recorded
from orchestrator.kernel.summary import RunSummary

SUFFIX = ".jsonl.gz"
MANIFEST = ".manifest.json"
_HASH_SHOWN = 16


class Manifest(msgspec.Struct, frozen=True):
    """What a file should be. Times are epoch seconds."""

    format: str
    file: str
    sha256: str
    bytes: int
    runs: int
    events: int
    sagas: dict[str, int]
    """Saga to the number of its runs."""
    ended_from: float
    ended_to: float


def store(folder: Path, batch: Batch) -> Manifest:
    """Write a batch to disk, read it back and verify it; then its manifest. Writing it again changes nothing.

    Raises ``ArchiveError``.
    """
    content = encoded(batch)
    manifest = _manifest(batch, content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / manifest.file, content)
        verified(folder, manifest)
        _write(
            folder / f"{manifest.file}{MANIFEST}",
            msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n",
        )
    except OSError as error:
        raise ArchiveError(f"{folder} can't be written: {error}") from error
    return manifest


def manifests(folder: Path) -> list[Manifest]:
    """The manifests in a folder, oldest runs first. Raises ``ArchiveError``."""
    try:
        found = [
            msgspec.json.decode(path.read_bytes(), type=Manifest)
            for path in folder.glob(f"*{MANIFEST}")
        ]
    except (OSError, msgspec.MsgspecError) as error:
        raise ArchiveError(f"a manifest in {folder} can't be read: {error}") from error
    return sorted(found, key=lambda one: (one.ended_from, one.file))


def verified(folder: Path, manifest: Manifest) -> Batch:
    """A file's content, read from disk: its bytes, every link and every replay are right. Raises ``ArchiveError``."""
    content = _read(folder / manifest.file)
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise ArchiveError(f"{folder / manifest.file} isn't what was written: its SHA-256 differs")
    batch = decoded(content, manifest.file)
    if (len(batch.runs), len(batch.rows)) != (manifest.runs, manifest.events):
        raise ArchiveError(f"{folder / manifest.file}: it doesn't hold what its manifest says")
    check(batch, manifest.file)
    return batch


def head(folder: Path, manifest: Manifest) -> Head:
    """The beginning of a file. Raises ``ArchiveError``."""
    return head_of(_read(folder / manifest.file), manifest.file)


class ArchivedRuns:
    """The runs of a file, or of a folder of files, to be looked at as those of a journal are."""

    def __init__(self, path: Path) -> None:
        """Read the rows of every run. Raises ``ArchiveError``."""
        self._where: dict[str, Path] = {}
        self._runs: dict[str, RunSummary] = {}
        self._plans: dict[str, Plan] = {}
        for file in _files(path):
            found = head_of(_read(file), file.name)
            self._plans.update(found.plans)
            for run in found.runs:
                known = self._runs.get(run.run_id)
                if known is None or known.updated_at < run.updated_at:
                    self._runs[run.run_id], self._where[run.run_id] = run, file

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run by its id, a prefix of it, its key, or ``saga:key``. Raises as the journal's."""
        keys = {(run.saga, run.key): run_id for run_id, run in self._runs.items() if run.key}
        try:
            return found_run(self._runs, keys, id_or_prefix)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"{error} in the archive") from error

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs, newest first."""
        return page_of(list(self._runs.values()), where, cursor, limit)

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        file = self._where[run_id]
        batch = decoded(_read(file), file.name)
        return [recorded(row) for row in batch.rows if row.run_id == run_id]

    def plan(self, plan_hash: str) -> Plan:
        """A plan of one of the runs. Raises ``UnknownSagaError``."""
        if plan_hash not in self._plans:
            raise UnknownSagaError(f"the archive holds no plan with hash {plan_hash}")
        return self._plans[plan_hash]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = [path / manifest.file for manifest in manifests(path)]
        if not found:
            raise ArchiveError(f"{path} holds no archive: there is no *{MANIFEST} in it")
        yield from found
    else:
        yield path


def _manifest(batch: Batch, content: bytes) -> Manifest:
    digest = hashlib.sha256(content).hexdigest()
    ends = [run.ended_at for run in batch.runs if run.ended_at is not None]
    sagas: dict[str, int] = {}
    for run in batch.runs:
        sagas[run.saga] = sagas.get(run.saga, 0) + 1
    day = datetime.fromtimestamp(min(ends), UTC).strftime("%Y%m%d")
    return Manifest(
        format="saga-archive 1: gzip, one JSON object a line",
        file=f"runs-{day}-{digest[:_HASH_SHOWN]}{SUFFIX}",
        sha256=digest,
        bytes=len(content),
        runs=len(batch.runs),
        events=len(batch.rows),
        sagas=dict(sorted(sagas.items())),
        ended_from=min(ends),
        ended_to=max(ends),
    )


def _write(path: Path, content: bytes) -> None:
    """All of it under its name, on disk, or nothing: also when the machine stops."""
    if path.exists() and path.read_bytes() == content:
        return
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path} can't be read: {error.strerror or error}") from error
