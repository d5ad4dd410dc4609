"""Branches that nobody ends: found, asked about, ended as the journal says. Rows C11 and R1 to R4 of the matrix."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal.memory import MemoryJournal
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.two_phase.sweep import SweepOptions
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer, Work
from tests.contract.barrier_shop import Kept
from tests.contract.branch_ledger import TAKE, Ledger, by_hand, opened
from tests.contract.branch_orphans import NAMES, PLAN, RUN, SHARD, SHARDS, orphan
from tests.unit.coordinator.scripted import ScriptedTransport, answer, request
from tests.waiting import eventually


@pytest.fixture(params=["postgres", "mariadb"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


class Office:
    """A coordinator on a journal of its own, whose participants are the ledger's."""

    def __init__(self, ledger: Ledger, owner: str = "c1") -> None:
        self.ledger = ledger
        self.store = MemoryJournal(shards=SHARDS)
        self.transport = ScriptedTransport(self.carried_out)
        self.done: list[Answer] = []
        self.clock = 1_000.0
        options = CoordinatorOptions(owner=owner, lease_s=100.0)
        self.coordinator = Coordinator(self.store, self.transport, options, lambda: self.clock)
        self.coordinator.turn(0)

    def carried_out(self, work: Work) -> Answer:
        answer = self.ledger.one(work)
        self.done.append(answer)
        return answer

    def abort_run(self) -> None:
        """The run's group is aborted, on record; its participants have never heard of it."""
        self.transport.handler = lambda work: answer(
            work, "refused" if work.kind == "prepare" else "succeeded"
        )
        self.store.launch([request(PLAN, RUN, at=self.clock)])
        self.turns()
        assert self.store.find(RUN).status == "compensated"
        self.transport.handler = self.carried_out

    def sweep(self, safety_age_s: float = 0.0) -> list[Answer]:
        """Have a worker sweep, and the coordinator hear of it."""
        asked = Kept()
        sweeper(self.ledger, safety_age_s).sweep(asked)
        self.transport.answers += asked.answers
        self.turns()
        return asked.answers

    def turns(self) -> None:
        for _ in range(8):
            self.clock += 0.5
            self.coordinator.turn(0)


def sweeper(ledger: Ledger, safety_age_s: float = 0.0) -> WorkExecutor:
    options = SweepOptions(safety_age_s=safety_age_s, alert_age_s=0.0)
    return WorkExecutor(Registry.of([ledger.service]), options)


