"""What is said of participants comes about: refusals, errors, lost answers, time, stand-ins, undos; and in vain."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from orchestrator.errors import (
    InvalidInputError,
    OperationRefusedError,
    Refused,
    SagaError,
    StagingError,
)
from orchestrator.kernel.events import StepFailed, StepInDoubt
from orchestrator.testing import Sagas
from tests.unit.testing.stage import shop
from tests.unit.testing.stage.shop import (
    Article,
    Hold,
    Tables,
    announce,
    audit,
    charge,
    many,
    order,
    reserve,
)


def test_a_refusal_is_final_and_without_effect(sagas: Sagas) -> None:
    sagas.when(charge).refuses("card declined", data={"code": 7})
    run = sagas.run(order, "apple", 100)
    assert run.compensated
    assert run.reason == "charge: card declined"
    assert run.cause is not None
    assert run.cause.data == {"code": 7}
    assert charge not in run.did
    assert shop.HEARD == ["announce apple", "take back apple"]


def test_an_error_is_retried_as_often_as_the_participant_says(sagas: Sagas) -> None:
    sagas.when(charge).fails(times=2)
    assert sagas.run(order, "apple", 100).completed
    assert shop.HEARD[0] == "announce apple"
    assert "charge 3 True" in shop.HEARD


def test_an_error_without_end_uses_the_retries_up(sagas: Sagas) -> None:
    sagas.when(charge).fails(ConnectionError("no line"))
    run = sagas.run(order, "apple", 100)
    assert run.compensated
    assert [called.attempt for called in run.calls(charge) if called.kind == "do"] == [1, 2, 3]
    assert run.event(StepFailed, charge).failure.type == "ConnectionError"
    # nobody knows that a call to the outside had no effect, so it is undone
    assert run.undid == [{announce, charge}, reserve]
    assert "refund None" in shop.HEARD


def test_a_lost_answer_leaves_one_effect_where_there_is_a_barrier(sagas: Sagas) -> None:
    engine = sagas.database(shop.stock, tables=Tables)
    with Session(engine) as session, session.begin():
        session.add(Article(sku="apple", left=5))
    sagas.when(reserve).is_lost()
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert run.did[0] == "reserve"
    assert [(called.answered, called.duplicate) for called in run.calls(reserve)] == [
        (False, False),
        (True, True),
    ]
    with Session(engine) as session:
        assert session.get_one(Article, "apple").left == 4


def test_a_lost_answer_of_the_outside_comes_again_under_the_same_key(sagas: Sagas) -> None:
    sagas.when(charge).is_lost()
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert [heard for heard in shop.HEARD if "charge" in heard] == [
        "charge 1 True",
        "charge 2 True",
    ]
    assert run.did == [reserve, {charge, announce}, "fetch"]
    assert "no answer before the deadline" in run.event(StepInDoubt, charge).reason


def test_a_command_can_be_lost_on_its_way(sagas: Sagas) -> None:
    sagas.when(charge).is_lost(effect=False)
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert [heard for heard in shop.HEARD if "charge" in heard] == ["charge 2 True"]
    assert run.calls(charge)[0].outcome == "never carried out"


def test_an_undo_that_finds_nothing_to_undo_is_none(sagas: Sagas) -> None:
    """The run can't know that nothing happened; the barrier does."""
    sagas.when(reserve).is_lost(effect=False, times=None)
    run = sagas.run(order, "apple", 100)
    assert run.compensated
    assert [called.outcome for called in run.calls(reserve) if called.kind == "undo"] == [
        "succeeded"
    ]
    assert run.did == run.undid == []


def test_what_ended_is_over_for_every_part_of_it(sagas: Sagas) -> None:
    rule = sagas.when(charge, optional=True).is_lost(times=None).takes(5).comes_twice()
    rule.fails().ends()
    run = sagas.run(order, "apple", 100)
    assert [(called.answered, called.at_s) for called in run.calls(charge)] == [(True, 0.0)]


def test_a_rule_may_end_while_a_command_takes_its_time(sagas: Sagas) -> None:
    lost = sagas.when(charge, optional=True).takes(20).is_lost(times=None)
    refused = sagas.when(announce, optional=True).takes(5).refuses()
    run = sagas.start(order, "apple", 100)
    lost.ends()
    refused.ends()
    run.finish()
    assert run.completed
    assert [(called.answered, called.at_s) for called in run.calls(charge)] == [(True, 20.0)]


def test_the_real_undo_takes_back_what_was_really_done_in_the_end(sagas: Sagas) -> None:
    sagas.when(charge).returns("paid", times=1).is_lost()
    sagas.when(shop.fetch).refuses("nobody is there")
    assert sagas.run(order, "apple", 100).compensated
    assert "refund ada paid 100" in shop.HEARD


