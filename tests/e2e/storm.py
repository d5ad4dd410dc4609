"""Real processes under kill -9: coordinators, workers, their children, the broker, PostgreSQL.

    python -m tests.e2e.storm --runs 2000 --kills 200 --seed 1
    python -m tests.e2e.storm --transfers --runs 10000 --kills 100 --seed 1

Orders of `place_order`, or transfers by two-phase commit between three ledgers on two servers. Launches runs while
processes die at random moments, waits until every run has ended or is stuck, then asks the oracle. Prints the seed and
the counts; the exit status is 1 if the oracle found anything.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Protocol, Self, TypeVar

import psutil

from tests.e2e.clearing import OPEN_AT_MOST, Clearing
from tests.e2e.shop import Shop
from tests.servers import Postgres, RabbitMQ, Server, Valkey
from tests.waiting import eventually

S = TypeVar("S", bound=Server)

QUIET_S = 0.2
LULL_S = 20.0
END_WITHIN_S = 180.0
END_WITHIN_S_A_RUN = 0.6


class Process:
    """One of ours, started again whenever it ends, until told otherwise."""

    def __init__(
        self, name: str, command: Sequence[str], env: dict[str, str], log: IO[bytes]
    ) -> None:
        self.name = name
        self._command = list(command)
        self._env = env
        self._log = log
        self._stopping = threading.Event()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def kill(self) -> bool:
        """SIGKILL the process itself, not its children."""
        self._process.kill()
        return True

    def kill_child(self, chance: random.Random) -> bool:
        """SIGKILL one of its children; False if it has none now."""
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return False
        if not children:
            return False
        chance.choice(children).kill()
        return True

    def stop(self) -> None:
        """End it for good, and whatever it left behind."""
        self._stopping.set()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._keeper.join()

    def end(self) -> None:
        """End it for good by SIGKILL, with its children."""
        self._stopping.set()
        self._process.kill()
        self._keeper.join()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, env=self._env, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def _keep(self) -> None:
        while True:
            self._process.wait()
            _kill_group(self._process.pid)
            if self._stopping.wait(QUIET_S):
                return
            self._process = self._start()


def _kill_group(leader: int) -> None:
    """A killed worker's children would go on; a machine that dies takes them along, so do we."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


class Scene(Protocol):
    """What is launched, and the oracle over it."""

    environment: dict[str, str]

    @property
    def accepted(self) -> Collection[str]:
        """The ids of runs whose launch was accepted."""
        ...

    def launch(self, runs: int, give_up: threading.Event) -> None:
        """Launch until there are as many; a launch that fails is launched again."""
        ...

    def at_rest(self) -> bool:
        """Whether every run has ended or is stuck."""
        ...

    def outcomes(self) -> dict[str, int]:
        """Status to number of runs."""
        ...

    def complaints(self) -> Iterator[str]:
        """What is wrong, by the letters of the oracle."""
        ...


class Storm:
    """An installation, and the means to hurt it."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        transfers: bool = False,
        broker: type[Valkey | RabbitMQ] = Valkey,
        open_at_most: int = OPEN_AT_MOST,
    ) -> None:
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self._folder = folder
        self._seed = seed
        self._transfers = transfers
        self._broker = broker
        self._open_at_most = open_at_most
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.postgres = self._server(Postgres.launch())
        self.broker = self._server(self._broker.launch())
        self.ledgers = self._server(Postgres.launch()) if self._transfers else None
        scene: AbstractContextManager[Scene] = (
            Shop.open(self.postgres, self.broker.url)
            if self.ledgers is None
            else Clearing.open(
                *(self.postgres, self.ledgers, self.broker.url, self._seed, self._open_at_most)
            )
        )
        self.scene = self._stack.enter_context(scene)
        saga = [sys.executable, "-m", "orchestrator.cli"]
        self.workers = [self._process("worker", [*saga, "worker", "--processes", "2"])]
        self.coordinators = [
            self._process(f"coordinator-{number}", [*saga, "coordinator"]) for number in (1, 2)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hurt(self) -> None:
        """Kill one thing, chosen by chance; coordinators and workers more often than servers."""
        weights = [4, 3, 4, 1, 1, 2][: len(self._victims)]
        what = self.chance.choices(list(self._victims), weights)[0]
        if self._victims[what]():
            self.kills[what] += 1

    @property
    def _victims(self) -> dict[str, Callable[[], bool]]:
        ledgers = self.ledgers
        return {
            "coordinator": lambda: self.chance.choice(self.coordinators).kill(),
            "worker": lambda: self.chance.choice(self.workers).kill(),
            "worker child": lambda: self.chance.choice(self.workers).kill_child(self.chance),
            "broker": lambda: _restart(self.broker),
            "postgresql": lambda: _restart(self.postgres),
            **({} if ledgers is None else {"ledgers' postgresql": lambda: _restart(ledgers)}),
        }

    def _server(self, server: S) -> S:
        self._stack.callback(server.close)
        return server

    def _process(self, name: str, command: Sequence[str]) -> Process:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("ab"))
        process = Process(name, command, {**os.environ, **self.scene.environment}, log)
        self._stack.callback(process.stop)
        return process


def _restart(server: Server) -> bool:
    server.kill()
    server.restart()
    return True


def rage(storm: Storm, runs: int, kills: int) -> list[str]:
    """Launch ``runs`` while killing ``kills`` times; returns what the oracle holds against the outcome."""
    scene = storm.scene
    done = threading.Event()
    launcher = threading.Thread(target=scene.launch, args=(runs, done), daemon=True)
    launcher.start()
    while (killed := sum(storm.kills.values())) < kills:
        time.sleep(storm.chance.uniform(0.1, 1.0))  # slow on purpose: kills come at random moments
        until = time.monotonic() + LULL_S
        while len(scene.accepted) < runs * killed // kills and time.monotonic() < until:
            time.sleep(QUIET_S)  # slow on purpose: and from the first launch to the last
        storm.hurt()
    done.set()
    launcher.join()
    eventually(scene.at_rest, timeout_s=END_WITHIN_S + runs * END_WITHIN_S_A_RUN)
    missing = runs - len(scene.accepted)
    return [*([f"{missing} launches were given up"] * bool(missing)), *scene.complaints()]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", action="store_true", help="by two-phase commit")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--open", type=int, default=OPEN_AT_MOST, help="transfers under way at once, about"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="saga-storm-"))
    print(f"seed {options.seed}, logs in {folder}", flush=True)  # noqa: T201 - it is a command
    with Storm(
        folder, options.seed, transfers=options.transfers, open_at_most=options.open
    ) as storm:
        started = time.monotonic()
        complaints = rage(storm, options.runs, options.kills)
        print(f"{options.runs} runs, {sum(storm.kills.values())} kills: {dict(storm.kills)}")  # noqa: T201 - it is a command
        print(f"outcomes: {storm.scene.outcomes()}, {time.monotonic() - started:.0f} s")  # noqa: T201 - it is a command
    for complaint in complaints:
        print(f"VIOLATION {complaint}")  # noqa: T201 - it is a command
    print("the oracle found nothing" if not complaints else f"{len(complaints)} violations")  # noqa: T201 - it is a command
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
