"""``Stage``: one schedule. It forks the processes, plays the broker and the clock, and kills where it was told to.

One process moves at a time, until it waits for something; so the same schedule passes the same points. Time stands
still while anybody has something to do, and then goes on to what the coordinator waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

from orchestrator.journal.port import Journal
from orchestrator.journal.sql import SqlJournal
from orchestrator.transport.execution import lost
from orchestrator.transport.parts import answers_by_shard
from tests.crash.children import Child, Role, aside, serving
from tests.crash.oracle import Verdict, judge
from tests.crash.processes import ENVELOPES, Bench, coordinate
from tests.crash.scenes import START, Scene
from tests.crash.stores import Store
from tests.crash.wire import (
    Acknowledged,
    Answered,
    At,
    Failed,
    Finished,
    Free,
    Go,
    Got,
    Job,
    Lot,
    Published,
    Told,
    Wanted,
)

SHARDS = 1
TICK_S = 0.001
QUIET_S = 200.0
"""Longer than any deadline or pause of the scenes: who has done nothing for so long does nothing any more."""
MOST_STEPS = 2_000

Aftermath = Literal["kept", "late", "wiped", "frozen", "redelivered", "told", "silent"]

AFTERMATHS: Mapping[Role, Sequence[Aftermath]] = {
    "coordinator": ("kept", "late", "wiped", "frozen"),
    "worker": ("redelivered", "told", "silent", "frozen"),
}
"""What becomes of a dead coordinator's messages: the broker has kept them, brings them after its successor's, or was
wiped with it. Of the message of a dead worker: it comes again, its coordinator is told that the worker is lost, or
nothing comes. ``frozen``: the process isn't killed, but stands still until others have gone on without it."""


class Passed(NamedTuple):
    """A point that was passed, and by whom."""

    role: Role
    what: str
    moment: str
    about: str
    inside: bool

    def __str__(self) -> str:
        return " ".join(filter(None, (self.role, self.moment, self.what, self.about)))


class Crash(NamedTuple):
    """Die at the point that is passed as ``number``, which must be ``point``."""

    number: int
    point: Passed
    aftermath: Aftermath


class Setting(NamedTuple):
    """Where schedules are played."""

    scene: Scene
    store: Store
    folder: Path
    outside: Callable[[], None] | None
    """Runs the server that the participants call."""


