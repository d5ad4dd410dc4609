"""The HTTP API of a journal's upkeep: checking all of it, and moving finished runs to files.

Both may take minutes, so what they find comes as lines of JSON while they are at it; the last one has ``done``, or the
``error`` that ended it. Whoever hangs up ends them between two files or findings.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import StreamingResponse

from orchestrator.console.access import ForbiddenError, Principal
from orchestrator.console.answers import plain
from orchestrator.console.requests import Strict
from orchestrator.console.schemas import texts
from orchestrator.console.security import Admin, Parts, Using
from orchestrator.errors import InvalidInputError, SagaError
from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import Archiver
from orchestrator.journal.port import ReaderJournal
from orchestrator.journal.sql import SqlJournal
from orchestrator.views.read_model import FINDINGS_MAX, differences

LINES = "application/x-ndjson"
router = APIRouter(prefix="/api/v1")

Line = dict[str, Any]


class Archiving(Strict):
    """Which finished runs to move."""

    older_than_s: float = Field(gt=0, le=1e10)
    """Only those that ended longer ago."""
    saga: str | None = None
    dry_run: bool = False
    """Only say what there is."""


@router.get("/journal/check", tags=["journal"], responses=texts(LINES))
def check(who: Admin, parts: Using) -> StreamingResponse:
    """Walk every shard's hash chain, and compare the read model with a replay: a line for each finding, at most 100."""
    _may_see_all(who)
    return _told(_findings(parts.desk.journal))


@router.post("/archive", tags=["journal"], responses=texts(LINES))
def archive(who: Admin, parts: Using, asked: Archiving) -> StreamingResponse:
    """Move finished runs to compressed files in the console's archive folder, verified before they leave the journal: a
    line for each file.
    """
    _may_see_all(who)
    archiver = _archiver(parts)
    wanted = Wanted(parts.desk.clock() - asked.older_than_s, asked.saga)
    there = archiver.outlook(wanted)
    if asked.dry_run:
        return _told(iter([{"done": True, "before": wanted.before, **there._asdict()}]))
    return _told(_moved(archiver, wanted))


def _findings(journal: ReaderJournal) -> Iterator[Line]:
    checks = itertools.chain(journal.verify(), differences(journal))
    found = 0
    for finding in itertools.islice(checks, FINDINGS_MAX + 1):
        found += 1
        if found <= FINDINGS_MAX:
            yield {"finding": finding}
    more = found > FINDINGS_MAX
    yield {"done": True, "ok": not found, "more": more, "archived": journal.archives()}


def _moved(archiver: Archiver, wanted: Wanted) -> Iterator[Line]:
    runs = events = 0
    for step in archiver.run(wanted):
        runs, events = runs + step.removed.runs, events + step.removed.events
        yield {"file": step.manifest, "runs": step.removed.runs, "events": step.removed.events}
    yield {"done": True, "runs": runs, "events": events, "kept": Counter(archiver.kept.values())}


def _archiver(parts: Parts) -> Archiver:
    folder, journal = parts.options.archive_folder, parts.desk.journal
    if not folder:
        raise InvalidInputError("this console has no archive folder: set archive_folder")
    if not isinstance(journal, SqlJournal):
        raise InvalidInputError("only a journal in a database can be archived")
    return Archiver(journal, Path(folder), clock=parts.desk.clock)


def _may_see_all(who: Principal) -> None:
    if who.sagas:
        raise ForbiddenError("this concerns every saga, and yours are only some")


def _told(lines: Iterator[Line]) -> StreamingResponse:
    def sent() -> Iterator[bytes]:
        try:
            for line in lines:
                yield msgspec.json.encode(plain(line)) + b"\n"
        except SagaError as error:
            told = {"type": type(error).__name__, "message": str(error)}
            yield msgspec.json.encode({"error": told}) + b"\n"

    return StreamingResponse(sent(), media_type=LINES, headers={"Cache-Control": "no-store"})
