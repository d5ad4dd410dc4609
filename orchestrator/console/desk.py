"""What somebody sees: every question goes through here, so that none forgets who asks.

A run of a saga that a principal may not see doesn't exist for them: the answer is the same as for an id that nobody
has.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.client import Client
from orchestrator.console.access import Principal, Role
from orchestrator.console.archives import Archives, Found
from orchestrator.console.around import ServicesSeen, Surroundings
from orchestrator.console.kept import Kept
from orchestrator.console.options import ConsoleOptions
from orchestrator.console.overview import InFlight, in_flight
from orchestrator.console.redaction import (
    approval_without_values,
    doing_without_values,
    entry_without_values,
    look_without_values,
    run_without_values,
)
from orchestrator.console.shown import SagaRow, Seen, Shards, saga_rows
from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Saga
from orchestrator.errors import (
    AmbiguousRunError,
    InvalidInputError,
    RunArchivedError,
    RunNotFoundError,
    UnknownSagaError,
)
from orchestrator.journal.approvals import Approval, Judged
from orchestrator.journal.audit import AuditPage, audit
from orchestrator.journal.bulk import BulkItem
from orchestrator.journal.incident import Cluster, ClusterPage
from orchestrator.journal.port import Journal, OperationFilter, Page, Recorded, RunFilter
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.as_test import as_test
from orchestrator.views.look import look
from orchestrator.views.pulse import Pulse, pulse
from orchestrator.views.redaction import Curtains
from orchestrator.views.statistics import Statistics, statistics
from orchestrator.views.timeline import Entry, timeline

_EVENTS_MAX = 200_000
_KEPT_S = 3.0
_OPEN = ("accepted", "running", "compensating", "paused", "stuck")
_OPEN_PAGE, _OPEN_PAGES, _FLYING_PAGES = 500, 10, 4
_NOTHING = "\0"
"""No saga is called so."""


class Desk:
    """Reading, for principals. Safe for threads."""

    def __init__(
        self,
        journal: Journal,
        clients: Callable[[str], Client],
        sagas: Mapping[str, Saga[..., Any]],
        options: ConsoleOptions,
        clock: Callable[[], float] = time.time,
        around: Surroundings | None = None,
    ) -> None:
        self.journal = journal
        self.clients = clients
        """A client that speaks for an actor."""
        self.sagas = sagas
        self.options = options
        self.clock = clock
        self.around = around or Surroundings()
        self._curtains = Curtains(journal)
        self._archives = Archives(options.archive_folder, clock)
        self._counts = Kept[dict[str, dict[str, int]]](_KEPT_S, clock)
        self._open = Kept[tuple[dict[int, int], bool]](_KEPT_S, clock)
        self._pulses = Kept[Pulse](_KEPT_S, clock)
        self._flying = Kept[InFlight](_KEPT_S, clock)
        self._statistics = Kept[Statistics](_KEPT_S, clock)

    def sees_values(self, who: Principal) -> bool:
        """Whether inputs, arguments and results are shown to them."""
        return self.options.viewers_see_values or who.role.includes(Role.OPERATOR)

    def sees_redacted(self, who: Principal) -> bool:
        """Whether they are shown even what the types declare redacted. Viewers never are."""
        least = self.options.redacted_shown_to
        return least is not None and least is not Role.VIEWER and who.role.includes(least)

    def preview(self, who: Principal, run: RunSummary, seen: Preview) -> Preview:
        """A preview as they may see it."""
        return seen if self.sees_redacted(who) else self._curtains.preview(run, seen)

    def approval(self, who: Principal, one: Approval) -> Approval:
        """A request for a second person as they may see it."""
        shown = one if self.sees_redacted(who) else self._curtains.approval(one)
        return shown if self.sees_values(who) else approval_without_values(shown)

    def judged(self, who: Principal, one: Judged) -> Judged:
        """A request with its previews as they may see it."""
        return one if self.sees_redacted(who) else self._curtains.judged(one)

    def texts(self, who: Principal, run: RunSummary, texts: Iterable[str]) -> tuple[str, ...]:
        """Texts about a run as they may see them."""
        return tuple(texts) if self.sees_redacted(who) else self._curtains.texts(run, texts)

    def row(self, who: Principal, run: str) -> RunSummary:
        """A run's row, by id, id prefix, key or ``saga:key``. Raises ``AmbiguousRunError``, ``RunNotFoundError``, of
        which ``RunArchivedError`` is one.
        """
        try:
            found = self.journal.find(run)
        except AmbiguousRunError as error:
            if who.sagas:  # the message names runs that may not be theirs
                raise AmbiguousRunError(f"{run!r} fits several runs: give the whole id") from error
            raise
        except RunArchivedError as error:
            if who.sagas:  # the message says what became of a run that may not be theirs
                self._archived(who, run, error)
            raise
        if not who.may_see(found.saga):
            raise _nobody(run)
        return self._row_for(who, found)

    def runs(
        self, who: Principal, where: RunFilter, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """A page of the runs that they may see."""
        page = self.journal.runs(replace(where, sagas=who.sagas), cursor, limit)
        return replace(page, runs=tuple(self._row_for(who, run) for run in page.runs))

    def clusters(
        self, who: Principal, saga: str = "", cursor: str | None = None, limit: int = 50
    ) -> ClusterPage:
        """Open incidents by their cause, those of the sagas that they may see."""
        if saga and not who.may_see(saga):
            saga = _NOTHING
        page = self.journal.clusters((saga,) if saga else who.sagas, cursor, limit)
        return page if self.sees_redacted(who) else self._curtains.clusters(page)

    def cluster(self, who: Principal, cluster: str) -> Cluster:
        """One cluster. Raises ``RunNotFoundError`` when no incident of it is open."""
        found = self.journal.clusters(who.sagas, None, 1, cluster or _NOTHING).clusters
        for one in found:
            if one.cluster == cluster:
                return one if self.sees_redacted(who) else self._curtains.cluster(one)
        raise RunNotFoundError(f"no open incident is of the cluster {cluster!r}")

    def found(self, who: Principal, run: str) -> Found:
        """A run with its plan and records, out of its archive if it was moved to one. Raises as ``row``."""
        try:
            row = self.row(who, run)
        except RunArchivedError as error:
            found = self._archived(who, run, error)
            return found._replace(run=self._row_for(who, found.run, found.curtains))
        records = self.journal.history(row.run_id)
        return Found(row, self.journal.plan(row.plan), records, self._curtains)

    def seen(
        self, who: Principal, run: str, *, after: int | None = None, at: float | None = None
    ) -> Seen:
        """A run now, after a number of its events, or at a time. Raises as ``row``."""
        found = self.found(who, run)
        records = [r for r in found.records if r.event is not None]
        length = len(records)
        shown, then = _until(records, after, at)
        now = self.clock() if then is None else then
        made = look(found.plan, found.run, shown, now)
        if not self.sees_redacted(who):
            made = found.curtains.look(made)
        if not self.sees_values(who):
            made = look_without_values(made)
        return Seen(made, length, len(shown), now, found.place)

    def entries(self, who: Principal, run: str) -> list[Entry]:
        """A run's events in order, in words and as data."""
        found = self.found(who, run)
        told = timeline(found.plan, found.records)
        if not self.sees_redacted(who):
            told = found.curtains.entries(found.run, told)
        return told if self.sees_values(who) else [entry_without_values(entry) for entry in told]

    def audit(
        self, who: Principal, where: OperationFilter, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """What was done to the runs that they may see. Raises ``RunNotFoundError``, ``InvalidInputError``."""
        if where.run is not None:
            where = replace(where, run=self.row(who, where.run).run_id)
        page = audit(self.journal, replace(where, sagas=who.sagas), cursor, limit)
        if not self.sees_redacted(who):
            page = self._curtains.audit(page)
        if self.sees_values(who):
            return page
        return replace(page, entries=tuple(map(doing_without_values, page.entries)))

    def keys(self, who: Principal, runs: Sequence[str]) -> dict[str, str]:
        """The keys of those of the runs that have one and that they may see."""
        ids = tuple(dict.fromkeys(runs))
        if not ids:
            return {}
        page = self.journal.runs(RunFilter(ids=ids, sagas=who.sagas), None, len(ids))
        return {row.run_id: row.key for row in page.runs if row.key}

    def items(self, who: Principal, items: Sequence[BulkItem]) -> Sequence[BulkItem]:
        """What came of the runs of a bulk operation, as they may see it."""
        return items if self.sees_redacted(who) else self._curtains.items(items)

    def as_test(self, who: Principal, run: str) -> str:
        """The run as a test for the fixture ``sagas``. Raises as ``row``."""
        found = self.found(who, run)
        return as_test(found.plan, found.run, self.entries(who, run), self._modules(found.run.saga))

    def _modules(self, saga: str) -> dict[str, str]:
        """Where a saga and its participants can be imported from, if the apps define it."""
        defined = self.sagas.get(saga)
        if defined is None:
            return {}
        found = {saga: defined.function.__module__}
        for name, action in defined.actions.items():
            function = getattr(action, "function", None)
            if function is not None:
                found[name] = function.__module__
        return found

    def counts(self, who: Principal) -> dict[str, dict[str, int]]:
        """Saga to status to number of runs, not older than a few seconds."""
        found = self._counts.get("", self.journal.counts)
        return {saga: counts for saga, counts in found.items() if who.may_see(saga)}

    def pulse(self, who: Principal, minutes: int) -> Pulse:
        """What began and ended in the last minutes, not older than a few seconds."""

        def find() -> Pulse:
            shards = self.journal.shards()
            return pulse(self.journal, shards, self.clock(), minutes, sagas=who.sagas)

        return self._pulses.get((minutes, who.sagas), find)

    def statistics(self, who: Principal, window_s: float, saga: str | None = None) -> Statistics:
        """Figures of the recent past, not older than a few seconds."""
        if saga is not None and not who.may_see(saga):
            saga = _NOTHING

        def find() -> Statistics:
            shards = self.journal.shards()
            return statistics(
                self.journal, shards, self.clock(), window_s, saga=saga, events_max=_EVENTS_MAX
            )

        found = self._statistics.get((window_s, saga), find)
        if not who.sagas:
            return found
        return replace(
            found,
            events=0,  # of all sagas: not theirs to know
            sagas=tuple(one for one in found.sagas if who.may_see(one.saga)),
            steps=tuple(one for one in found.steps if who.may_see(one.saga)),
        )

    def plans(self, who: Principal) -> list[SagaRow]:
        """Every saga's versions, stored or defined."""
        stored = [plan for plan in self.journal.plans() if who.may_see(plan.saga)]
        defined = [saga.plan for saga in self.sagas.values() if who.may_see(saga.name)]
        return saga_rows(stored, defined, self.counts(who))

    def open_by_version(self, who: Principal, saga: str) -> tuple[dict[int, int], bool]:
        """Version to the number of open runs that it still has; and whether there are more than were counted."""

        def find() -> tuple[dict[int, int], bool]:
            runs, more = self._newest_open(who, saga, _OPEN_PAGES)
            return Counter(run.version for run in runs), more

        return self._open.get((saga, who.sagas), find)

    def plan(self, who: Principal, saga: str, version: int | None = None) -> Plan:
        """A saga's plan, the newest without a version. Raises ``UnknownSagaError``."""
        plans: Sequence[Plan] = [*self.journal.plans(), *(one.plan for one in self.sagas.values())]
        known = [plan for plan in plans if plan.saga == saga and version in {None, plan.version}]
        if not known or not who.may_see(saga):
            raise UnknownSagaError(f"no saga or stored plan is called {saga!r}")
        return max(known, key=lambda plan: plan.version)

    def plan_of(self, who: Principal, run: str) -> Plan:
        """The plan that a run keeps."""
        return self.found(who, run).plan

    def services(self, who: Principal) -> ServicesSeen:
        """The services that their sagas call, and, for those who may see all, what else the apps define."""
        seen = self.around.services(self._plans(who))
        return seen.of_sagas() if who.sagas else seen

    def glance(self, who: Principal) -> ServicesSeen | None:
        """The same as it was found last; None if nobody has looked yet."""
        self.look()
        seen = self.around.glance(self._plans(who))
        return seen.of_sagas() if who.sagas and seen is not None else seen

    def look(self) -> None:
        """Have the broker asked for its queues and workers, without waiting for it."""
        if self.around.can_look:
            self.around.look(self._plans())

    def in_flight(self, who: Principal) -> InFlight:
        """Where the open runs stand, of the newest; not older than a few seconds."""

        def find() -> InFlight:
            runs, more = self._newest_open(who, None, _FLYING_PAGES)
            return in_flight(runs, more=more)

        return self._flying.get(who.sagas, find)

    def _newest_open(
        self, who: Principal, saga: str | None, pages: int
    ) -> tuple[list[RunSummary], bool]:
        """So many pages of open runs, and whether there are more."""
        runs: list[RunSummary] = []
        cursor = None
        for _ in range(pages):
            where = RunFilter(saga=saga, status=_OPEN, sagas=who.sagas)
            page = self.journal.runs(where, cursor, _OPEN_PAGE)
            runs += page.runs
            cursor = page.cursor
            if cursor is None:
                break
        return runs, cursor is not None

    def _plans(self, who: Principal | None = None) -> list[Plan]:
        plans = [*self.journal.plans(), *(one.plan for one in self.sagas.values())]
        return [plan for plan in plans if who is None or who.may_see(plan.saga)]

    def shards(self) -> Shards:
        """Who writes what, and who is alive."""
        now = self.clock()
        return Shards(
            self.journal.shards(),
            tuple(self.journal.leases()),
            tuple(self.journal.coordinators(now)),
        )

    def _archived(self, who: Principal, run: str, gone: RunArchivedError) -> Found:
        """Out of its file; whose saga can't be told isn't shown to who may not see all. Raises ``RunNotFoundError``."""
        try:
            found = self._archives.find(gone)
        except RunNotFoundError as error:
            raise (_nobody(run) if who.sagas else error) from error
        if not who.may_see(found.run.saga):
            raise _nobody(run)
        return found

    def _row_for(
        self, who: Principal, row: RunSummary, curtains: Curtains | None = None
    ) -> RunSummary:
        if not self.sees_redacted(who):
            row = (curtains or self._curtains).row(row)
        return row if self.sees_values(who) else run_without_values(row)


def _nobody(run: str) -> RunNotFoundError:
    return RunNotFoundError(f"no run has the id, id prefix or key {run!r}")


def _until(
    records: list[Recorded], after: int | None, at: float | None
) -> tuple[list[Recorded], float | None]:
    """The first of a run's events, and the time to see them at; None for now."""
    if after is not None and at is not None:
        raise InvalidInputError("name either a number of events or a time, not both")
    if at is not None:
        shown = [record for record in records if record.at <= at]
        if not shown:
            raise RunNotFoundError("the run had no events at that time")
        return shown, at
    if after is None or after >= len(records):
        return records, None
    shown = records[: max(1, after)]
    return shown, shown[-1].at