class TestTheSweep:
    """What workers and coordinator do together."""

    def test_r1_a_young_branch_is_left_alone(self, ledger: Ledger) -> None:
        ledger.one(orphan())
        assert Office(ledger).sweep(safety_age_s=60) == []
        assert ledger.pending == 1

    def test_r2_an_old_one_that_was_aborted_is_rolled_back(self, ledger: Ledger) -> None:
        """Its database was restored, say, or its tombstone was pruned before a late prepare came."""
        office = Office(ledger)
        office.abort_run()
        ledger.one(orphan(step="one"))
        (asked,) = office.sweep()
        assert (asked.run, asked.shard, asked.step) == (RUN, SHARD, "one")
        assert [(a.kind, a.outcome) for a in office.done] == [("abort", "succeeded")]
        assert (ledger.balance, ledger.pending) == (100, 0)
        assert ledger.rows == {f"{RUN}:one": "tombstone"}
        assert office.sweep() == []

    def test_r2_one_without_a_record_is_left_to_people(
        self, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No prepare goes out before its record is durable: so the journal has lost it, and the decision perhaps."""
        ledger.one(replace(orphan(), step="debit" * 60))
        office = Office(ledger)
        with caplog.at_level(logging.ERROR):
            office.sweep()
        assert (ledger.pending, office.done) == (1, [])
        assert "`saga in-doubt`" in caplog.text

    def test_r3_a_foreign_gid_is_never_touched(self, ledger: Ledger) -> None:
        assert ledger.url is not None
        _prepare_foreign(ledger)
        office = Office(ledger)
        assert office.sweep() == []
        assert (office.done, ledger.branches.found()) == ([], [])
        assert _foreign(ledger) == 1
        _end_foreign(ledger)

    def test_r4_two_sweeps_at_once_come_to_the_same(self, ledger: Ledger) -> None:
        offices = [Office(ledger), Office(ledger, "c2")]
        for office in offices:
            office.abort_run()
        ledger.one(orphan(step="one"))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda office: office.sweep(), offices))
        assert {a.outcome for office in offices for a in office.done} <= {"succeeded"}
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_r4_a_sweep_whose_answer_is_lost_asks_again(self, ledger: Ledger) -> None:
        office = Office(ledger)
        office.abort_run()
        ledger.one(orphan(step="one"))
        office.transport.handler = lambda _work: None
        office.sweep()
        assert ledger.pending == 1
        office.transport.handler = office.carried_out
        office.sweep()
        assert ledger.pending == 0

    def test_c11_a_journal_older_than_the_branch_presumes_nothing(
        self, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        office = Office(ledger)
        office.abort_run()
        ledger.one(orphan(epoch=7, step="one"))
        with caplog.at_level(logging.ERROR):
            office.sweep()
        assert (office.done, ledger.pending) == ([], 1)
        assert "the participant has heard of 7" in caplog.text
        assert office.coordinator.counts["in doubt: nothing presumed"] == 1

    def test_c11_a_forgotten_run_whose_sibling_has_committed_is_left_to_people(
        self, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The journal has gone on beyond every epoch that participants have heard of, so no epoch tells."""
        office = Office(ledger)
        before = office.store.backup()
        office.transport.handler = lambda work: (
            None if (work.kind, work.step) == ("commit", "two") else office.carried_out(work)
        )
        office.store.launch([request(PLAN, RUN, at=office.clock)])
        office.turns()
        assert (ledger.balance, ledger.pending) == (70, 1)
        office.store.restore(before)
        office.transport.handler = office.carried_out
        office.clock += 200
        with caplog.at_level(logging.ERROR):
            office.sweep()
        assert (ledger.balance, ledger.pending) == (70, 1)
        assert "it has no record of the run" in caplog.text
        assert office.coordinator.counts["in doubt: nothing presumed"] == 1

    def test_a_run_under_way_gets_no_answer(self, ledger: Ledger) -> None:
        office = Office(ledger)
        office.transport.handler = lambda _work: None  # every message is lost
        office.store.launch([request(PLAN, RUN, at=office.clock)])
        office.turns()
        ledger.one(orphan())
        office.sweep()
        assert ledger.pending == 1
        assert office.coordinator.counts["in doubt: under way"] == 1

    def test_a_branch_that_came_back_is_committed_as_the_journal_says(self, ledger: Ledger) -> None:
        """Its database was restored from a backup of the moment before the commit."""
        office = Office(ledger)
        office.store.launch([request(PLAN, RUN, at=office.clock)])
        office.turns()
        assert office.store.find(RUN).status == "completed"
        assert ledger.balance == 70
        with ledger.session() as session:
            session.execute(text("DELETE FROM saga_barrier"))
            session.execute(text("UPDATE account SET balance = 100"))
            session.commit()
        for name in ("one", "two"):
            work = replace(orphan(), step=name, args={"amount": 30, "name": NAMES[name]})
            assert ledger.one(work).vote == "prepared"
        office.sweep()
        assert (ledger.balance, ledger.pending) == (70, 0)
        assert [a.kind for a in office.done[-2:]] == ["commit", "commit"]

    @pytest.mark.parametrize(("step", "round_"), [("one", 3), ("three", 0)])
    def test_c11_a_branch_that_its_run_never_came_to_is_left_to_people(
        self, ledger: Ledger, step: str, round_: int
    ) -> None:
        office = Office(ledger)
        office.store.launch([request(PLAN, RUN, at=office.clock)])
        office.turns()
        ledger.one(replace(orphan(step=step), round=round_))
        office.sweep()
        assert (ledger.balance, ledger.pending) == (70, 1)
        assert [a.kind for a in office.done[-2:]] == ["commit", "commit"]

    def test_an_old_branch_is_a_warning_in_the_log(
        self, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger.one(orphan())
        with caplog.at_level(logging.WARNING):
            sweeper(ledger).sweep(Kept())
        assert "has been prepared for" in caplog.text

    def test_a_database_that_is_down_is_looked_at_the_next_time(self, tmp_path: Path) -> None:
        url = "postgresql+psycopg://postgres@127.0.0.1:1/nowhere"
        ledger = Ledger("postgres", url, fresh=False)
        asked = Kept()
        assert sweeper(ledger).sweep(asked) == SweepOptions().every_s
        assert asked.answers == []


class TestWhatIsFound:
    """What a prepared branch holds up."""

    def test_postgres_tells_age_locks_and_who_waits(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        with opened("postgres", request, tmp_path) as ledger:
            ledger.one(orphan())
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(_take, ledger)
                try:
                    eventually(lambda: ledger.branches.found()[0].waiting)
                    (found,) = ledger.branches.found()
                finally:
                    assert ledger.branches.roll_back(Gid(SHARD, 0, RUN, "debit"))
                waiting.result()
            assert found.gid == Gid(SHARD, 0, RUN, "debit")
            assert found.age_s is not None
            assert 0 <= found.age_s < 30
            assert (found.waiting, found.owner) == (1, "postgres")
            assert any(lock.startswith("account ") for lock in found.locks)
            assert found.holds_back is not None
            assert not ledger.branches.roll_back(found.gid)


def _take(ledger: Ledger) -> None:
    """As somebody does who waits for a lock for as long as it takes."""
    with ledger.engine.begin() as connection:
        connection.execute(TAKE, {"amount": 1, "name": "ann"})


def _prepare_foreign(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        if ledger.kind == "mariadb":
            connection.exec_driver_sql("XA START 'foreign-app', 'saga-orch1', 1")
            connection.execute(text("UPDATE account SET held = 1"))
            connection.exec_driver_sql("XA END 'foreign-app', 'saga-orch1', 1")
            connection.exec_driver_sql("XA PREPARE 'foreign-app', 'saga-orch1', 1")
            connection.invalidate()
        else:
            connection.execute(text("UPDATE account SET held = 1"))
            connection.exec_driver_sql("PREPARE TRANSACTION 'saga-orch2:foreign'")


def _foreign(ledger: Ledger) -> int:
    assert ledger.url is not None
    if ledger.kind == "mariadb":
        return sum(b"foreign" in row[3] for row in by_hand(ledger.url, "XA RECOVER"))
    found = by_hand(ledger.url, "SELECT gid FROM pg_prepared_xacts WHERE gid ~ 'foreign'")
    return len(found)


def _end_foreign(ledger: Ledger) -> None:
    assert ledger.url is not None
    ending = "XA ROLLBACK 'foreign-app', 'saga-orch1', 1"
    if ledger.kind != "mariadb":
        ending = "ROLLBACK PREPARED 'saga-orch2:foreign'"
    by_hand(ledger.url, ending)