def test_a_command_that_comes_twice_has_one_effect(sagas: Sagas) -> None:
    sagas.when(reserve).comes_twice()
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert [called.duplicate for called in run.calls(reserve)] == [False, True]


def test_what_takes_its_time_passes_it(sagas: Sagas) -> None:
    sagas.when(charge).takes(20)
    run = sagas.start(order, "apple", 100)
    sagas.advance(seconds=19)
    assert (charge in run.did, announce in run.did) == (False, True)
    sagas.advance(seconds=1)
    assert run.completed
    assert run.did == [reserve, announce, charge, "fetch"]


def test_what_takes_longer_than_its_timeout_is_in_doubt(sagas: Sagas) -> None:
    """The barrier lets the second copy wait for the first one, whose answer it then gets."""
    sagas.when(reserve).takes(timedelta(seconds=90))
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert run.event(StepInDoubt, reserve).attempt == 1
    assert [(called.at_s, called.duplicate) for called in run.calls(reserve)] == [
        (90.0, False),
        (90.0, True),
    ]


def test_an_asynchronous_participant_is_cancelled_when_its_time_is_over(sagas: Sagas) -> None:
    sagas.when(announce).takes(11, times=1)
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert run.event(StepInDoubt, announce).attempt == 1
    assert [called.outcome for called in run.calls(announce)] == ["lost", "succeeded"]
    assert shop.HEARD.count("announce apple") == 1


def test_a_stand_in_returns_what_it_is_told(sagas: Sagas) -> None:
    sagas.when(reserve).returns(Hold("apple", 7))
    sagas.when(charge).returns("paid")
    run = sagas.run(order, "apple", 2_000)
    assert run.result == "paid"
    assert run.calls("fetch")[0].args == {"weight": 7}
    with pytest.raises(InvalidInputError, match=r"the result of bank.audit"):
        sagas.when(audit, optional=True).returns("text")  # type: ignore[arg-type]


def test_the_undo_of_a_stand_in_is_not_run(sagas: Sagas) -> None:
    sagas.when(charge).returns("paid")
    sagas.when(shop.fetch).refuses("nobody is there")
    run = sagas.run(order, "apple", 100)
    assert run.undid == [{charge, announce}, reserve]
    assert "take back apple" in shop.HEARD
    assert not any("refund" in heard for heard in shop.HEARD)


def test_a_function_can_stand_in(sagas: Sagas) -> None:
    def cheap(customer: str, cents: int) -> str:
        if cents > 50:
            raise Refused(f"{customer} has only 50")
        return "cheap"

    sagas.when(charge).does(cheap)
    assert sagas.run(order, "apple", 50).result == "cheap"
    assert sagas.run(order, "apple", 51).reason == "charge: ada has only 50"


def test_an_assertion_of_the_test_fails_the_test(sagas: Sagas) -> None:
    def asserts(customer: str, cents: int) -> str:
        assert cents == 1
        return customer

    sagas.when(charge).does(asserts)
    with pytest.raises(AssertionError, match="100 == 1"):
        sagas.run(order, "apple", 100)


def test_one_thing_after_another(sagas: Sagas) -> None:
    rule = sagas.when(charge).fails(times=1).then.returns("once", times=1).then.refuses("enough")
    assert sagas.run(order, "apple", 100).result == "once"
    assert sagas.run(order, "apple", 100).reason == "charge: enough"
    rule.ends()
    assert sagas.run(order, "apple", 100).result == "ada paid 100"
    sagas.when(charge).refuses("again")
    assert sagas.run(order, "apple", 100).reason == "charge: again"


def test_a_rule_for_one_step_leaves_the_others_alone(sagas: Sagas) -> None:
    sagas.when(reserve, step="reserve[1]").refuses("no pears")
    sagas.when(reserve, optional=True).returns(Hold("any", 1))
    run = sagas.run(many, ["apple", "pear", "plum"])
    assert run.reason == "reserve[1]: no pears"
    assert run.did == ["reserve[0]", "reserve[2]"]
    assert run.undid == {"reserve[0]", "reserve[2]"}
    assert run.did == [reserve, reserve]


# -- undos and operators


def test_an_undo_that_fails_is_tried_again(sagas: Sagas) -> None:
    sagas.when(charge).refuses()
    sagas.when_undoing(reserve).fails(times=2)
    run = sagas.run(order, "apple", 100)
    assert run.compensated
    assert [c.attempt for c in run.calls(reserve) if c.kind == "undo"] == [1, 2, 3]
    assert run.undid[-1] == "reserve"


def test_an_undo_that_keeps_failing_needs_a_person(sagas: Sagas) -> None:
    sagas.when(charge).refuses()
    line_down = sagas.when_undoing(reserve).fails("the line is down")
    run = sagas.run(order, "apple", 100)
    assert run.stuck
    assert run.parked == [reserve]
    assert "the line is down" in run.reason
    assert run.undid == [announce]
    line_down.ends()
    run.retry(reserve, reason="the line is up")
    assert run.compensated