class Stage:
    """Plays one schedule."""

    def __init__(self, setting: Setting, crashes: Sequence[Crash] = ()) -> None:
        self.passed: list[Passed] = []
        self.struck = 0
        """How many of the crashes have happened."""
        self.surprises: list[str] = []
        """What no process here may do."""
        self._setting = setting
        self._crashes = {crash.number: crash for crash in crashes}
        self._now = self._moved_at = START
        self._owners = count()
        self._coordinator: Child | None = None
        self._worker: Child | None = None
        self._frozen: list[Child] = []
        self._queue: deque[str] = deque()
        self._late: deque[str] = deque()
        self._streams: dict[int, dict[int, str]] = {}
        self._numbers = count(1)
        self._quiet = 0
        """How often the coordinator has been asked since anybody did anything."""
        self._nudges = list(setting.scene.nudges())

    def play(self) -> Verdict:
        """The whole schedule, and what the oracle says of it."""
        self._setting.store.reset()
        with serving(self._setting.outside):
            try:
                for _ in range(MOST_STEPS):
                    if self.surprises or not self._step():
                        break
                else:
                    self.surprises.append(f"(c) not at rest after {MOST_STEPS} steps")
            finally:
                for child in (self._coordinator, self._worker, *self._frozen):
                    if child is not None:
                        child.kill()
        crashes = self._crashes.values()
        in_doubt = any(crash.aftermath not in {"kept", "late"} for crash in crashes)
        return judge(*self._setting[:3], in_doubt=in_doubt)

    @property
    def _lot(self) -> Lot:
        passed = len(self.passed)
        return Lot(
            passed, min((number for number in self._crashes if number >= passed), default=-1)
        )

    def _step(self) -> bool:
        """Let one process go on; False when nobody will ever do anything any more."""
        coordinator = self._coordinator
        if coordinator is None:
            owner, now = f"c{next(self._owners)}", self._now
            url = self._setting.store.url("journal")
            self._coordinator = Child(
                "coordinator", lambda line: coordinate(line, url, owner, now), self._lot
            )
            self._serve(self._coordinator)
        elif entries := self._entries(coordinator):
            self._give(coordinator, entries)
        elif self._holds_all(coordinator) and (frozen := self._frozen_coordinator()):
            self._thaw(frozen)
        elif self._queue:
            self._work(self._queue.popleft())
        else:
            return self._idle(coordinator)
        return True

    def _idle(self, coordinator: Child) -> bool:
        """Nobody has anything to do at this moment."""
        assert coordinator.wanted is not None
        self._quiet += 1
        holds = self._holds_all(coordinator)
        if self._quiet == 1:  # it may not have seen its inbox: once more, without letting time pass
            self._give(coordinator, [])
        elif holds and self._late:
            self._queue, self._late = self._late, self._queue
        elif holds and self._nudges:
            self._nudge(self._nudges.pop(0))
        elif holds and self._at_rest(coordinator.wanted):
            if not self._frozen:
                return False
            self._thaw(self._frozen[0])
        else:
            self._now += coordinator.wanted.timeout_s
            self._give(coordinator, [])
        return True

    def _at_rest(self, wanted: Wanted) -> bool:
        return wanted.open_runs == 0 or self._now - self._moved_at > QUIET_S

    def _holds_all(self, coordinator: Child) -> bool:
        return coordinator.wanted is not None and len(coordinator.wanted.positions) == SHARDS

    def _frozen_coordinator(self) -> Child | None:
        return next((child for child in self._frozen if child.role == "coordinator"), None)

    def _entries(self, coordinator: Child) -> list[tuple[int, int, str]]:
        """Answers it hasn't had."""
        positions = {} if coordinator.wanted is None else coordinator.wanted.positions
        return [
            (shard, number, sealed)
            for shard, position in positions.items()
            for number, sealed in self._streams.get(shard, {}).items()
            if number > position
        ]

    def _give(self, coordinator: Child, entries: list[tuple[int, int, str]]) -> None:
        coordinator.wanted = None
        self._now += TICK_S
        coordinator.send(Got(self._lot, entries, self._now))
        self._serve(coordinator)

    def _work(self, sealed: str) -> None:
        worker = self._worker
        if worker is None:
            scene = self._setting.scene
            worker = self._worker = Child(
                "worker", lambda line: Bench(line, scene).serve(), self._lot
            )
            self._serve(worker)
        worker.job = sealed
        worker.send(Job(self._lot, sealed))
        self._serve(worker)

    def _thaw(self, child: Child) -> None:
        """Let a process go on that stood still meanwhile, until it has nothing more to do."""
        self._frozen.remove(child)
        child.send(Go(self._lot))
        self._serve(child)
        if child not in self._frozen:
            child.kill()

    def _serve(self, child: Child) -> None:
        """Listen to a process until it waits for something, or is struck."""
        waits = False
        while child.alive and not waits:
            try:
                said = child.heard()
            except EOFError:
                self.surprises.append(f"a {child.role} is gone, and nobody killed it")
                child.kill()
                return
            for told in said:
                waits = self._pass(child, told) if isinstance(told, At) else self._take(child, told)

    def _pass(self, child: Child, at: At) -> bool:
        """A process is past a point; True if it gets no farther."""
        child.about = at.about or child.about
        point = Passed(child.role, at.what, at.moment, child.about, at.inside)
        crash = self._crashes.get(len(self.passed))
        self.passed.append(point)
        if at.what not in {"lease", "commit"}:  # what even an idle coordinator passes
            self._moved_at, self._quiet = self._now, 0
        if crash is None:
            return False
        if crash.point != point:
            self.surprises.append(f"not the same again: {point} where {crash.point} was")
        self.struck += 1
        self._strike(child, crash.aftermath)
        return True

    def _take(self, child: Child, told: Told) -> bool:
        """What a process has said; True if it waits now."""
        match told:
            case Published():
                self._queue.append(told.sealed)
            case Acknowledged():
                for shard, number in told.tokens:
                    self._streams.get(shard, {}).pop(number, None)
            case Answered():
                self._answered(told.sealed)
            case Finished():
                child.job = None
            case Wanted():
                child.wanted = told
                return True
            case Free():
                return True
            case Failed():
                self.surprises.append(f"a {child.role} died by itself: {told.traceback}")
                child.kill()
                return True
            case _:
                raise AssertionError(told)
        return False

    def _answered(self, answers: Sequence[tuple[int, str]]) -> None:
        for shard, sealed in answers:
            self._streams.setdefault(shard, {})[next(self._numbers)] = sealed

    def _strike(self, child: Child, aftermath: Aftermath) -> None:
        if child is self._coordinator:
            self._coordinator = None
        elif child is self._worker:
            self._worker = None
        if aftermath == "frozen":
            self._frozen.append(child)
        else:
            child.kill()
        job = child.job
        match aftermath:
            case "late":
                self._late.extend(self._queue)
                self._queue.clear()
            case "wiped":
                self._queue.clear()
                self._late.clear()
                self._streams.clear()
            case "redelivered" if job is not None:
                self._queue.appendleft(job)
            case "told" if job is not None:
                answers = lost(ENVELOPES.open_work(job), "killed", "host:1")
                self._answered(answers_by_shard(ENVELOPES, answers))
            case _:
                return

    def _nudge(self, nudge: Callable[[Journal], None]) -> None:
        """What a person does, from a process of its own."""
        url = self._setting.store.url("journal")
        aside(lambda: nudge(SqlJournal(url)))
        self._quiet = 0
