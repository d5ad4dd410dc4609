"""The barrier's promises, one suite over every database a participant may have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from orchestrator.errors import Refused
from orchestrator.participant import barrier as barrier_module
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.transport.messages import Answer, Work
from tests.waiting import eventually


@dataclass
class Hold:
    sku: str
    quantity: int


class Shop:
    """A service with stock in its database, and levers for the tests to pull."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[str] = []
        self.before_commit: Callable[[], None] = lambda: None
        self.before_undo: Callable[[], None] = lambda: None
        self.service = Service("shop", database=url)
        self._declare()
        self.executor = WorkExecutor(Registry.of([self.service]))
        with self.session() as session:
            session.execute(
                text("CREATE TABLE stock (sku VARCHAR(20) PRIMARY KEY, left_over INTEGER)")
            )
            session.execute(text("INSERT INTO stock VALUES ('apple', 100)"))
            session.commit()

    def session(self) -> Session:
        assert self.service.database is not None
        return Session(self.service.database.engine())

    @property
    def stock(self) -> int:
        with self.session() as session:
            left: int = session.execute(text("SELECT left_over FROM stock")).scalar_one()
            return left

    @property
    def rows(self) -> dict[str, str]:
        with self.session() as session:
            found = session.execute(text("SELECT effect_key, status FROM saga_barrier"))
            return {key: status for key, status in found}

    def send(self, *work: Work) -> list[Answer]:
        answers: list[Answer] = []

        class Transport:
            def answer(self, given: Any) -> None:
                answers.extend(given)

        self.executor.execute(work, Transport())
        return answers

    def one(self, work: Work) -> Answer:
        (answer,) = self.send(work)
        return answer

    def _declare(self) -> None:
        @self.service.participant
        def reserve(session: Session, sku: str, quantity: int) -> Hold:
            self.calls.append("reserve")
            take(session, quantity)
            if quantity == 13:
                raise Refused("unlucky", data={"quantity": quantity})
            if quantity == 14:
                raise ValueError("boom")
            self.before_commit()
            return Hold(sku, quantity)

        @reserve.undo
        def release(session: Session, hold: Hold, sku: str) -> None:
            self.calls.append(f"release {hold.quantity} {sku}")
            self.before_undo()
            take(session, -hold.quantity)

        @self.service.participant
        def burn(session: Session, quantity: int) -> None:
            take(session, quantity)

        @self.service.participant(read_only=True)
        def look(session: Session) -> int:
            left: int = session.execute(text("SELECT left_over FROM stock")).scalar_one()
            return left

        @self.service.participant(read_only=True)
        def cheat(session: Session) -> None:
            take(session, 1)

        @self.service.participant
        def careless(session: Session, statement: str) -> None:
            take(session, 1)
            try:
                session.execute(text(statement))
            except Exception:  # noqa: BLE001 - what a careless participant does
                self.calls.append("caught")

        @self.service.participant
        def ends_itself(session: Session, how: str) -> None:
            take(session, 1)
            getattr(session, how)()

        @self.service.participant
        def charge(call: Call, amount: int) -> str:
            self.calls.append(f"charge {call.idempotency_key}")
            if amount == 14:
                raise ValueError("boom")
            if amount == 15:
                raise TimeoutError("no answer from the bank")
            if amount == 13:
                raise Refused("no money")
            return f"paid {amount}"

        @charge.undo
        def refund(call: Call, payment: str | None) -> None:
            self.calls.append(f"refund {call.idempotency_key} {payment}")


def take(session: Session, quantity: int) -> None:
    session.execute(text("UPDATE stock SET left_over = left_over - :q"), {"q": quantity})


def do(quantity: int = 2, **changes: Any) -> Work:
    work = Work(
        run="r1",
        shard=3,
        epoch=5,
        step="reserve",
        kind="do",
        attempt=1,
        participant="shop.reserve",
        args={"sku": "apple", "quantity": quantity},
        timeout_s=30,
        saga="order",
    )
    return replace(work, **changes)


def undo(quantity: int = 2, **changes: Any) -> Work:
    return do(quantity, kind="undo", **changes)


def charge(amount: int = 5, **changes: Any) -> Work:
    return do(step="charge", participant="shop.charge", args={"amount": amount}, **changes)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def shop(url: str) -> Iterator[Shop]:
    shop = Shop(url)
    yield shop
    shop.executor.dispose()


