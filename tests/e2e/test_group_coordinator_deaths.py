"""Coordinators that die by SIGKILL at each point of a group's life, on a real PostgreSQL and a real MariaDB.

Rows C1 to C7 of the two-phase matrix, end to end: another coordinator goes on, and the money moves wholly or not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from orchestrator.client import Run
from tests.e2e.installation import ended
from tests.e2e.test_transfers import FIRST_CENTS, Bank
from tests.servers import MariaDB, Postgres
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

TOOK_OVER = "another coordinator took over before there was a decision"


@pytest.fixture(scope="module")
def banks(
    request: pytest.FixtureRequest,
    postgres_server: Postgres,
    mariadb_server: MariaDB,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Bank]]:
    """One bank per broker, open from when a test asks for it."""
    with ExitStack() as stack:

        @cache
        def bank(broker: str) -> Bank:
            server = request.getfixturevalue(f"{broker}_server")
            url = server.database() if broker == "redis" else server.vhost()
            opened = Bank(
                tmp_path_factory.mktemp("bank"),
                stack.enter_context(url),
                stack.enter_context(postgres_server.database()),
                stack.enter_context(postgres_server.database()),
                stack.enter_context(mariadb_server.database()),
            )
            return stack.enter_context(opened)

        yield bank


@pytest.fixture
def bank(banks: Callable[[str], Bank], broker: str) -> Bank:
    return banks(broker)


@pytest.mark.parametrize(
    ("broker", "point", "tried_again"),
    [
        pytest.param(
            "redis", "RunLaunched:arrived", False, id="c1 before the beginning is durable"
        ),
        pytest.param("redis", "RunLaunched:dispatched", True, id="c2 during prepares"),
        pytest.param("redis", "CommitDecided:arrived", True, id="c3 all yes and no decision"),
        pytest.param("redis", "CommitDecided:appended", False, id="c4 decided and none told"),
        pytest.param(
            "redis", "CommitDecided:dispatched", False, id="c5 told and none acknowledged"
        ),
        pytest.param(
            "redis", "BranchCommitted:arrived", False, id="c6 acknowledged and not on record"
        ),
        pytest.param("rabbitmq", "CommitDecided:arrived", True, id="c3 over rabbitmq"),
        pytest.param("rabbitmq", "CommitDecided:appended", False, id="c4 over rabbitmq"),
    ],
)
def test_c1_to_c6_a_transfer_is_carried_out_once(
    bank: Bank, point: str, *, tried_again: bool
) -> None:
    before = bank.sums[1]
    runs = killed(bank, point, cents=2_500)
    assert [ended(run) for run in runs] == ["completed"] * len(runs)
    assert aborts(bank, runs[-1]) == ([TOOK_OVER] if tried_again else [])
    assert bank.types(runs[-1]).count("CommitDecided") == 1
    again = bank.transfer(key=runs[-1].summary().key)
    assert again.id == runs[-1].id
    assert_settled(bank, before + 2_500 * len(runs))


@pytest.mark.parametrize(
    ("broker", "point"),
    [
        pytest.param("redis", "AbortDecided:arrived", id="c7 before the abort is durable"),
        pytest.param("redis", "AbortDecided:appended", id="c7 none told"),
        pytest.param("redis", "AbortDecided:dispatched", id="c7 told and none acknowledged"),
        pytest.param("redis", "BranchAborted:arrived", id="c7 acknowledged and not on record"),
        pytest.param("rabbitmq", "AbortDecided:appended", id="c7 over rabbitmq"),
    ],
)
def test_c7_an_abort_is_finished(bank: Bank, point: str) -> None:
    before = bank.sums[1]
    runs = killed(bank, point, cents=2 * FIRST_CENTS)
    assert [ended(run) for run in runs] == ["compensated"] * len(runs)
    assert "CommitDecided" not in bank.types(runs[-1])
    assert_settled(bank, before)


def killed(bank: Bank, point: str, cents: int) -> list[Run[Any]]:
    """Transfers until one has a coordinator that dies at that point: the last of them."""
    name = f"doomed {point}"
    process = bank.start(name, sys.executable, "-m", "tests.e2e.dying_coordinator", point)
    mark = f":{process.pid}:"

    def owned() -> list[int]:
        leases = bank.journal.leases()
        mine = [lease.shard for lease in leases if mark in lease.owner]
        return mine if len(mine) == 1 and all(lease.owner for lease in leases) else []

    [shard] = eventually(owned, 60, what="the doomed coordinator has a shard")
    runs: list[Run[Any]] = []
    while not runs or runs[-1].summary().shard != shard:
        account = f"account-{len(runs) + 1:03}"  # each its own: none waits for another one's branch
        runs.append(bank.transfer(cents, account, account))
    assert process.wait(60) == -9
    return runs


def aborts(bank: Bank, run: Run[Any]) -> list[str]:
    """Why the group was taken back, each time."""
    events = (record.event for record in bank.client.history(run.id))
    return [event.reason for event in events if type(event).__name__ == "AbortDecided"]  # type: ignore[union-attr]


def assert_settled(bank: Bank, credited: int) -> None:
    """What one ledger has lost the other one has, that much, and nothing is left prepared."""
    assert bank.prepared == 0
    assert bank.sums == (-credited, credited)
    assert list(bank.journal.verify()) == []
