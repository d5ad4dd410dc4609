"""`saga launch --file`: a run for every line, checked before the first one is launched."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.showing import SETTLED
from orchestrator.errors import InvalidInputError, ResultTimeoutError, SagaError
from orchestrator.journal.port import RunFilter

BATCH = 500
_LOOK_EVERY_S = 0.2
_LINE_MAX_BYTES = 16 * 1024 * 1024


class LaunchFile(NamedTuple):
    """What to launch."""

    saga: str
    path: str
    key_field: str | None
    tags: dict[str, str]


class Line(NamedTuple):
    """One line of the file."""

    given: dict[str, Any]
    key: str | None


def launch_file(call: Invocation, wanted: LaunchFile, wait_s: float | None) -> None:
    """Check every line, then launch in batches; with ``wait_s`` wait for all of them."""
    with _opened(wanted.path) as file, _progress(call) as progress:
        total = _checked(call, wanted, file)
        task = progress.add_task("launched", total=total)
        ids: list[str] = []
        created = 0
        try:
            for batch in _batches(_lines(file, wanted)):
                runs = call.launcher.launch_named_many(
                    wanted.saga,
                    [line.given for line in batch],
                    [line.key for line in batch],
                    tags=wanted.tags,
                )
                ids += [run.id for run in runs]
                created += sum(run.created for run in runs)
                progress.update(task, completed=len(ids))
        except SagaError as error:
            again = (
                ""
                if wanted.key_field
                else ", and without --key-field a second try launches them again"
            )
            error.args = (f"{error} ({len(ids)} of {total} lines were launched before{again})",)
            raise
        statuses = None if wait_s is None else _await_all(call, ids, wait_s, progress)
    _tell(call, len(ids), created, statuses)


def _tell(call: Invocation, total: int, created: int, statuses: Counter[str] | None) -> None:
    if call.out.json:
        call.out.data({"lines": total, "created": created, "statuses": statuses})
    else:
        known = f", {total - created} had been before with their keys" if created < total else ""
        call.out.show(f"{created} launched{known}")
        if statuses is not None:
            call.out.show(", ".join(f"{number} {status}" for status, number in statuses.items()))
    if statuses is not None and set(statuses) - {"completed"}:
        raise typer.Exit(Exit.UNSUCCESSFUL)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The file, or stdin kept in a temporary one: it is read twice."""
    if path == "-":
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.seek(0)
            yield copy
        return
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 - closed below, a text names it
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--file") from None
    with file:
        yield file


def _checked(call: Invocation, wanted: LaunchFile, file: IO[bytes]) -> int:
    """The number of lines, all of which can be launched."""
    saga = call.launcher.saga(wanted.saga)
    total = 0
    for total, line in enumerate(_lines(file, wanted), start=1):
        try:
            saga.encode_input(**line.given)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{wanted.path}, run {total}: {error}; nothing was launched"
            ) from error
    file.seek(0)
    return total


def _lines(file: IO[bytes], wanted: LaunchFile) -> Iterator[Line]:
    number = 0
    while raw := file.readline(_LINE_MAX_BYTES):
        number += 1
        if not raw.strip():
            continue
        where = f"{wanted.path} line {number}"
        try:
            given = msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise InvalidInputError(
                f"{where} isn't JSON ({error}); nothing was launched"
            ) from error
        if not isinstance(given, dict):
            raise InvalidInputError(f"{where} isn't a JSON object; nothing was launched")
        yield Line(given, _key(given, wanted.key_field, where))


def _key(given: dict[str, Any], field: str | None, where: str) -> str | None:
    """The line's key; ``a.b`` looks into objects."""
    if field is None:
        return None
    value: Any = given
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise InvalidInputError(f"{where} has no text or number in {field!r}; nothing was launched")
    return str(value)


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    for line in lines:
        batch.append(line)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _await_all(call: Invocation, ids: list[str], wait_s: float, progress: Progress) -> Counter[str]:
    """How the runs stand once all have ended or need a person. Raises ``ResultTimeoutError``."""
    ends_at = call.now() + wait_s
    left = list(dict.fromkeys(ids))
    statuses: Counter[str] = Counter()
    task = progress.add_task("ended", total=len(left))
    while left:
        waiting: list[str] = []
        for start in range(0, len(left), BATCH):
            chunk = tuple(left[start : start + BATCH])
            for row in call.journal.runs(RunFilter(ids=chunk), None, BATCH).runs:
                if row.status in SETTLED:
                    statuses[row.status] += 1
                else:
                    waiting.append(row.run_id)
        left = waiting
        progress.update(task, completed=statuses.total())
        if left and call.now() >= ends_at:
            raise ResultTimeoutError(
                f"{len(left)} runs hadn't ended within {wait_s:g} s; they go on"
            )
        if left:
            call.backend.sleep(_LOOK_EVERY_S)
    return statuses


def _progress(call: Invocation) -> Progress:
    shown = call.out.errors.is_terminal and not call.out.json
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=call.out.errors,
        disable=not shown,
    )