class TestDo:
    def test_effect_row_and_reply_commit_together(self, shop: Shop) -> None:
        answer = shop.one(do())
        assert (answer.outcome, answer.duplicate) == ("succeeded", False)
        assert answer.result == {"sku": "apple", "quantity": 2}
        assert shop.stock == 98
        assert shop.rows == {"r1:reserve": "done"}

    def test_a_duplicate_gets_the_stored_reply_and_does_nothing(self, shop: Shop) -> None:
        first = shop.one(do())
        second = shop.one(do(attempt=2))
        assert second.duplicate
        assert (second.outcome, second.result) == (first.outcome, first.result)
        assert (shop.stock, shop.calls) == (98, ["reserve"])

    def test_a_null_reply_is_remembered_too(self, shop: Shop) -> None:
        work = do(participant="shop.burn", args={"quantity": 1})
        assert [shop.one(work).result for _ in range(2)] == [None, None]
        assert shop.stock == 99

    def test_a_refusal_leaves_no_effect_and_is_final(self, shop: Shop) -> None:
        answers = [shop.one(do(13)), shop.one(do(13))]
        assert [answer.outcome for answer in answers] == ["refused", "refused"]
        assert [answer.duplicate for answer in answers] == [False, True]
        for answer in answers:
            assert answer.failure is not None
            assert answer.failure.message == "unlucky"
            assert answer.failure.data == {"quantity": 13}
            assert "orchestrator.errors.Refused" in answer.failure.kinds
        assert (shop.stock, shop.calls) == (100, ["reserve"])

    def test_a_new_round_may_answer_anew_after_a_refusal(self, shop: Shop) -> None:
        shop.one(do(13))
        assert shop.one(do(2, round=1)).outcome == "succeeded"
        assert shop.stock == 98

    def test_an_error_leaves_nothing_behind(self, shop: Shop) -> None:
        answer = shop.one(do(14))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert (answer.failure.type, answer.failure.message) == ("ValueError", "boom")
        assert "builtins.ValueError" in answer.failure.kinds
        assert "raise ValueError" in answer.failure.traceback
        assert (shop.stock, shop.rows) == (100, {})
        assert shop.one(do(2)).outcome == "succeeded"

    def test_a_callback_is_heard_once(self, shop: Shop) -> None:
        work = do(kind="callback", step="on_completed", participant="shop.burn")
        heard = replace(work, args={"ended": 4})  # goes to the one parameter, whatever its name
        assert [shop.one(heard).outcome for _ in range(2)] == ["succeeded", "succeeded"]
        assert shop.stock == 96

    def test_a_long_key_stays_unique(self, shop: Shop) -> None:
        for step in ("s" * 400 + "a", "s" * 400 + "b", "s" * 400 + "B"):
            assert not shop.one(do(step=step)).duplicate
        assert shop.one(do(step="s" * 400 + "a")).duplicate
        assert shop.stock == 94

    def test_keys_differ_by_case_and_blanks(self, shop: Shop) -> None:
        assert [shop.one(do(step=step)).duplicate for step in ("a", "A", "a ")] == [False] * 3

    def test_large_and_odd_text_comes_back_as_it_was(self, shop: Shop) -> None:
        sku = "\x00\U0001f34e" + "x" * 200_000
        work = do(args={"sku": sku, "quantity": 1})
        results = [shop.one(work).result for _ in range(2)]
        assert results == [{"sku": sku, "quantity": 1}] * 2


