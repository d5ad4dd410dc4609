"""Transfers between two PostgreSQL databases at 50 in flight: an atomic group, a saga with undos, and a bare loop.

The three take turns on the same databases and accounts. Each round checks that no cent was made or lost and that
nothing is left prepared. How often the journal is written is read from the journal: events of one transaction have one
``xmin``.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import make_url

from benchmarks import ledgers
from benchmarks.figure import Figure, Target
from benchmarks.processes import Process
from benchmarks.size import Size
from benchmarks.stack import Servers, Stack, stack

IN_FLIGHT = 50
WORKER_PROCESSES = 4
"""One more than cores, as a branch waits for the disk twice. Each has a transaction open, so with many of them
all would be slow, and slow commands share no messages."""
_SETTINGS = {"bundle_work_s": 0.1, "gather_share": 0.1, "shards": 2}
"""For throughput: nobody waits for a single transfer here, and there is one coordinator."""
LOOP_PROCESSES = 2
HOT_ACCOUNTS = 8
LAUNCHED_AT_ONCE = 10
_MOST_IN_FLIGHT = IN_FLIGHT + LAUNCHED_AT_ONCE // 2
"""Launched so many at once, between 45 and 55 are open."""
LOOK_S = 0.02
"""Who looks on must not be what is measured: each look takes the journal half a millisecond."""
GIVE_UP_S = 180.0

_OPEN = "SELECT count(*) FROM saga_run WHERE open AND status <> 'stuck'"
_WRITES_BEFORE_PHASE_TWO = (
    "SELECT count(DISTINCT xmin::text) FROM saga_event WHERE type = 'CommitDecided'"
)
_WRITES = "SELECT count(DISTINCT xmin::text) FROM saga_event"
_ABORTS = "SELECT count(*) FROM saga_event WHERE type = 'AbortDecided'"


class Bank:
    """The two databases, whoever moves money in them, and the proof that it is all there."""

    def __init__(self, servers: Servers, it: Stack, urls: tuple[str, str]) -> None:
        self.it = it
        self._servers = servers
        self._names = [make_url(url).database or "" for url in urls]

    def transfers(self, saga: Any, count: int, accounts: int) -> float:
        """Transfers a second of a saga, ``IN_FLIGHT`` open at any moment. Raises ``RuntimeError``."""
        launched = ended = 0
        began = time.perf_counter()
        while ended < count:
            room = min(_MOST_IN_FLIGHT - (launched - ended), count - launched)
            if room >= min(LAUNCHED_AT_ONCE, count - launched) > 0:
                self.it.client.launch_many(saga, [_random(accounts) for _ in range(room)])
                launched += room
            if time.perf_counter() - began > GIVE_UP_S:
                raise RuntimeError(f"{ended} of {count} transfers within {GIVE_UP_S:g} s")
            time.sleep(LOOK_S)
            ended = launched - int(self.it.scalar(_OPEN))
        took_s = time.perf_counter() - began
        self.check()
        return count / took_s

    def loop(self, sides: Sequence[Process], count: int) -> float:
        """Transfers a second of the bare loop."""
        began = time.perf_counter()
        for side in sides:
            side.say(str(count // len(sides)))
        for side in sides:
            side.hear()
        took_s = time.perf_counter() - began
        self.check()
        return count / took_s

    def check(self) -> None:
        """Raise ``RuntimeError`` if money was made or lost, or something is left prepared."""
        sums = [self._one("SELECT sum(cents) FROM account", name) for name in self._names]
        first = len(self._names) * ledgers.ACCOUNTS * ledgers.FIRST_CENTS
        left = self._one("SELECT count(*) FROM pg_prepared_xacts", self._names[0])
        if sum(sums) != first or left:
            raise RuntimeError(f"{first} cents at first, now {sums}; {left} are left prepared")

    def _one(self, query: str, database: str) -> int:
        return int(self._servers.postgres.execute(query, database)[0][0])


def throughput(servers: Servers, size: Size) -> Iterator[Figure]:
    """Of the group against the bare loop, and beside it of the saga with undos."""
    with _bank(servers) as (bank, sides):
        bank.transfers(ledgers.transfer_together, size.warm_up, ledgers.ACCOUNTS)
        bank.transfers(ledgers.transfer_in_turn, size.warm_up, ledgers.ACCOUNTS)
        rounds: list[tuple[float, float, float]] = []
        writes = decisions = 0
        for _ in range(size.pairs):
            looped = bank.loop(sides, size.transfers)
            before = bank.it.scalar(_WRITES), bank.it.scalar(_WRITES_BEFORE_PHASE_TWO)
            together = bank.transfers(ledgers.transfer_together, size.transfers, ledgers.ACCOUNTS)
            writes += bank.it.scalar(_WRITES) - before[0]
            decisions += bank.it.scalar(_WRITES_BEFORE_PHASE_TWO) - before[1]
            in_turn = bank.transfers(ledgers.transfer_in_turn, size.transfers, ledgers.ACCOUNTS)
            rounds.append((looped, together, in_turn))
        stuck = bank.it.scalar("SELECT count(*) FROM saga_run WHERE status <> 'completed'")
    looped, together, in_turn = (statistics.median(found) for found in zip(*rounds, strict=True))
    at = {
        "in_flight": IN_FLIGHT,
        "worker_processes": WORKER_PROCESSES,
        **_SETTINGS,
        "accounts": ledgers.ACCOUNTS,
        "pairs": size.pairs,
        "runs": size.transfers,
        "not_completed": stuck,
    }
    yield _against("transfers_against_a_bare_loop", rounds, 0, (together, looped), at, 0.5)
    yield _against("transfers_against_a_saga", rounds, 2, (together, in_turn), at, None)
    runs = size.pairs * size.transfers
    yield Figure("transfer_writes_before_phase_two", decisions / runs, "transactions", at,
                 target=Target(1.0, "less"))  # fmt: skip
    yield Figure("transfer_writes_in_all", writes / runs, "transactions", at)


def contention(servers: Servers, size: Size) -> Iterator[Figure]:
    """All money between eight accounts on each side: throughput, and how many attempts were taken back."""
    with _bank(servers) as (bank, _sides):
        bank.transfers(ledgers.transfer_together, size.warm_up, ledgers.ACCOUNTS)
        aborts = bank.it.scalar(_ABORTS)
        found = [
            bank.transfers(ledgers.transfer_together, size.hot_transfers, HOT_ACCOUNTS)
            for _ in range(min(3, size.pairs))
        ]
        aborts = bank.it.scalar(_ABORTS) - aborts
        ended = bank.it.scalar("SELECT count(*) FROM saga_run WHERE status = 'compensated'")
    runs = len(found) * size.hot_transfers
    at = {
        "in_flight": IN_FLIGHT,
        "worker_processes": WORKER_PROCESSES,
        **_SETTINGS,
        "hot_accounts": HOT_ACCOUNTS,
        "runs": runs,
        "given_up": ended,
    }
    yield Figure("transfers_between_hot_accounts", statistics.median(found), "transfers/s", at)
    yield Figure("attempts_taken_back_per_hot_transfer", aborts / runs, "attempts", at)


def _against(
    name: str,
    rounds: Sequence[tuple[float, float, float]],
    peer: int,
    medians: tuple[float, float],
    at: dict[str, Any],
    target: float | None,
) -> Figure:
    ratios = sorted(found[1] / found[peer] for found in rounds)
    spread = {"ratio_lowest": round(ratios[0], 3), "ratio_highest": round(ratios[-1], 3)}
    ratio = statistics.median(ratios)
    wanted = None if target is None else Target(target, "more")
    return Figure(name, medians[0], "transfers/s", {**at, **spread}, medians[1], ratio, wanted)


@contextmanager
def _bank(servers: Servers) -> Iterator[tuple[Bank, Sequence[Process]]]:
    with ExitStack() as cleanup:
        source, target = (cleanup.enter_context(servers.postgres.database()) for _ in range(2))
        for url in (source, target):
            for statement in ledgers.TABLES:
                servers.postgres.execute(statement, make_url(url).database or "")
        it = cleanup.enter_context(stack(servers, **_SETTINGS))
        it.start_coordinator()
        variables = {
            "SAGA_APPS": ledgers.__name__,
            ledgers.SOURCE_VARIABLE: source,
            ledgers.TARGET_VARIABLE: target,
        }
        queues = [ledgers.source.queue, ledgers.target.queue]
        it.start_worker(queues, WORKER_PROCESSES, **variables)
        sides = [_side(it, cleanup, source, target) for _ in range(LOOP_PROCESSES)]
        yield Bank(servers, it, (source, target)), sides


def _side(it: Stack, cleanup: ExitStack, source: str, target: str) -> Process:
    threads = str(IN_FLIGHT // LOOP_PROCESSES)
    arguments = ["-m", "benchmarks.sides.bare_transfers", source, target, threads]
    side = Process(arguments, it.folder / "loop.log", {})
    cleanup.callback(side.stop)
    if side.hear() != "ready":
        raise RuntimeError(side.tail())
    return side


def _random(accounts: int) -> tuple[int, int, int]:
    return random.randint(1, accounts), random.randint(1, accounts), 1
