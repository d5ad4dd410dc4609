"""A gate before a deploy: can the code now at hand finish every run that is open in the journal?

Each run is replayed from its events with the plan it was launched with; then everything it may still have to do is
looked up among the participants of today, and what is stored for them is read as they would read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from orchestrator.definition.diff import differences
from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Saga
from orchestrator.errors import DefinitionError, JournalUnavailableError, SagaError
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary
from orchestrator.testing.deployed import Deployed, Fault
from orchestrator.testing.needs import expressions, needs, stored

_BATCH = 200
_EXAMPLES = 3


class Runs(Protocol):
    """What is needed of a journal."""

    def shards(self) -> int:
        """How many shards it has."""
        ...

    def open_runs(self, shard: int) -> list[str]:
        """Runs of a shard that have begun and aren't at their end."""
        ...

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs."""
        ...

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        """The events of several runs."""
        ...

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        ...

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...

    def plans(self) -> list[Plan]:
        """Every stored plan."""
        ...


class Trouble(msgspec.Struct, frozen=True):
    """What would break, and the way out. ``step`` is empty where it is the run, or the saga, as a whole."""

    saga: str
    version: int
    step: str
    what: str
    fix: str
    runs: int
    """How many open runs it would break; 0 where it is launches that would be refused."""
    examples: tuple[str, ...]
    """Ids of a few of them."""


class Older(msgspec.Struct, frozen=True):
    """Open runs of a plan that the code no longer defines. They go on with the plan they were launched with."""

    saga: str
    version: int
    runs: int
    defined: int | None
    """The version that the code has; None where it has no such saga."""


class OpenRuns(msgspec.Struct, frozen=True):
    """What came of the check."""

    runs: int
    troubles: tuple[Trouble, ...]
    """The most runs first."""
    older: tuple[Older, ...]
    elsewhere: tuple[str, ...]
    """Services that open runs need and that live elsewhere: compared with their contracts only."""

    @property
    def ok(self) -> bool:
        """Whether nothing would break."""
        return not self.troubles


def check_open_runs(
    journal: Runs,
    deployed: Deployed,
    sagas: Iterable[Saga[..., Any]] = (),
    progress: Callable[[int], None] | None = None,
) -> OpenRuns:
    """Check every open run against the participants, and the sagas, of today.

    ``progress`` is told how many runs were looked at. Raises ``JournalUnavailableError``; whatever else a run's record
    does is a trouble of that run.
    """
    made = _Check(journal, deployed)
    for row, events in _open(journal):
        made.look_at(row, events)
        if progress is not None:
            progress(made.runs)
    return made.result({saga.name: saga for saga in sagas})


def _open(journal: Runs) -> Iterator[tuple[RunSummary, list[Recorded] | SagaError]]:
    """Every open run with its events, or with what is wrong with them; one that isn't taken up yet has none."""
    accepted: set[str] = set()
    for row in _accepted(journal):
        accepted.add(row.run_id)
        yield row, []
    for shard in range(journal.shards()):
        begun = [run_id for run_id in journal.open_runs(shard) if run_id not in accepted]
        for first in range(0, len(begun), _BATCH):
            ids = tuple(begun[first : first + _BATCH])
            rows = journal.runs(RunFilter(ids=ids), limit=_BATCH).runs
            histories = _histories(journal, shard, ids)
            for row in rows:
                yield row, histories[row.run_id]


def _accepted(journal: Runs) -> Iterator[RunSummary]:
    cursor = None
    while True:
        page = journal.runs(RunFilter(status=("accepted",)), cursor, _BATCH)
        yield from page.runs
        cursor = page.cursor
        if cursor is None:
            return


def _histories(
    journal: Runs, shard: int, ids: Sequence[str]
) -> dict[str, list[Recorded] | SagaError]:
    try:
        return dict(journal.histories(shard, ids))
    except JournalUnavailableError:
        raise
    except SagaError:  # one of them: find out which
        return {run_id: _history(journal, run_id) for run_id in ids}