class TestUndo:
    def test_undoes_what_was_done_with_what_it_returned(self, shop: Shop) -> None:
        shop.one(do(7))
        answer = shop.one(undo(99, result={"sku": "pear", "quantity": 50}))
        assert (answer.outcome, answer.duplicate, answer.result) == ("succeeded", False, None)
        assert shop.calls == ["reserve", "release 7 apple"]
        assert (shop.stock, shop.rows) == (100, {"r1:reserve": "undone"})

    def test_a_second_undo_does_nothing(self, shop: Shop) -> None:
        shop.one(do())
        assert [shop.one(undo()).duplicate for _ in range(2)] == [False, True]
        assert shop.stock == 100

    def test_before_its_action_it_leaves_a_tombstone(self, shop: Shop) -> None:
        assert shop.one(undo()).outcome == "succeeded"
        assert shop.rows == {"r1:reserve": "tombstone"}
        assert [shop.one(do(attempt=n)).outcome for n in (1, 2, 3)] == ["rejected"] * 3
        assert shop.one(undo()).duplicate
        assert (shop.stock, shop.calls) == (100, [])

    def test_after_a_refusal_it_has_nothing_to_do(self, shop: Shop) -> None:
        shop.one(do(13))
        assert shop.one(undo()).outcome == "succeeded"
        assert shop.one(do(2)).outcome == "rejected"
        assert (shop.stock, shop.calls) == (100, ["reserve"])

    def test_an_action_that_comes_after_its_undo_is_rejected(self, shop: Shop) -> None:
        shop.one(do())
        shop.one(undo())
        answers = [shop.one(do(attempt=n)) for n in (2, 3)]
        assert [answer.outcome for answer in answers] == ["rejected", "rejected"]
        assert answers[0].failure is not None
        assert answers[0].failure.type == "UndoneBefore"
        assert shop.stock == 100

    def test_that_fails_is_rolled_back_and_can_be_tried_again(self, shop: Shop) -> None:
        shop.one(do())

        def fail() -> None:
            raise Refused("not now")

        shop.before_undo = fail
        assert shop.one(undo()).outcome == "failed"
        assert (shop.stock, shop.rows) == (98, {"r1:reserve": "done"})
        shop.before_undo = lambda: None
        assert shop.one(undo(attempt=2)).outcome == "succeeded"
        assert shop.stock == 100

    def test_of_an_effect_without_an_undo_function_fails(self, shop: Shop) -> None:
        work = do(participant="shop.burn", args={"quantity": 1})
        shop.one(work)
        answer = shop.one(replace(work, kind="undo"))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert "no undo" in answer.failure.message
        assert shop.stock == 99

    def test_without_an_undo_function_what_never_came_gets_its_tombstone(self, shop: Shop) -> None:
        work = do(participant="shop.burn", args={"quantity": 1})
        assert shop.one(replace(work, kind="undo")).outcome == "succeeded"
        assert shop.one(work).outcome == "rejected"


class TestEpoch:
    @pytest.mark.parametrize("old", [do(epoch=4), undo(epoch=4)], ids=["do", "undo"])
    @pytest.mark.parametrize("other_process", [False, True])
    def test_an_older_one_is_refused(self, shop: Shop, old: Work, *, other_process: bool) -> None:
        shop.one(do(step="else", epoch=5))
        taker = _another_process(shop, heard=4) if other_process else shop
        for _ in range(2):
            answer = taker.one(old)
            assert answer.outcome == "rejected"
            assert answer.failure is not None
            assert "epoch 4 of shard 3" in answer.failure.message
        assert (shop.stock, shop.rows) == (98, {"r1:else": "done"})
        if taker is not shop:
            taker.executor.dispose()

    @pytest.mark.parametrize("command", [do, undo])
    def test_an_older_one_is_refused_for_a_known_effect_too(
        self, shop: Shop, command: Callable[..., Work]
    ) -> None:
        shop.one(do(epoch=4))
        other = _another_process(shop, heard=4)
        shop.one(do(step="else", epoch=5))
        assert other.one(command(epoch=4)).outcome == "rejected"
        assert shop.rows["r1:reserve"] == "done"
        other.executor.dispose()

    def test_a_newer_one_is_obeyed_and_other_shards_are_not_concerned(self, shop: Shop) -> None:
        shop.one(do(epoch=9))
        assert shop.one(do(step="a", epoch=10)).outcome == "succeeded"
        assert shop.one(do(step="b", epoch=9)).outcome == "rejected"
        assert shop.one(do(step="c", epoch=1, shard=4)).outcome == "succeeded"


def _another_process(shop: Shop, heard: int) -> Shop:
    """The same service as another process has it, which has last heard of epoch ``heard``."""
    other = Shop.__new__(Shop)
    other.url = shop.url
    other.calls = []
    other.before_commit = other.before_undo = lambda: None
    other.service = Service("shop", database=shop.url)
    other._declare()
    other.executor = WorkExecutor(Registry.of([other.service]))
    other.service.performer.barrier._epochs[3] = heard  # type: ignore[union-attr] # has a database
    return other


