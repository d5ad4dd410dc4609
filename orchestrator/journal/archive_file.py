"""What a file of an archive holds: finished runs as whole streams, in compressed JSON Lines.

Self-describing: the plans its runs were launched with, a row for each run, and every column of their records, so that
they can be replayed without the journal. The same runs give the same bytes. ``zcat`` shows all of it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

import msgspec

from orchestrator.definition.plan import Plan, decode_plan
from orchestrator.errors import ArchiveError, IllegalEventError, SagaError
from orchestrator.journal.port import Recorded
from orchestrator.journal.records import Row, Stretch, link, recorded, stretches_of
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary, summarize

FORMAT = "saga-archive"
VERSION = 1
_LEVEL = 6
_NOT_COMPARED = {"updated_at"}
"""The row's is when it was written, the log's when the event happened."""


class Batch(NamedTuple):
    """What one file holds."""

    plans: dict[str, Plan]
    runs: Sequence[RunSummary]
    rows: Sequence[Row]
    """Every record of the runs, in order of shard and offset."""
    stretches: Sequence[Stretch]


class Head(NamedTuple):
    """The beginning of a file, which can be read without its records."""

    stretches: Sequence[Stretch]
    plans: dict[str, Plan]
    runs: Sequence[RunSummary]


class _First(msgspec.Struct, tag_field="line", tag="archive"):
    format: str
    version: int
    plans: int
    runs: int
    events: int
    stretches: list[Stretch]


class _Plan(msgspec.Struct, tag_field="line", tag="plan"):
    hash: str
    plan: msgspec.Raw


class _Run(msgspec.Struct, tag_field="line", tag="run"):
    run: RunSummary


class _Event(msgspec.Struct, tag_field="line", tag="event"):
    shard: int
    offset: int
    run_id: str
    type: str
    schema_version: int
    at: float
    actor: str
    data: msgspec.Raw
    hash: str


_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(_First | _Plan | _Run | _Event)


def encoded(batch: Batch) -> bytes:
    """The file's content."""
    lines: list[object] = [
        _First(
            FORMAT,
            VERSION,
            len(batch.plans),
            len(batch.runs),
            len(batch.rows),
            list(batch.stretches),
        )
    ]
    plans = sorted(batch.plans.items())
    lines += [_Plan(plan_hash, msgspec.Raw(plan.encoded())) for plan_hash, plan in plans]
    lines += [_Run(run) for run in batch.runs]
    lines += [_Event(*row[:7], msgspec.Raw(row.data.encode()), row.hash) for row in batch.rows]
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", compresslevel=_LEVEL, mtime=0) as file:
        for line in lines:
            file.write(_encode(line) + b"\n")
    return written.getvalue()


def decoded(content: bytes, name: str) -> Batch:
    """Read a file's content. Raises ``ArchiveError``."""
    first, lines = _opened(content, name)
    head = _head(first, lines, name)
    rows = [_row(line) if isinstance(line, _Event) else _unexpected(name) for line in lines]
    if len(rows) != first.events:
        raise ArchiveError(f"{name}: it should hold {first.events} events and has {len(rows)}")
    return Batch(head.plans, head.runs, rows, head.stretches)


def head_of(content: bytes, name: str) -> Head:
    """Read the beginning of a file. Raises ``ArchiveError``."""
    return _head(*_opened(content, name), name)


def check(batch: Batch, name: str) -> None:
    """Raise ``ArchiveError`` unless every record is linked to the one before it, each stretch ends as it says, and
    the replay of each run makes its row.
    """
    _check_links(batch, name)
    records: dict[str, list[Recorded]] = {run.run_id: [] for run in batch.runs}
    try:
        for row in batch.rows:
            records[row.run_id].append(recorded(row))
        programs = {plan_hash: Program(plan, plan_hash) for plan_hash, plan in batch.plans.items()}
        for run in batch.runs:
            difference = differs(run, replayed(programs[run.plan], records[run.run_id]))
            if difference:
                raise ArchiveError(f"{name}: the replay of run {run.run_id} differs: {difference}")
    except (KeyError, IllegalEventError) as error:
        raise ArchiveError(f"{name}: a run can't be replayed: {error}") from error


def replayed(program: Program, records: Sequence[Recorded]) -> tuple[RunState, RunSummary]:
    """A run's state and row, from its events. Raises ``IllegalEventError``."""
    state = fold(program, [record.event for record in records if record.event is not None])
    return state, summarize(state, records[0].shard, records[-1].at)


def differs(run: RunSummary, found: tuple[RunState, RunSummary]) -> str:
    """Where a run's row isn't what its replay makes; empty if it is."""
    return ", ".join(
        name
        for name in RunSummary.__struct_fields__
        if name not in _NOT_COMPARED
        and msgspec.to_builtins(getattr(run, name)) != msgspec.to_builtins(getattr(found[1], name))
    )


def _check_links(batch: Batch, name: str) -> None:
    before = {(one.shard, one.first - 1): one.before for one in batch.stretches}
    if stretches_of(batch.rows, before) != list(batch.stretches):
        raise ArchiveError(f"{name}: its records aren't the stretches of the log that it names")
    chain = ""
    for row in batch.rows:
        chain = before.get((row.shard, row.offset - 1), chain)
        if link(chain, *row[:8]) != row.hash:
            raise ArchiveError(
                f"{name}: shard {row.shard} offset {row.offset} isn't what was written"
            )
        chain = row.hash


def _opened(content: bytes, name: str) -> tuple[_First, Iterator[object]]:
    lines = _lines(content, name)
    first = next(lines, None)
    if not isinstance(first, _First) or first.format != FORMAT:
        raise ArchiveError(f"{name} isn't a file of an archive")
    if first.version > VERSION:
        raise ArchiveError(f"{name} was written by a newer release (format {first.version})")
    return first, lines


def _head(first: _First, lines: Iterator[object], name: str) -> Head:
    plans: dict[str, Plan] = {}
    runs: list[RunSummary] = []
    for _ in range(first.plans):
        line = next(lines, None)
        if not isinstance(line, _Plan):
            _unexpected(name)
        plans[line.hash] = _plan(line, name)
    for _ in range(first.runs):
        line = next(lines, None)
        if not isinstance(line, _Run):
            _unexpected(name)
        runs.append(line.run)
    return Head(first.stretches, plans, runs)


def _plan(line: _Plan, name: str) -> Plan:
    try:
        plan = decode_plan(bytes(line.plan))
    except (SagaError, msgspec.MsgspecError) as error:
        raise ArchiveError(f"{name}: plan {line.hash} can't be read: {error}") from error
    if plan.hash != line.hash:
        raise ArchiveError(f"{name}: plan {line.hash} isn't what was written")
    return plan


def _lines(content: bytes, name: str) -> Iterator[object]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            for line in file:
                yield _line.decode(line)
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{name} can't be read: {error}") from error


def _row(line: _Event) -> Row:
    return Row(
        line.shard,
        line.offset,
        line.run_id,
        line.type,
        line.schema_version,
        line.at,
        line.actor,
        bytes(line.data).decode(),
        line.hash,
    )


def _unexpected(name: str) -> NoReturn:
    raise ArchiveError(f"{name}: its lines aren't in order, or some are missing")
