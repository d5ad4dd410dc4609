"""The barrier's promises, one suite over every database a participant may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.errors import Refused
from orchestrator.participant import barrier as barrier_module
from orchestrator.transport.messages import Work
from tests.contract.barrier_shop import DATABASES, Shop, another_process, do, opened, undo


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with opened(request, tmp_path) as shop:
        yield shop


class TestDo:
    """An action."""

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
    """An undo."""

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
    """Commands of a coordinator whose time is over."""

    @pytest.mark.parametrize("old", [do(epoch=4), undo(epoch=4)], ids=["do", "undo"])
    @pytest.mark.parametrize("other_process", [False, True])
    def test_an_older_one_is_refused(self, shop: Shop, old: Work, *, other_process: bool) -> None:
        shop.one(do(step="else", epoch=5))
        taker = another_process(shop, heard=4) if other_process else shop
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
        other = another_process(shop, heard=4)
        shop.one(do(step="else", epoch=5))
        assert other.one(command(epoch=4)).outcome == "rejected"
        assert shop.rows["r1:reserve"] == "done"
        other.executor.dispose()

    def test_a_newer_one_is_obeyed_and_other_shards_are_not_concerned(self, shop: Shop) -> None:
        shop.one(do(epoch=9))
        assert shop.one(do(step="a", epoch=10)).outcome == "succeeded"
        assert shop.one(do(step="b", epoch=9)).outcome == "rejected"
        assert shop.one(do(step="c", epoch=1, shard=4)).outcome == "succeeded"


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
        other = another_process(shop, heard=4)
        original = barrier_module._claim

        def never_stale(connection: Any, effect: Any, *rest: Any) -> bool:
            return original(connection, replace(effect, epoch=1_000_000), *rest)

        monkeypatch.setattr(barrier_module, "_claim", never_stale)
        assert (
            other.one(do(epoch=4)).outcome == "succeeded"
        )  # the guard gone, the old one is obeyed
        other.executor.dispose()
