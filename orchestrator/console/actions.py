"""Changing runs, for principals: sent once under an idempotency key, refused if the run changed since it was looked at.

An idempotency key needs no table: it becomes the id of the request (of the signal, the key of the launch), which the
run's own events carry, so it lasts exactly as long as what was done under it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from orchestrator.console.access import ForbiddenError, Principal
from orchestrator.console.desk import Desk
from orchestrator.console.requests import Asked, Launching, OperationName
from orchestrator.errors import (
    InvalidInputError,
    OperationRefusedError,
    RunNotFoundError,
    SagaError,
)
from orchestrator.journal.outcome import (
    KeyReusedError,
    awaited,
    caused_by,
    events_of,
    waits_as,
)
from orchestrator.journal.port import Recorded, RunFilter
from orchestrator.kernel import events as ev
from orchestrator.kernel.messages import MANY, Signal
from orchestrator.kernel.messages import Asked as AskedFor
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.gathered import Gathered, gathered
from orchestrator.views.timeline import sentence

BULK_MAX = 1_000
"""The most runs of one bulk request."""


class ChangedError(SagaError):
    """The run has changed since it was looked at; ``length`` is how many events it has now."""

    def __init__(self, run_id: str, length: int) -> None:
        super().__init__(f"run {run_id} has changed since you looked: look again, then decide")
        self.run_id = run_id
        self.length = length


class Acted(msgspec.Struct, frozen=True):
    """What came of one operation."""

    run: RunSummary
    operation: OperationName
    taken: bool
    """A coordinator has carried it out; else it is recorded, and will be once one does."""
    events: tuple[str, ...]
    """What it led to, in words."""
    length: int
    """How many events the run has now: its next ETag."""
    waits: int | None = None
    """It takes two people, and waits for the second under this number."""


class Item(msgspec.Struct, frozen=True):
    """What came of a bulk operation for one run."""

    run: str
    outcome: Literal["sent", "refused", "changed", "not found"]
    why: str = ""


class Acts(msgspec.Struct, frozen=True):
    """What came of a bulk operation."""

    operation: OperationName
    sent: int
    items: tuple[Item, ...]


class Foreseen(msgspec.Struct, frozen=True):
    """What a bulk operation would do."""

    operation: OperationName
    matched: int
    more: bool
    """More runs fit than one request may change; these are the newest."""
    sum: Gathered
    runs: tuple[tuple[str, int, Preview], ...]
    """Run id, its number of events, and its preview."""


class Launched(msgspec.Struct, frozen=True):
    """A launch: of a new run, or the one that has its key."""

    run: RunSummary
    created: bool


class Actions:
    """Mutations. Safe for threads."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None] = time.sleep) -> None:
        self._desk = desk
        self._sleep = sleep

    def launch(self, who: Principal, asked: Launching, key: str) -> Launched:
        """Start a run; ``key`` is its idempotency key if it has none of its own."""
        if asked.key is not None and key and key != asked.key:
            raise InvalidInputError(
                "the run's key and Idempotency-Key are the same thing: give one of them"
            )
        if not who.may_see(asked.saga):
            raise ForbiddenError(f"{who.name} may not launch {asked.saga!r}")
        client = self._desk.clients(who.name)
        run = client.launch_named(
            asked.saga, asked.input, key=asked.key or key or None, tags=asked.tags
        )
        return Launched(self._desk.row(who, run.id), run.created)

    def preview(
        self, who: Principal, run: str, operation: OperationName, asked: Asked, *, bulk: str = ""
    ) -> Preview:
        """What an operation would do, by itself or as one of many. Raises ``RunNotFoundError``,
        ``InvalidInputError``.
        """
        row = self._desk.row(who, run)
        message = asked.message(operation, at=self._desk.clock(), actor=who.name, bulk=bulk)
        seen = self._desk.clients(who.name).preview(row.run_id, message)
        return self._desk.preview(who, row, seen)

    def act(
        self,
        who: Principal,
        run: str,
        operation: OperationName,
        asked: Asked,
        *,
        key: str = "",
        expects: int | None = None,
    ) -> Acted:
        """Send an operation and wait a moment for what it leads to.

        Raises ``OperationRefusedError``, ``ChangedError``, ``KeyReusedError``, ``RunNotFoundError``,
        ``InvalidInputError``.
        """
        row = self._desk.row(who, run)
        request = _request_id(who, row.run_id, key)
        message = asked.message(
            operation, at=self._desk.clock(), actor=who.name, request=request, expects=expects
        )
        self._send(who, row.run_id, operation, message, request, expects)
        return self._await(who, row.run_id, operation, request, expects)

    def foresee(
        self,
        who: Principal,
        operation: OperationName,
        asked: Asked,
        runs: Iterable[RunSummary],
        *,
        more: bool,
    ) -> Foreseen:
        """What an operation would do to many runs."""
        begun = [run for run in runs if run.status != "accepted"]
        seen = [
            (run.run_id, preview.length, preview)
            for run in begun
            for preview in (self.preview(who, run.run_id, operation, asked, bulk=MANY),)
        ]
        rule = self._desk.clients(who.name).two_people
        whole = rule.whole(operation, tuple({run.saga for run in begun}))
        total = gathered((preview for _, _, preview in seen), whole)
        return Foreseen(operation, len(seen), more, total, tuple(seen))

    def act_on_many(
        self,
        who: Principal,
        operation: OperationName,
        asked: Asked,
        runs: Sequence[tuple[str, int | None]],
        *,
        key: str = "",
    ) -> Acts:
        """Send an operation to each of these runs, checked one by one; doesn't wait for what it leads to."""
        items = tuple(self._item(who, operation, asked, run, length, key) for run, length in runs)
        return Acts(operation, sum(item.outcome == "sent" for item in items), items)

    def matching(self, who: Principal, where: RunFilter) -> tuple[list[RunSummary], bool]:
        """The newest runs that fit, and whether more do."""
        page = self._desk.runs(who, where, None, BULK_MAX)
        found = list(page.runs)
        while page.looked_at and page.cursor and len(found) < BULK_MAX:
            page = self._desk.runs(who, where, page.cursor, BULK_MAX - len(found))
            found += page.runs
        return found, page.cursor is not None

    def _item(
        self,
        who: Principal,
        operation: OperationName,
        asked: Asked,
        run: str,
        expects: int | None,
        key: str,
    ) -> Item:
        try:
            row = self._desk.row(who, run)
            request = _request_id(who, row.run_id, key)
            message = asked.message(
                operation,
                at=self._desk.clock(),
                actor=who.name,
                request=request,
                expects=expects,
                bulk=MANY,
            )
            self._send(who, row.run_id, operation, message, request, expects)
        except RunNotFoundError as error:
            return Item(run, "not found", str(error))
        except ChangedError as error:
            return Item(run, "changed", str(error))
        except (OperationRefusedError, KeyReusedError) as error:
            return Item(run, "refused", str(error))
        return Item(row.run_id, "sent")

    def _send(
        self,
        who: Principal,
        run_id: str,
        operation: OperationName,
        message: AskedFor | Signal,
        request: str,
        expects: int | None,
    ) -> None:
        records = self._records(run_id)
        if any(caused_by(records, request)):
            _settled(run_id, records, operation, request, expects)
            return
        if expects is not None and expects != len(records):
            raise ChangedError(run_id, len(records))
        client = self._desk.clients(who.name)
        if isinstance(message, Signal) and records:
            refused = client.preview(run_id, message).refused
            if refused:
                raise OperationRefusedError(refused)
        client.operate(run_id, message)

    def _await(
        self,
        who: Principal,
        run_id: str,
        operation: OperationName,
        request: str,
        expects: int | None,
    ) -> Acted:
        records, found = awaited(
            lambda: self._records(run_id),
            lambda seen: _settled(run_id, seen, operation, request, expects),
            self._desk.options.wait_s,
            self._desk.clock,
            self._sleep,
        )
        row = self._desk.row(who, run_id)
        told = self._desk.texts(who, row, (sentence(event)[0] for event in found))
        waits = waits_as(records, found)
        return Acted(row, operation, bool(found), told, len(records), waits)

    def _records(self, run_id: str) -> list[Recorded]:
        return [r for r in self._desk.journal.history(run_id) if r.event is not None]


def _request_id(who: Principal, run_id: str, key: str) -> str:
    """The key, made the principal's and the run's own: nobody else's key can be taken for it."""
    if not key:
        return uuid.uuid4().hex
    return hashlib.sha256(f"{who.name}\0{run_id}\0{key}".encode()).hexdigest()[:32]


def _settled(
    run_id: str,
    records: Sequence[Recorded],
    operation: OperationName,
    request: str,
    expects: int | None,
) -> list[ev.Event]:
    """As ``events_of``; a refusal because the run had changed is ``ChangedError``."""
    try:
        return events_of(records, operation, request)
    except OperationRefusedError:
        if expects is not None and _length_before(records, request) != expects:
            raise ChangedError(run_id, len(records)) from None
        raise


def _length_before(records: Sequence[Recorded], request: str) -> int:
    first = next(caused_by(records, request))
    return next(index for index, record in enumerate(records) if record.event is first)