class TestConcurrency:
    def test_two_copies_at_once_are_one_effect(self, shop: Shop) -> None:
        shop.one(do(step="warm"))
        entered = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:

            def deliver(attempt: int) -> Answer:
                entered.wait(10)
                return shop.one(do(attempt=attempt))

            answers = list(pool.map(deliver, (1, 2)))
        assert [answer.outcome for answer in answers] == ["succeeded"] * 2
        assert sorted(answer.duplicate for answer in answers) == [False, True]
        assert answers[0].result == answers[1].result
        assert shop.stock == 96

    def test_a_copy_waits_for_the_first_to_end(self, shop: Shop) -> None:
        running, waiting = _Held(shop), do(attempt=2)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(shop.one, do())
            running.entered()
            second = pool.submit(shop.one, waiting)
            running.let_go_once_waiting(second)
            assert (first.result(20).outcome, first.result().duplicate) == ("succeeded", False)
            assert (second.result(20).outcome, second.result().duplicate) == ("succeeded", True)
        assert shop.stock == 98

    def test_a_copy_takes_over_when_the_first_fails(self, shop: Shop) -> None:
        running = _Held(shop, then_fail=True)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(shop.one, do())
            running.entered()
            second = pool.submit(shop.one, do(attempt=2))
            running.let_go_once_waiting(second)
            assert first.result(20).outcome == "failed"
            assert (second.result(20).outcome, second.result().duplicate) == ("succeeded", False)
        assert shop.stock == 98

    def test_an_undo_waits_for_its_running_action(self, shop: Shop) -> None:
        running = _Held(shop)
        with ThreadPoolExecutor(2) as pool:
            action = pool.submit(shop.one, do())
            running.entered()
            reversal = pool.submit(shop.one, undo())
            running.let_go_once_waiting(reversal)
            assert action.result(20).outcome == "succeeded"
            assert reversal.result(20).outcome == "succeeded"
        assert shop.calls == ["reserve", "release 2 apple"]
        assert (shop.stock, shop.rows) == (100, {"r1:reserve": "undone"})

    def test_an_undo_of_an_action_that_then_fails_leaves_a_tombstone(self, shop: Shop) -> None:
        running = _Held(shop, then_fail=True)
        with ThreadPoolExecutor(2) as pool:
            action = pool.submit(shop.one, do())
            running.entered()
            reversal = pool.submit(shop.one, undo())
            running.let_go_once_waiting(reversal)
            assert action.result(20).outcome == "failed"
            assert reversal.result(20).outcome == "succeeded"
        assert (shop.stock, shop.rows) == (100, {"r1:reserve": "tombstone"})
        assert shop.one(do(attempt=2)).outcome == "rejected"

    def test_whatever_the_order_nothing_is_left_over(self, shop: Shop) -> None:
        with ThreadPoolExecutor(4) as pool:
            for number in range(10):
                run = f"race-{number}"
                kinds = [do(run=run), undo(run=run), do(run=run, attempt=2), undo(run=run)]
                answers = list(pool.map(shop.one, kinds))
                # A deadlock between copies is an honest "failed": what failed is sent again.
                again = [
                    shop.one(w)
                    for w, a in zip(kinds, answers, strict=True)
                    if a.outcome == "failed"
                ]
                assert {a.outcome for a in again} <= {"succeeded", "rejected"}
                assert shop.one(undo(run=run)).outcome == "succeeded"
                assert shop.stock == 100


class _Held:
    """An action that has done its work and waits, uncommitted, until it is let go."""

    def __init__(self, shop: Shop, *, then_fail: bool = False) -> None:
        self._shop = shop
        self._inside, self._go = threading.Event(), threading.Event()
        self._fail = then_fail
        shop.before_commit = self._hold

    def _hold(self) -> None:
        self._shop.before_commit = lambda: None
        self._inside.set()
        assert self._go.wait(20)
        if self._fail:
            raise ValueError("after all")

    def entered(self) -> None:
        assert self._inside.wait(20)

    def let_go_once_waiting(self, other: Future[Answer]) -> None:
        """Let the action end as soon as the database says that somebody waits for it."""
        try:
            if self._shop.url.startswith("sqlite"):
                eventually(lambda: other.running())  # SQLite tells nobody who waits
            else:
                eventually(lambda: somebody_waits(self._shop.url), what="a wait for the row")
            assert not other.done()
        finally:
            self._go.set()


def somebody_waits(url: str) -> bool:
    """Whether a transaction waits for another one's lock."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
        if url.startswith("postgresql")
        else "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    )
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text(statement)).scalar_one())
    finally:
        engine.dispose()


class TestOutsideEffects:
    """A participant without a session: its effect isn't in the database, its reply is."""

    def test_the_reply_is_stored(self, shop: Shop) -> None:
        answers = [shop.one(charge()), shop.one(charge())]
        assert [(a.result, a.duplicate) for a in answers] == [("paid 5", False), ("paid 5", True)]
        assert shop.calls == ["charge r1:charge"]

    def test_an_undo_gets_the_reply_and_the_same_key(self, shop: Shop) -> None:
        shop.one(charge())
        assert [shop.one(charge(kind="undo")).duplicate for _ in range(2)] == [False, True]
        assert shop.calls == ["charge r1:charge", "refund r1:charge paid 5"]

    @pytest.mark.parametrize("amount", [None, 14, 15])
    def test_without_a_row_the_undo_runs_for_nothing_proves_there_was_no_effect(
        self, shop: Shop, amount: int | None
    ) -> None:
        if amount is not None:
            outcome = {14: "failed", 15: "lost"}[amount]
            assert shop.one(charge(amount)).outcome == outcome
        assert shop.one(charge(kind="undo")).outcome == "succeeded"
        assert shop.one(charge(kind="undo")).duplicate
        assert shop.calls[-1] == "refund r1:charge None"
        assert shop.one(charge()).outcome == "rejected"

    def test_after_a_refusal_there_is_nothing_to_undo(self, shop: Shop) -> None:
        assert shop.one(charge(13)).outcome == "refused"
        assert shop.one(charge(kind="undo")).outcome == "succeeded"
        assert shop.calls == ["charge r1:charge"]


