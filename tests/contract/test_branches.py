"""What a branch of an atomic group promises, one suite over every way to be one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.errors import Refused
from orchestrator.transport.messages import Work
from tests.contract.branch_ledger import (
    OUTSIDE,
    PREPARED,
    TRIES,
    Ledger,
    abort,
    commit,
    opened,
    prepare,
)


@pytest.fixture(params=(*PREPARED, *TRIES, OUTSIDE))
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


@pytest.fixture(params=(*PREPARED, *TRIES))
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a barrier."""
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


class TestVote:
    """``prepare``."""

    def test_a_yes_has_no_effect_yet(self, ledger: Ledger) -> None:
        answer = ledger.one(prepare())
        assert (answer.outcome, answer.vote, answer.duplicate) == ("succeeded", "prepared", False)
        assert answer.result == {"amount": 30, "name": "ann"}
        assert (ledger.balance, ledger.calls) == (100, ["debit"])
        assert ledger.pending

    def test_q1_a_second_prepare_votes_yes_and_does_not_run_again(self, kept: Ledger) -> None:
        kept.one(prepare())
        again = kept.one(prepare(attempt=2))
        assert (again.outcome, again.vote, again.duplicate) == ("succeeded", "prepared", True)
        assert kept.calls == ["debit"]
        assert kept.one(commit()).outcome == "succeeded"
        assert kept.balance == 70

    def test_a_refusal_is_a_no_that_leaves_nothing(self, ledger: Ledger) -> None:
        answer = ledger.one(prepare(13))
        assert (answer.outcome, answer.vote) == ("refused", None)
        assert answer.failure is not None
        assert (answer.failure.message, answer.failure.data) == ("unlucky", {"amount": 13})
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_a_refusal_stays_the_answer(self, kept: Ledger) -> None:
        kept.one(prepare(13))
        again = kept.one(prepare(13, attempt=2))
        assert (again.outcome, again.duplicate, kept.calls) == ("refused", True, ["debit"])

    def test_an_error_is_a_no_that_leaves_nothing(self, ledger: Ledger) -> None:
        answer = ledger.one(prepare(14))
        assert (answer.outcome, answer.vote) == ("failed", None)
        assert answer.failure is not None
        assert answer.failure.message == "boom"
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_after_an_error_it_may_still_be_prepared(self, kept: Ledger) -> None:
        kept.one(prepare(14))
        assert kept.one(prepare(attempt=2)).vote == "prepared"
        assert kept.one(commit()).outcome == "succeeded"
        assert kept.balance == 70

    def test_q11_a_poison_message_is_a_no(self, ledger: Ledger) -> None:
        answer = ledger.one(prepare(args={"amount": "a lot", "colour": "red"}))
        assert (answer.outcome, answer.vote) == ("failed", None)
        assert answer.failure is not None
        assert answer.failure.type == "InvalidInputError"
        assert (ledger.balance, ledger.pending, ledger.calls) == (100, 0, [])

    def test_q11_a_commit_goes_by_what_was_prepared_not_by_what_its_message_says(
        self, kept: Ledger
    ) -> None:
        kept.one(prepare())
        forged = commit(args={"amount": "a lot"})
        assert kept.one(replace(forged, result={"amount": 99})).outcome == "succeeded"
        assert (kept.balance, kept.pending) == (70, 0)

    def test_a_new_round_is_a_new_branch(self, kept: Ledger) -> None:
        kept.one(prepare())
        kept.one(abort())
        assert kept.one(prepare(round=1, attempt=3)).vote == "prepared"
        assert kept.one(commit(round=1)).outcome == "succeeded"
        assert (kept.balance, kept.pending) == (70, 0)

    def test_two_branches_of_a_run_are_two(self, kept: Ledger) -> None:
        other = prepare(step="debit[%1':]", args={"amount": 30, "name": "bob"})
        assert [kept.one(work).vote for work in (prepare(), other)] == ["prepared"] * 2
        assert kept.one(replace(other, kind="commit")).outcome == "succeeded"
        assert kept.one(abort()).outcome == "succeeded"
        assert (kept.balance, kept.pending) == (100, 0)


