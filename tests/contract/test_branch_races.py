"""Prepared branches in each other's way, branches that change nothing, and limits of time: Q5, Q7, P13, P14."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.errors import Refused
from orchestrator.kernel.events import CommandKind
from orchestrator.transport.messages import Work
from tests.contract.barrier_shop import somebody_waits
from tests.contract.branch_ledger import PREPARED, Ledger, abort, by_hand, commit, opened, prepare
from tests.waiting import eventually


@pytest.fixture(params=PREPARED)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


class TestAtTheSameTime:
    """Two commands for one branch."""

    @pytest.fixture(params=["postgres", "mariadb"])
    def ledger(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
        with opened(request.param, request, tmp_path) as ledger:
            yield ledger

    def test_q5_an_abort_while_prepare_runs_ends_rolled_back(self, ledger: Ledger) -> None:
        running = _Held(ledger)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ledger.one, prepare())
            running.entered()
            aborting = pool.submit(ledger.one, abort())
            running.let_go_when(lambda: _is_waiting(ledger, aborting.running))
            assert first.result(20).vote in {"prepared", None}
            assert aborting.result(20).outcome == "succeeded"
        assert (ledger.balance, ledger.pending, ledger.rows) == (100, 0, {"r1:debit": "tombstone"})

    def test_q5_the_abort_is_sent_again_if_prepare_takes_too_long(self, ledger: Ledger) -> None:
        running = _Held(ledger)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ledger.one, prepare())
            running.entered()
            answer = ledger.one(abort(timeout_s=0.1))
            assert answer.outcome == "failed"
            assert answer.failure is not None
            assert answer.failure.type == "StillRunningError"
            running.let_go_when(lambda: True)
            assert first.result(20).vote == "prepared"
        assert ledger.one(abort(attempt=3)).outcome == "succeeded"
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_q7_a_copy_while_the_first_runs_is_the_same_branch(self, ledger: Ledger) -> None:
        running = _Held(ledger)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ledger.one, prepare())
            running.entered()
            second = pool.submit(ledger.one, prepare(attempt=2))
            running.let_go_when(lambda: _is_waiting(ledger, second.running))
            assert (first.result(20).vote, first.result().duplicate) == ("prepared", False)
            assert (second.result(20).vote, second.result().duplicate) == ("prepared", True)
        assert (ledger.calls, ledger.pending) == (["debit"], 1)

    def test_q7_a_copy_that_waits_too_long_says_neither_yes_nor_no(self, ledger: Ledger) -> None:
        running = _Held(ledger)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ledger.one, prepare())
            running.entered()
            assert ledger.one(prepare(attempt=2, timeout_s=0.1)).outcome == "lost"
            running.let_go_when(lambda: True)
            assert first.result(20).vote == "prepared"

    def test_q7_a_copy_takes_over_when_the_first_says_no(self, ledger: Ledger) -> None:
        running = _Held(ledger, then=Refused("after all"))
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ledger.one, prepare())
            running.entered()
            second = pool.submit(ledger.one, prepare(attempt=2))
            running.let_go_when(lambda: _is_waiting(ledger, second.running))
            answers = {first.result(20).outcome, second.result(20).outcome}
        assert answers in (
            {"refused"},
            {"succeeded"},
        )  # whoever is second says what the first one said
        assert ledger.pending == (answers == {"succeeded"})

    def test_q7_a_no_does_not_wait_for_a_copy_that_has_said_yes(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The copy comes in the moment between looking that nobody is there and writing the no."""

        def refuse(_session: Session) -> None:
            raise Refused("after all")

        def overtaken(*arguments: Any) -> Any:
            monkeypatch.undo()
            ledger.before_vote = lambda _session: None
            assert ledger.one(prepare(attempt=2)).vote == "prepared"
            return ledger.branches._refuse(*arguments)

        ledger.before_vote = refuse
        monkeypatch.setattr(ledger.branches, "_refuse", overtaken)
        answer = ledger.one(prepare())
        assert (answer.outcome, answer.vote, answer.duplicate) == ("succeeded", "prepared", True)
        assert ledger.pending == 1

    @pytest.mark.parametrize("command", [commit, abort])
    def test_r4_many_endings_at_once_are_one(
        self, ledger: Ledger, command: Callable[..., Work]
    ) -> None:
        ledger.one(prepare())
        together = threading.Barrier(4)

        def end(_number: int) -> str:
            together.wait(10)
            return ledger.one(command()).outcome

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(end, range(4)))
        assert outcomes == ["succeeded"] * 4
        assert (ledger.balance, ledger.pending) == (70 if command is commit else 100, 0)

    def test_a_deadlock_between_branches_ends(self, ledger: Ledger) -> None:
        """Each holds, prepared, what the other wants; no database sees it, so the wait has its limit."""
        ledger.one(prepare(step="one"))
        other = ledger.one(prepare(step="two", timeout_s=1))
        assert other.outcome == "failed"
        assert ledger.one(commit(step="one")).outcome == "succeeded"
        assert ledger.one(prepare(step="two", attempt=2)).vote == "prepared"
        assert ledger.one(commit(step="two")).outcome == "succeeded"
        assert (ledger.balance, ledger.pending) == (40, 0)


