"""The whole matrix, on as many processes as asked for: `make crashes`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.crash.campaign import Report
from tests.crash.scenes import SCENES
from tests.servers import Postgres

ROOT = Path(__file__).parents[2]
PAIRS = "orders-refused"
"""The scene that gets every pair."""
MOST_SHOWN = 20


class Task(NamedTuple):
    """A campaign, or a share of it."""

    scene: str
    database: str
    what: str
    part: str


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument(
        "--scene", action="append", choices=SCENES, help="this one; all if not given"
    )
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--what", action="append", choices=["points", "singles", "pairs"])
    parser.add_argument("--every", type=int, default=1, help="of all crashes, one in so many")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    tasks = [
        Task(scene, database, what, f"{number}/{parts}")
        for what, parts in (("points", 1), ("singles", 1), ("pairs", 8))
        for database in (given.database or ["sqlite", "postgresql"])
        for scene in (given.scene or SCENES)
        for number in range(parts)
        if what in (given.what or ["singles", "pairs"])
        and database in SCENES[scene].kinds
        and (what != "pairs" or (scene == PAIRS and database == "sqlite"))
    ]
    began = time.monotonic()
    with closing(Postgres.launch()) as server, ThreadPoolExecutor(given.jobs) as pool:
        reports = list(pool.map(lambda task: told(task, server.url, given.every), tasks))
    for what in ("points", "singles", "pairs"):
        mine = [report for task, report in zip(tasks, reports, strict=True) if task.what == what]
        if mine:
            show(what, mine)
    violations = [line for report in reports for line in report.violations]
    took_s = time.monotonic() - began
    print(f"{took_s:.0f} s on {given.jobs} processes, {len(violations)} violations")  # noqa: T201 - it is a command
    for line in violations[:MOST_SHOWN]:
        print(f"VIOLATION {line}")  # noqa: T201 - it is a command
    return 1 if violations else 0


def told(task: Task, server_url: str, every: int) -> Report:
    """Play a campaign, and say when it is over."""
    report = campaign(task, server_url, every)
    said = f"{task.scene} {task.database} {task.what} {task.part}: {report.schedules} schedules"
    print(f"{said}, {len(report.violations)} violations", flush=True)  # noqa: T201 - it is a command
    return report


def campaign(task: Task, server_url: str, every: int = 1, *more: str) -> Report:
    """Play a campaign in a process of its own."""
    command = [sys.executable, "-m", "tests.crash.one", task.scene, "--what", task.what]
    command += ["--part", task.part, "--every", str(every), *more]
    if task.database == "postgresql":
        command += ["--server", server_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1} or not done.stdout:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return msgspec.json.decode(done.stdout, type=Report)


def show(what: str, reports: Sequence[Report]) -> None:
    """What was seen, a line for each scene and database."""
    print(f"{what}: {'scene':18} {'database':10} points passed schedules crashes")  # noqa: T201 - it is a command
    by_scene: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        by_scene.setdefault((report.scene, report.database), []).append(report)
    for (scene, database), parts in by_scene.items():
        outcomes = sum((Counter(part.outcomes) for part in parts), Counter[str]())
        print(  # noqa: T201 - it is a command
            f"{'':{len(what)}}  {scene:18} {database:10} {len(parts[0].points):6} {parts[0].passed:6}"
            f" {sum(part.schedules for part in parts):9} {sum(part.crashes for part in parts):7}"
            f" {dict(outcomes)}"
        )
    total = sum(report.crashes for report in reports)
    aftermaths = sum((Counter(report.aftermaths) for report in reports), Counter[str]())
    schedules = sum(report.schedules for report in reports)
    print(f"{what}: {schedules} schedules, {total} crashes: {dict(aftermaths)}")  # noqa: T201 - it is a command


if __name__ == "__main__":
    sys.exit(main())