def test_an_undo_whose_answer_is_lost_happens_once(sagas: Sagas) -> None:
    sagas.when(charge).refuses()
    sagas.when_undoing(reserve).is_lost()
    sagas.when_undoing(announce).takes(3).does(lambda: shop.HEARD.append("another way"))
    run = sagas.run(order, "apple", 100)
    assert run.compensated
    assert run.undid == [announce, reserve]
    assert shop.HEARD[-1] == "another way"


def test_an_operator_may_skip_resolve_and_compensate(sagas: Sagas) -> None:
    sagas.when(audit).fails()
    run = sagas.run(many, ["apple"])
    assert run.stuck
    with pytest.raises(OperationRefusedError):
        run.skip("reserve[0]", {})
    run.resolve(audit, reason="it is in the log")
    assert run.completed
    second = sagas.run(many, ["apple"])
    second.skip("audit")
    assert second.completed
    third = sagas.run(many, ["apple", "pear"])
    with pytest.raises(StagingError, match=r"which step of stock.reserve\? There is several"):
        third.retry(reserve)
    third.resolve("audit", undone=True)
    assert third.compensated
    assert third.undid == [{"reserve[0]", "reserve[1]"}]
    fourth = sagas.start(shop.approved, "apple")
    fourth.compensate("by hand")
    assert (fourth.compensated, fourth.reason) == (True, "by hand")


def test_a_run_can_be_cancelled(sagas: Sagas) -> None:
    run = sagas.start(shop.approved, "apple")
    run.cancel("changed my mind")
    assert (run.compensated, run.reason) == (True, "changed my mind")
    assert run.undid == ["reserve"]


# -- in vain


def test_what_never_comes_about_is_named_with_its_line() -> None:
    sagas = Sagas()
    sagas.when(audit).refuses("never")
    sagas.when(charge).fails(times=1).then.refuses("so be it").takes(5)
    sagas.when(shop.weigh, optional=True).refuses("whatever")
    sagas.when(reserve)
    assert sagas.run(order, "apple", 100).reason == "charge: so be it"
    never, nothing = sagas.in_vain()
    assert "sagas.when(bank.audit).refuses('never') (test_rules.py:" in never
    assert "no run called bank.audit; called were bank.charge, post.announce, stock.res" in never
    assert "sagas.when(bank.audit, optional=True)" in never
    assert "nothing: say what happens then" in nothing
    with pytest.raises(AssertionError, match="was never reached"):
        sagas.check()
    sagas.close()


def test_a_part_that_never_comes_about_is_in_vain_too() -> None:
    with Sagas() as sagas:
        rule = sagas.when(charge).refuses("no").is_lost()
        sagas.run(order, "apple", 100)
        assert list(rule.unreached()) == ["is_lost()"]
        rule.optional = True


def test_without_pytest_the_end_of_the_block_checks() -> None:
    with pytest.raises(AssertionError, match="no saga was run"), Sagas() as sagas:
        sagas.when_undoing(charge).fails()
    with pytest.raises(ZeroDivisionError), Sagas() as sagas:
        sagas.when_undoing(charge).fails(times=1 // 0)


# -- what can't be said


def test_two_rules_on_one_participant(sagas: Sagas) -> None:
    first = sagas.when(charge, optional=True).refuses("no")
    with pytest.raises(StagingError, match=r"test_rules.py:\d+ already: .*\.then.*step=.*\.ends"):
        sagas.when(charge)
    with pytest.raises(StagingError, match=r"fails\(\) too: .*refuses\(..., times=1\).then.fails"):
        first.fails()
    with pytest.raises(StagingError, match="refuses\\('no'\\) never ends, so give it times="):
        _ = first.then
    with pytest.raises(StagingError, match=r"says takes\(\) already"):
        first.takes(1).takes(2)
    sagas.when(charge, step="charge", optional=True).fails()
    sagas.when_undoing(charge, optional=True).fails()


def test_what_is_no_participant(sagas: Sagas) -> None:
    with pytest.raises(StagingError, match=r"write sagas.when_undoing\(bank.charge\)"):
        sagas.when(charge.undo)  # type: ignore[arg-type]
    with pytest.raises(
        StagingError, match=r"when\(refund\): a participant is needed.*when_undoing"
    ):
        sagas.when(shop.refund)  # type: ignore[arg-type]
    with pytest.raises(StagingError, match=r"bank\.audit has no undo"):
        sagas.when_undoing(audit)
    with pytest.raises(StagingError, match="neither a service nor a participant"):
        sagas.stand_in("bank")  # type: ignore[arg-type]
    with pytest.raises(StagingError, match="times= is 1 or more"):
        sagas.when(audit, optional=True).fails(times=0)
    with pytest.raises(SagaError, match="not a length of time"):
        sagas.when(shop.weigh, optional=True).takes(-1)
