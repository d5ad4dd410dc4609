"""``Campaign``: every point of a scene found by a run without a crash, and then a crash for every passing of one."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from tests.crash.children import serving
from tests.crash.oracle import judge
from tests.crash.rehearsal import rehearse, shared_engines
from tests.crash.scenes import SCENES
from tests.crash.stage import AFTERMATHS, SHARDS, Aftermath, Crash, Passed, Setting, Stage
from tests.crash.stores import opened, scratch


class Report(msgspec.Struct):
    """What a campaign has seen."""

    scene: str
    database: str
    points: list[str]
    """The different ones."""
    passed: int
    """How often a run without a crash passes one."""
    schedules: int = 0
    crashes: int = 0
    outcomes: dict[str, int] = {}
    aftermaths: dict[str, int] = {}
    violations: list[str] = []
    took_s: float = 0.0


@contextmanager
def prepared(scene_name: str, server: str) -> Iterator[Setting]:
    """A scene with its databases filled and its run launched; PostgreSQL if there is a ``server``."""
    scene = SCENES[scene_name]
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        stack.enter_context(shared_engines())
        names = ("journal", *scene.databases)
        store = stack.enter_context(opened(server, folder, names))
        outside = stack.enter_context(scene.outside(folder))
        scene.services()  # imported now, with the environment as it is, and before the first fork
        scene.prepare()
        upgrade(store.url("journal"), shards=SHARDS)
        journal = SqlJournal(store.url("journal"))
        scene.launch(journal)
        journal.close()
        store.keep()
        setting = Setting(scene, store, folder, outside)
        with serving(outside):
            rehearse(scene, store.url("journal"))
        verdict = judge(scene, store, folder, in_doubt=False)
        assert verdict.complaints == [], f"the rehearsal: {verdict.complaints}"
        gc.collect()
        gc.freeze()
        yield setting


class Campaign:
    """The schedules of one scene on one kind of database."""

    def __init__(self, setting: Setting, scene: str, database: str) -> None:
        self._setting = setting
        self._began = time.monotonic()
        stage = Stage(setting)
        verdict = stage.play()
        self.passed: Sequence[Passed] = stage.passed
        """What a run without a crash passes."""
        points = sorted({str(point) for point in self.passed})
        self.report = Report(scene, database, points, len(self.passed), outcomes={}, violations=[])
        self._violated([], [*stage.surprises, *verdict.complaints])

    def singles(self) -> Sequence[Crash]:
        """A crash for each passing of a point and each aftermath."""
        return [
            Crash(index, point, aftermath)
            for index, point in enumerate(self.passed)
            for aftermath in _possible(point)
        ]

    def kinds(self) -> Sequence[Crash]:
        """Of these one for each kind of point and aftermath, whatever step it is about."""
        found: dict[tuple[str, str, str, Aftermath], list[Crash]] = {}
        for crash in self.singles():
            point = crash.point
            found.setdefault((point.role, point.what, point.moment, crash.aftermath), []).append(
                crash
            )
        return [crashes[number % len(crashes)] for number, crashes in enumerate(found.values())]

    def points(self) -> Sequence[Crash]:
        """A crash for each passing of a point, with one aftermath in turn."""
        return [_in_turn(index, point, index) for index, point in enumerate(self.passed)]

    def play(self, *crashes: Crash) -> Sequence[Passed]:
        """One schedule; returns what it passed."""
        stage = Stage(self._setting, crashes)
        verdict = stage.play()
        report = self.report
        report.schedules += 1
        report.crashes += stage.struck
        report.outcomes[verdict.outcome] = report.outcomes.get(verdict.outcome, 0) + 1
        for crash in crashes:
            report.aftermaths[crash.aftermath] = report.aftermaths.get(crash.aftermath, 0) + 1
        missed = [f"only {stage.struck} crashes"] if stage.struck != len(crashes) else []
        self._violated(crashes, [*stage.surprises, *missed, *verdict.complaints])
        report.took_s = time.monotonic() - self._began
        return stage.passed

    def play_pairs(self, first: Crash, every: int = 1) -> None:
        """A crash, and then a second one at each point that its recovery passes; of these, one in ``every``."""
        passed = self.play(first)
        for index in range(first.number + 1, len(passed), every):
            self.play(first, _in_turn(index, passed[index], first.number + index))

    def _violated(self, crashes: Iterable[Crash], complaints: Sequence[str]) -> None:
        where = "; then ".join(
            f"{crash.point} #{crash.number} ({crash.aftermath})" for crash in crashes
        )
        self.report.violations += [f"{where or 'without a crash'}: {line}" for line in complaints]


def _in_turn(index: int, point: Passed, turn: int) -> Crash:
    kinds = _possible(point)
    return Crash(index, point, kinds[turn % len(kinds)])


def _possible(point: Passed) -> Sequence[Aftermath]:
    """Whoever stands still in a transaction holds its locks, and everybody waits; that isn't tried."""
    kinds = AFTERMATHS[point.role]
    return [kind for kind in kinds if kind != "frozen" or not point.inside]
