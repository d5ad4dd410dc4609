"""Branches that nobody ends: found, asked about, ended as the journal says. Rows C11 and R1 to R4 of the matrix."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import make_url, text

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.plan import Atomic, Call, Const, Plan, RetryPolicy, Sequence
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.records import shard_of
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.two_phase.sweep import SweepOptions
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer, Work
from orchestrator.wiring import Definitions
from tests.contract.barrier_shop import Kept
from tests.contract.branch_ledger import Ledger, by_hand, opened, prepare
from tests.servers import Postgres
from tests.unit.cli.stage import Stage
from tests.unit.coordinator.scripted import ScriptedTransport, request

RUN = "c0ffee" + 26 * "0"
SHARDS = 2
SHARD = shard_of(RUN, SHARDS)


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


def orphan(epoch: int = 1) -> Work:
    """The prepare of a run that no journal knows."""
    return prepare(run=RUN, shard=SHARD, epoch=epoch)


class TestTheSweep:
    """What workers and coordinator do together."""

    def test_r1_a_young_branch_is_left_alone(self, ledger: Ledger) -> None:
        ledger.one(orphan())
        assert Office(ledger).sweep(safety_age_s=60) == []
        assert ledger.pending == 1

    def test_r2_an_old_one_without_a_record_is_rolled_back(self, ledger: Ledger) -> None:
        ledger.one(orphan())
        office = Office(ledger)
        (asked,) = office.sweep()
        assert (asked.run, asked.shard, asked.step) == (RUN, SHARD, "debit")
        assert [(a.kind, a.outcome) for a in office.done] == [("abort", "succeeded")]
        assert (ledger.balance, ledger.pending) == (100, 0)
        assert ledger.rows == {f"{RUN}:debit": "tombstone"}
        assert office.sweep() == []

    def test_r2_of_a_long_step_too(self, ledger: Ledger) -> None:
        ledger.one(replace(orphan(), step="debit" * 60))
        Office(ledger).sweep()
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_r3_a_foreign_gid_is_never_touched(self, ledger: Ledger) -> None:
        assert ledger.url is not None
        _prepare_foreign(ledger)
        office = Office(ledger)
        assert office.sweep() == []
        assert (office.done, ledger.branches.found()) == ([], [])
        assert _foreign(ledger) == 1
        _end_foreign(ledger)

    def test_r4_two_sweeps_at_once_come_to_the_same(self, ledger: Ledger) -> None:
        ledger.one(orphan())
        offices = [Office(ledger), Office(ledger, "c2")]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda office: office.sweep(), offices))
        assert {a.outcome for office in offices for a in office.done} <= {"succeeded"}
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_r4_a_sweep_whose_answer_is_lost_asks_again(self, ledger: Ledger) -> None:
        ledger.one(orphan())
        office = Office(ledger)
        office.transport.handler = lambda _work: None
        office.sweep()
        assert ledger.pending == 1
        office.transport.handler = office.carried_out
        office.sweep()
        assert ledger.pending == 0

    def test_c11_a_journal_older_than_the_branch_presumes_nothing(
        self, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger.one(orphan(epoch=7))
        office = Office(ledger)
        with caplog.at_level(logging.ERROR):
            office.sweep()
        assert (office.done, ledger.pending) == ([], 1)
        assert "restored from a backup" in caplog.text
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
            work = replace(orphan(), step=name, args={"amount": 30, "name": _NAMES[name]})
            assert ledger.one(work).vote == "prepared"
        office.sweep()
        assert (ledger.balance, ledger.pending) == (70, 0)
        assert [a.kind for a in office.done[-2:]] == ["commit", "commit"]

    def test_of_another_round_it_is_rolled_back(self, ledger: Ledger) -> None:
        office = Office(ledger)
        office.store.launch([request(PLAN, RUN, at=office.clock)])
        office.turns()
        ledger.one(replace(orphan(), step="one", round=3))
        office.sweep()
        assert (ledger.balance, ledger.pending) == (70, 0)
        assert office.done[-1].kind == "abort"

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
                waiting = pool.submit(
                    ledger.one, prepare(step="other", participant="ledger.debit", timeout_s=3)
                )
                while not (found := ledger.branches.found()[0]).waiting and waiting.running():
                    pass
                waiting.result()
            assert found.gid == Gid(SHARD, 0, RUN, "debit")
            assert found.age_s is not None
            assert 0 <= found.age_s < 30
            assert (found.waiting, found.owner) == (1, "postgres")
            assert any(lock.startswith("account ") for lock in found.locks)
            assert found.holds_back is not None
            assert ledger.branches.roll_back(found.gid)
            assert not ledger.branches.roll_back(found.gid)


class TestTheCommand:
    """`saga in-doubt` and `saga doctor`."""

    def test_lists_and_leaves_alone(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        ledger.one(orphan())
        (one,) = stage.json("in-doubt", "--app", "x")
        assert (one["service"], one["run"], one["step"]) == ("ledger", RUN, "debit")
        assert (one["decision"], one["came_to"]) == ("no record", "")
        assert RUN[:8] in stage.run("in-doubt", "--app", "x").stdout
        assert ledger.pending == 1

    def test_resolve_leaves_a_young_orphan(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        ledger.one(orphan())
        (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
        assert (one["decision"], one["came_to"]) == ("no record", "")
        assert ledger.pending == 1

    def test_resolve_ends_what_is_decided(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        stage.transport.handler = ledger.one
        stage.store.launch([request(PLAN, RUN, at=stage.clock)])
        stage.turns()
        assert ledger.balance == 70
        stage.transport.handler = lambda _work: None
        ledger.one(replace(orphan(), step="one", round=1))
        (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
        assert (one["decision"], one["came_to"]) == ("abort", "rolled back")
        assert (ledger.balance, ledger.pending) == (70, 0)

    def test_an_undecided_one_is_left(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        stage.transport.handler = lambda _work: None
        stage.store.launch([request(PLAN, RUN, at=stage.clock)])
        stage.turns()
        ledger.one(replace(orphan(), step="one"))
        (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
        assert (one["decision"], one["came_to"], ledger.pending) == ("undecided", "", 1)

    def test_c11_presumes_nothing_and_says_so(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        ledger.one(orphan(epoch=9))
        result = stage.run("in-doubt", "--app", "x", "--resolve")
        assert result.exit_code == 1
        assert "older than this branch" in result.output
        assert ledger.pending == 1

    def test_nothing_in_doubt(self, ledger: Ledger) -> None:
        result = _stage(ledger).run("in-doubt", "--app", "x")
        assert (result.exit_code, "nothing is in doubt" in result.output) == (0, True)

    def test_without_apps_it_says_what_is_missing(self) -> None:
        result = Stage().run("in-doubt")
        assert result.exit_code == 2
        assert "--app" in result.output

    def test_the_doctor_looks_at_two_phase_databases(self, ledger: Ledger) -> None:
        stage = _stage(ledger)
        stage.start()
        findings = stage.json("doctor", "--app", "x")["findings"]
        (one,) = [f for f in findings if f["check"] == "two-phase ledger"]
        assert one["level"] == "ok"
        assert ledger.pending == 0

    def test_the_doctor_tries_with_the_services_own_user(self, own_postgres: Postgres) -> None:
        owner = Ledger("postgres", own_postgres.url)
        owner.one(orphan())
        own_postgres.execute("CREATE USER clerk")
        own_postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk")
        url = make_url(own_postgres.url).set(username="clerk").render_as_string()
        clerks = Ledger("postgres", url, fresh=False)
        stage = _stage(clerks)
        stage.start()
        result = stage.run("--json", "doctor", "--app", "x")
        for ledger in (owner, clerks):
            ledger.executor.dispose()
        assert result.exit_code == 1
        assert "permission denied for table saga_barrier" in result.stdout

    def test_the_doctor_names_what_has_been_in_doubt_for_long(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage = _stage(ledger)
        stage.start()
        ledger.one(orphan())
        (found,) = ledger.branches.found()
        aged = [replace(found, age_s=1_000.0)]
        monkeypatch.setattr(type(ledger.branches._resources), "found", lambda *_: aged)
        output = stage.run("doctor", "--app", "x").output
        assert "1 branches have been prepared for longer than 2m" in output
        assert "saga in-doubt" in output
        stage.transport.handler = lambda _work: None
        (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
        assert (one["decision"], one["came_to"]) == ("no record", "rolled back")


_NAMES = {"one": "ann", "two": "bob"}

PLAN = Plan(
    saga="s",
    version=1,
    parameters={},
    body=Sequence(
        (
            Atomic(
                name="atomic",
                branches=tuple(
                    Call(
                        name=step,
                        service="ledger",
                        participant="debit",
                        queue="q",
                        args={"amount": Const(30), "name": Const(name)},
                        timeout_s=10.0,
                        retry=RetryPolicy(),
                        barrier=True,
                        branch="database",
                    )
                    for step, name in _NAMES.items()
                ),
                timeout_s=20.0,
            ),
        )
    ),
)
"""A group of two branches."""


def _stage(ledger: Ledger) -> Stage:
    stage = Stage()
    stage.defined = Definitions({}, [ledger.service])
    return stage


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