def _history(journal: Runs, run_id: str) -> list[Recorded] | SagaError:
    try:
        return journal.history(run_id)
    except JournalUnavailableError:
        raise
    except SagaError as error:
        return error


class _Check:
    """What has been seen so far."""

    def __init__(self, journal: Runs, deployed: Deployed) -> None:
        self.runs = 0
        self._journal = journal
        self._deployed = deployed
        self._programs: dict[str, Program] = {}
        self._of: Counter[tuple[str, int]] = Counter()
        self._found: dict[tuple[str, int, str, Fault], list[str]] = {}
        self._counts: Counter[tuple[str, int, str, Fault]] = Counter()
        self._elsewhere: set[str] = set()

    def look_at(self, row: RunSummary, events: list[Recorded] | SagaError) -> None:
        """Check one run."""
        self.runs += 1
        self._of[row.saga, row.version] += 1
        try:
            if isinstance(events, SagaError):
                raise events
            program = self._program(row.plan)
            happened = [record.event for record in events if record.event is not None]
            state = fold(program, happened) if happened else None
        except JournalUnavailableError:
            raise
        except SagaError as error:
            fix = "deploy a release that can read it; `saga journal check` says if the log is whole"
            self._add(row, "", Fault(f"it can't be replayed: {error}", fix))
            return
        for step, fault in set(self._faults(program, state)):
            self._add(row, step, fault)

    def result(self, sagas: dict[str, Saga[..., Any]]) -> OpenRuns:
        """Everything found."""
        troubles = [
            Trouble(*key[:3], key[3].what, key[3].fix, self._counts[key], tuple(examples))
            for key, examples in self._found.items()
        ]
        troubles.sort(key=lambda one: (-one.runs, one.saga, one.version, one.step, one.what))
        return OpenRuns(
            runs=self.runs,
            troubles=(*troubles, *_refused_launches(self._journal.plans(), sagas)),
            older=tuple(self._older(sagas)),
            elsewhere=tuple(sorted(self._elsewhere)),
        )

    def _faults(self, program: Program, state: RunState | None) -> Iterator[tuple[str, Fault]]:
        there = stored(program, state)
        for need in needs(program, state):
            if need.call.service in self._deployed.remote:
                self._elsewhere.add(need.call.service)
            for fault in self._deployed.faults(need, program, there):
                yield need.call.name, fault
        for name, expr in expressions(program, state):
            for fault in self._deployed.unread(expr, program, there):
                yield name, fault

    def _program(self, plan_hash: str) -> Program:
        if plan_hash not in self._programs:
            self._programs[plan_hash] = Program(self._journal.plan(plan_hash), plan_hash)
        return self._programs[plan_hash]

    def _add(self, row: RunSummary, step: str, fault: Fault) -> None:
        key = (row.saga, row.version, step, fault)
        self._counts[key] += 1
        examples = self._found.setdefault(key, [])
        if len(examples) < _EXAMPLES:
            examples.append(row.run_id)

    def _older(self, sagas: dict[str, Saga[..., Any]]) -> Iterator[Older]:
        for (name, version), count in sorted(self._of.items()):
            saga = sagas.get(name)
            if sagas and (saga is None or saga.version != version):
                yield Older(name, version, count, None if saga is None else saga.version)


def _refused_launches(stored: list[Plan], sagas: dict[str, Saga[..., Any]]) -> Iterator[Trouble]:
    """Sagas whose version is stored with another plan: the journal refuses to launch them."""
    for plan in stored:
        saga = sagas.get(plan.saga)
        if saga is None or saga.version != plan.version:
            continue
        try:
            same = saga.plan_hash == plan.hash
            changed = "" if same else "; ".join(differences(plan, saga.plan))
        except DefinitionError as error:
            what = f"it can't be compiled: {error}"
            yield Trouble(plan.saga, plan.version, "", what, "see `saga lint`", 0, ())
            continue
        if not same:
            yield Trouble(
                plan.saga,
                plan.version,
                "",
                f"this version is stored with another plan ({changed}): its launches would be refused",
                f"raise it: @saga(version={plan.version + 1})",
                0,
                (),
            )