class TestReadOnly:
    """P14: who has changed nothing votes so, and is done."""

    @pytest.mark.parametrize("name", ["look", "promised"])
    def test_p14_leaves_nothing_prepared(self, ledger: Ledger, name: str) -> None:
        answer = ledger.one(prepare(participant=f"ledger.{name}", args={}))
        assert (answer.outcome, answer.vote, answer.result) == ("succeeded", "read_only", 100)
        assert (ledger.pending, ledger.rows) == (0, {})

    def test_p14_again_it_looks_again(self, ledger: Ledger) -> None:
        work = prepare(participant="ledger.look", args={})
        assert [ledger.one(work).vote for _ in range(2)] == ["read_only"] * 2

    def test_p14_after_its_abort_it_is_rejected(self, ledger: Ledger) -> None:
        work = prepare(participant="ledger.look", args={})
        ledger.one(abort(participant="ledger.look", args={}))
        assert ledger.one(work).outcome == "rejected"

    def test_p14_a_write_of_any_kind_is_noticed(self, ledger: Ledger) -> None:
        if ledger.kind == "mariadb":
            statements = ["INSERT INTO account VALUES ('eve', 1, 0)"]
        else:
            statements = [
                "SELECT balance FROM account FOR UPDATE",
                "INSERT INTO account VALUES ('eve', 1, 0)",
                "CREATE TABLE made_in_a_branch (a INTEGER)",
                "SELECT lo_create(0)",
            ]
        for number, statement in enumerate(statements):

            def only(session: Session, what: str = statement) -> None:
                session.execute(text(what))

            ledger.before_vote = only
            answer = ledger.one(prepare(0, step=f"write {number}"))
            assert (answer.outcome, answer.vote) == ("succeeded", "prepared"), statement
            assert ledger.one(abort(step=f"write {number}")).outcome == "succeeded"


class TestTime:
    """P13: before the yes a participant may give up, after it never."""

    def test_p13_before_the_yes(self, ledger: Ledger) -> None:
        def too_long(_session: Session) -> None:
            raise TimeoutError("took too long")

        ledger.before_vote = too_long
        assert ledger.one(prepare()).outcome == "failed"
        assert (ledger.balance, ledger.pending, ledger.rows) == (100, 0, {})

    def test_p13_after_the_yes_nothing_that_happens_here_ends_it(self, ledger: Ledger) -> None:
        ledger.one(prepare(timeout_s=0.2))
        ledger.executor.dispose()
        ledger.service.prune(older_than=_NO_TIME)
        assert (
            ledger.one(prepare(step="other", args={"amount": 1, "name": "bob"})).vote == "prepared"
        )
        assert ledger.pending == 2
        assert ledger.one(commit()).outcome == "succeeded"
        assert ledger.balance == 70

    def test_a_lock_is_not_waited_for_as_long_as_the_attempt_may_take(self, ledger: Ledger) -> None:
        """It may be a prepared branch's, whose commit needs the process that waits."""
        ledger.one(prepare(step="first"))
        answer = ledger.one(prepare(timeout_s=30))
        assert answer.outcome == "failed"
        assert answer.took_s < 10
        assert ledger.one(abort(step="first")).outcome == "succeeded"
        assert ledger.one(prepare(attempt=2)).vote == "prepared"

    @pytest.mark.parametrize("kind", ["do", "undo"])
    def test_nor_is_it_beside_groups(self, ledger: Ledger, kind: CommandKind) -> None:
        """An undo that waited for a prepared branch would keep its commit from the worker just the same."""
        work = prepare(step="beside", kind=kind)
        if kind == "undo":
            assert ledger.one(prepare(step="beside", kind="do")).outcome == "succeeded"
        ledger.one(prepare(step="first"))
        answer = ledger.one(work)
        assert answer.outcome == "failed"
        assert answer.took_s < 10
        assert ledger.one(abort(step="first")).outcome == "succeeded"
        assert ledger.one(replace(work, attempt=2)).outcome == "succeeded"
        assert ledger.balance == (70 if kind == "do" else 100)

    def test_a_wait_for_a_lock_ends_with_the_attempt(self, ledger: Ledger) -> None:
        assert ledger.url is not None
        with ledger.session() as session:
            session.execute(text("UPDATE account SET held = 0 WHERE name = 'ann'"))
            assert ledger.one(prepare(timeout_s=1)).outcome == "failed"
            assert (ledger.pending, by_hand(ledger.url, "SELECT count(*) FROM saga_barrier")) == (
                0,
                [(0,)],
            )
            session.rollback()
        assert ledger.one(prepare(attempt=2)).vote == "prepared"


class _Held:
    """A participant that has done its work and waits, not yet prepared, until it is let go."""

    def __init__(self, ledger: Ledger, then: Exception | None = None) -> None:
        self._ledger = ledger
        self._inside, self._go = threading.Event(), threading.Event()
        self._then = then
        ledger.before_vote = self._hold

    def _hold(self, _session: Session) -> None:
        self._ledger.before_vote = lambda _session: None
        self._inside.set()
        assert self._go.wait(20)
        if self._then is not None:
            raise self._then

    def entered(self) -> None:
        assert self._inside.wait(20)

    def let_go_when(self, ready: Callable[[], bool]) -> None:
        try:
            eventually(ready, what="the other one waits")
        finally:
            self._go.set()


_NO_TIME = timedelta(0)


def _is_waiting(ledger: Ledger, is_running: Callable[[], bool]) -> bool:
    """Whether the second command has come as far as it can: to the first one's lock, or to its name."""
    assert ledger.url is not None
    return is_running() and (ledger.kind == "mariadb" or somebody_waits(ledger.url))
