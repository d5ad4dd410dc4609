"""Copies of a command at the same time, and an undo that races its action, on every database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.transport.messages import Answer
from tests.contract.barrier_shop import DATABASES, Shop, do, opened, undo, until_somebody_waits
from tests.waiting import eventually


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with opened(request, tmp_path) as shop:
        yield shop


class TestConcurrency:
    """Two at once."""

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
                eventually(other.running)  # SQLite tells nobody who waits
            else:
                until_somebody_waits(self._shop.url, what="a wait for the row")
            assert not other.done()
        finally:
            self._go.set()