class TestCommit:
    """``commit``."""

    def test_makes_the_effect_and_brings_the_result(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        answer = ledger.one(commit())
        assert (answer.outcome, answer.result) == ("succeeded", {"amount": 30, "name": "ann"})
        assert (ledger.balance, ledger.pending) == (70, 0)

    def test_reads_the_result_where_the_vote_could_not_bring_it(self, kept: Ledger) -> None:
        kept.one(prepare())
        answer = kept.one(commit(result=None))
        assert (answer.outcome, answer.result) == ("succeeded", {"amount": 30, "name": "ann"})

    def test_q1_c6_again_is_acknowledged_again(self, kept: Ledger) -> None:
        kept.one(prepare())
        answers = [kept.one(commit(epoch=6)) for _ in range(3)]
        assert [answer.outcome for answer in answers] == ["succeeded"] * 3
        assert [answer.duplicate for answer in answers] == [False, True, True]
        assert {answer.result["amount"] for answer in answers} == {30}
        assert kept.balance == 70

    def test_q8_for_a_branch_that_refused_is_a_protocol_error(self, kept: Ledger) -> None:
        kept.one(prepare(13))
        answer = kept.one(commit())
        assert answer.outcome == "protocol_error"
        assert answer.failure is not None
        assert (kept.balance, kept.pending) == (100, 0)

    def test_q8_for_a_branch_that_was_aborted_is_a_protocol_error(self, kept: Ledger) -> None:
        kept.one(prepare())
        kept.one(abort())
        assert kept.one(commit()).outcome == "protocol_error"
        assert (kept.balance, kept.pending) == (100, 0)

    def test_a_late_prepare_after_it_changes_nothing(self, kept: Ledger) -> None:
        kept.one(prepare())
        kept.one(commit())
        late = kept.one(prepare(attempt=2))
        assert (late.vote, late.duplicate) == ("prepared", True)
        assert (kept.balance, kept.pending, kept.calls.count("debit")) == (70, 0, 1)

    def test_the_undo_reverses_it_later(self, kept: Ledger) -> None:
        kept.one(prepare())
        kept.one(commit())
        undone = kept.one(prepare(kind="undo", attempt=1))
        assert undone.outcome == "succeeded"
        assert (kept.balance, kept.calls[-1]) == (100, "give back")
        late = kept.one(commit(epoch=6))
        assert (late.outcome, late.duplicate, kept.balance) == ("succeeded", True, 100)


class TestAbort:
    """``abort``."""

    def test_takes_the_branch_back(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        assert ledger.one(abort()).outcome == "succeeded"
        assert (ledger.balance, ledger.pending) == (100, 0)

    def test_q1_again_is_acknowledged_again(self, kept: Ledger) -> None:
        kept.one(prepare())
        assert [kept.one(abort()).outcome for _ in range(3)] == ["succeeded"] * 3
        assert (kept.balance, kept.pending) == (100, 0)

    def test_q3_before_its_prepare_leaves_a_tombstone(self, kept: Ledger) -> None:
        assert kept.one(abort()).outcome == "succeeded"
        assert kept.rows == {"r1:debit": "tombstone"}
        assert kept.calls == []

    def test_q4_a_late_prepare_is_rejected_both_times(self, kept: Ledger) -> None:
        kept.one(abort())
        answers = [kept.one(prepare(attempt=n)) for n in (1, 2)]
        assert [(answer.outcome, answer.vote) for answer in answers] == [("rejected", None)] * 2
        assert (kept.balance, kept.pending, kept.calls) == (100, 0, [])

    def test_q4_a_late_prepare_of_a_branch_that_was_there_is_rejected_too(
        self, kept: Ledger
    ) -> None:
        kept.one(prepare())
        kept.one(abort())
        assert [kept.one(prepare(attempt=n)).outcome for n in (2, 3)] == ["rejected"] * 2
        assert (kept.balance, kept.pending, kept.calls.count("debit")) == (100, 0, 1)

    def test_after_a_no_it_has_nothing_to_do(self, kept: Ledger) -> None:
        kept.one(prepare(13))
        assert kept.one(abort()).outcome == "succeeded"
        assert kept.one(prepare(attempt=2)).outcome == "rejected"

    def test_after_a_commit_it_says_so(self, kept: Ledger) -> None:
        kept.one(prepare())
        kept.one(commit())
        answer = kept.one(abort())
        assert answer.outcome == "heuristic_commit"
        assert answer.failure is not None
        assert kept.balance == 70


class TestEpoch:
    """Commands of a coordinator whose time is over."""

    @pytest.mark.parametrize("command", [prepare, commit, abort])
    def test_c9_an_older_one_is_refused(self, kept: Ledger, command: Callable[..., Work]) -> None:
        kept.one(prepare(0, step="else", epoch=6))
        answer = kept.one(command(epoch=5))
        assert answer.outcome == "rejected"
        assert answer.failure is not None
        assert answer.failure.type == "StaleEpoch"
        assert "r1:debit" not in kept.rows


class TestTries:
    """What only tries can do: their second phase is a function, and may fail."""

    @pytest.fixture(params=(*TRIES, OUTSIDE))
    def ledger(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
        with opened(request.param, request, tmp_path) as ledger:
            yield ledger

    def test_s5_a_confirm_that_refuses_is_tried_again(self, ledger: Ledger) -> None:
        ledger.one(prepare())

        def refuse() -> None:
            raise Refused("not now")

        ledger.in_confirm = refuse
        answer = ledger.one(commit())
        assert answer.outcome == "failed"
        assert (ledger.balance, ledger.pending) == (100, 30)
        ledger.in_confirm = lambda: None
        assert ledger.one(commit(epoch=6)).outcome == "succeeded"
        assert (ledger.balance, ledger.pending) == (70, 0)

    def test_a_confirm_of_what_was_never_tried_is_a_protocol_error(self, tmp_path: Path) -> None:
        ledger = Ledger("try sqlite", f"sqlite:///{tmp_path}/ledger.db")
        assert ledger.one(commit()).outcome == "protocol_error"
        assert ledger.balance == 100
        ledger.executor.dispose()

    def test_outside_a_cancel_without_a_result_is_asked_all_the_same(self) -> None:
        ledger = Ledger(OUTSIDE, None)
        assert ledger.one(abort()).outcome == "succeeded"
        assert ledger.calls == ["cancel"]