class TestTransaction:
    def test_a_read_only_participant_reads_and_leaves_no_row(self, shop: Shop) -> None:
        assert shop.one(do(participant="shop.look", args={})).result == 100
        assert shop.rows == {}

    def test_a_read_only_participant_that_writes_fails(self, shop: Shop) -> None:
        assert shop.one(do(participant="shop.cheat", args={})).outcome == "failed"
        assert shop.stock == 100
        assert shop.one(do()).outcome == "succeeded"  # the connection can write again

    def test_a_swallowed_error_that_rolled_back_is_no_success(self, shop: Shop) -> None:
        if shop.url.startswith("mariadb"):
            answer = self._victim_of_a_deadlock(shop)
        else:
            sqlite = shop.url.startswith("sqlite")
            statement = "ROLLBACK" if sqlite else "SELECT * FROM nowhere"
            answer = shop.one(do(participant="shop.careless", args={"statement": statement}))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert "went on" in answer.failure.message
        assert (shop.stock, shop.rows) == (100, {})

    def _victim_of_a_deadlock(self, shop: Shop) -> Answer:
        """MariaDB rolls back the lighter transaction of two that wait for each other."""
        statement = "UPDATE pears SET n = 0 WHERE n = 1"
        with shop.session() as heavy, ThreadPoolExecutor(1) as pool:
            heavy.execute(text("CREATE TABLE pears (n INTEGER PRIMARY KEY)"))
            heavy.execute(text("INSERT INTO pears SELECT seq FROM seq_1_to_1000"))
            heavy.commit()
            heavy.execute(text("UPDATE pears SET n = n + 10000"))
            careless = pool.submit(
                shop.one, do(participant="shop.careless", args={"statement": statement})
            )
            eventually(lambda: somebody_waits(shop.url), what="the participant waits")
            heavy.execute(text("UPDATE stock SET left_over = left_over WHERE sku = 'apple'"))
            heavy.rollback()
            return careless.result(20)

    def test_commit_is_left_to_the_orchestrator(self, shop: Shop) -> None:
        work = do(participant="shop.ends_itself", args={"how": "commit"})
        assert shop.one(work).outcome == "succeeded"
        assert shop.one(work).duplicate
        assert shop.stock == 99

    def test_a_participant_that_rolls_back_has_failed(self, shop: Shop) -> None:
        answer = shop.one(do(participant="shop.ends_itself", args={"how": "rollback"}))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert "rollback" in answer.failure.message
        assert shop.rows == {}

    def test_prune_deletes_what_is_old_enough(self, shop: Shop) -> None:
        shop.one(do())
        assert shop.service.prune(timedelta(hours=1)) == 0
        with shop.session() as session:
            session.execute(text("UPDATE saga_barrier SET created_at = created_at - 7200"))
            session.commit()
        shop.one(do(step="young"))
        assert shop.service.prune(timedelta(hours=1)) == 1
        assert shop.rows == {"r1:young": "done"}


class TestTheGuardsCarryTheWeight:
    """Take a guard away, and a promise above must break: else the tests prove nothing."""

    def test_without_the_tombstone(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        claim = barrier_module._claim

        def no_tombstone(connection: Any, effect: Any, status: str, *rest: Any) -> bool:
            return True if status == "tombstone" else claim(connection, effect, status, *rest)

        monkeypatch.setattr(barrier_module, "_claim", no_tombstone)
        with pytest.raises(AssertionError):
            TestUndo().test_before_its_action_it_leaves_a_tombstone(shop)
        assert shop.one(do()).outcome == "succeeded"

    def test_without_the_epoch_check(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.one(do(step="else", epoch=5))
        other = _another_process(shop, heard=4)
        original = barrier_module._claim

        def never_stale(connection: Any, effect: Any, *rest: Any) -> bool:
            return original(connection, replace(effect, epoch=1_000_000), *rest)

        monkeypatch.setattr(barrier_module, "_claim", never_stale)
        assert (
            other.one(do(epoch=4)).outcome == "succeeded"
        )  # the guard gone, the old one is obeyed
        other.executor.dispose()
