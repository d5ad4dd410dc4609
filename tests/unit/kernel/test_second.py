"""The second person: what takes two people is asked for, approved by another, and done only if it is still the same."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import Parallel
from orchestrator.errors import IllegalEventError, OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import evolve
from orchestrator.kernel.preview import Second
from orchestrator.kernel.second import NOBODY, TwoPeople, possible, preview, take
from orchestrator.kernel.state import Status
from tests.unit.kernel.scenario import Play, branch, call, group, names, plan

RULE = TwoPeople(frozenset({"skip", "cancel"}))


def asks(play: Play, message: msg.Inbound, rule: TwoPeople = RULE) -> list[ev.Event]:
    events, play.run = take(play.run, message, rule)
    play.events += events
    return events


def asked_for(play: Play, message: msg.Operation, rule: TwoPeople = RULE) -> ev.ApprovalAsked:
    [event] = asks(play, message, rule)
    assert isinstance(event, ev.ApprovalAsked)
    return event


def refused(play: Play, message: msg.Inbound, rule: TwoPeople = RULE) -> str:
    [event] = asks(play, message, rule)
    assert isinstance(event, ev.OperationRefused)
    return event.why


def skip(play: Play, actor: str = "ann", **more: Any) -> msg.Skip:
    return msg.Skip(at=play.now, actor=actor, step="a", result=7, reason="known", **more)


def approve(play: Play, number: int, actor: str = "bob") -> msg.Approve:
    return msg.Approve(at=play.now, actor=actor, number=number, reason="seen")


def parked() -> Play:
    """A run whose step ``a`` needs a person."""
    play = Play(plan(Parallel((call("a", pivot=True), call("b"))), call("c")))
    play.reply("a", "unregistered")
    assert play.status("a") is Status.PARKED
    return play


def test_what_takes_two_people_is_recorded_and_not_done() -> None:
    play = parked()
    number = play.run.length
    asked = asked_for(play, skip(play, request="q1"))
    assert (asked.actor, asked.operation, asked.step, asked.result) == ("ann", "skip", "a", 7)
    assert (asked.number, asked.reason, asked.request) == (number, "known", "q1")
    assert asked.expires_at == play.now + 24 * 3600
    assert play.status("a") is Status.PARKED
    assert list(play.run.waiting) == [number]
    assert asks(play, skip(play, request="q1")) == [], "asked again under its id, it is asked once"


def test_another_person_has_it_done_with_both_names() -> None:
    play = parked()
    asked = asked_for(play, skip(play, request="q1"))
    play.now += 60
    given, done, *_ = asks(play, approve(play, asked.number))
    assert (type(given), given.actor) == (ev.ApprovalGiven, "bob")
    assert isinstance(done, ev.StepSkipped)
    assert (done.actor, done.second, done.request, done.at) == ("ann", "bob", "q1", play.now)
    assert done.result == 7
    assert play.status("a") is Status.SKIPPED
    assert play.run.waiting == {}


@pytest.mark.parametrize("who", ["ann", "Ann", " ann ", ""])
def test_nobody_approves_what_they_asked_for_themselves(who: str) -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    why = refused(play, approve(play, asked.number, who))
    assert play.status("a") is Status.PARKED
    assert "can't be the second person" in why
    assert list(play.run.waiting) == [asked.number]


def test_what_nobody_asks_for_by_name_has_no_first_person() -> None:
    play = parked()
    why = refused(play, skip(play, actor=""))
    assert "nobody says who is the first" in why


def test_only_those_named_may_approve() -> None:
    play = parked()
    rule = replace(RULE, approvers=frozenset({"carl"}))
    asked = asked_for(play, skip(play), rule)
    number = asked.number
    why = refused(play, approve(play, number), rule)
    assert "bob isn't one of those who may approve it: carl" in why
    assert "ApprovalGiven" in names(asks(play, approve(play, number, "carl"), rule))


def test_a_run_that_changed_so_that_it_would_do_something_else_is_not_touched() -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    play.reply("b")
    why = refused(play, approve(play, asked.number))
    assert "the run has changed since ann asked, and skip would do something else now" in why
    assert play.status("a") is Status.PARKED


def test_a_run_that_changed_without_a_difference_to_it_is() -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    play.send(msg.Signal(at=play.now, name="nobody waits for it", signal_id="s"))
    asks(play, msg.Acknowledge(at=play.now, actor="carl"))
    assert "StepSkipped" in names(asks(play, approve(play, asked.number)))


def test_what_became_impossible_says_so() -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    play.send(msg.Retry(at=play.now, actor="carl"))
    play.reply("a")
    why = refused(play, approve(play, asked.number))
    assert "step 'a' is done" in why


def test_a_request_does_not_wait_for_ever() -> None:
    play = parked()
    asked = asked_for(play, skip(play), replace(RULE, expires_s=60.0))
    play.now += 60.5
    why = refused(play, approve(play, asked.number))
    assert "waited too long" in why
    assert "ApprovalAsked" in names(asks(play, skip(play))), "it may be asked for again"


def test_it_is_asked_for_once_while_it_waits() -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    why = refused(play, skip(play))
    assert f"already, as number {asked.number}" in why
    assert "ApprovalAsked" in names(asks(play, skip(play, actor="carl")))


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_a_no_ends_it(who: str) -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    number = asked.number
    denied = msg.Deny(at=play.now, actor=who, number=number, reason="wait for the bank")
    assert names(asks(play, denied)) == ["ApprovalDenied"]
    why = refused(play, approve(play, number))
    assert "nothing waits for a second person" in why


def test_what_the_state_does_not_allow_is_refused_at_once() -> None:
    play = Play(plan(call("a")))
    assert names(asks(play, msg.Skip(at=play.now, actor="ann", step="z"))) == ["OperationRefused"]
    stale = skip(play, expects=99)
    assert names(asks(play, stale)) == ["OperationRefused"]


@pytest.mark.parametrize(
    ("rule", "message", "needed"),
    [
        (NOBODY, msg.Cancel(at=100.0, actor="ann"), False),
        (RULE, msg.Cancel(at=100.0, actor="ann"), True),
        (RULE, msg.Compensate(at=100.0, actor="ann"), False),
        (replace(RULE, sagas=frozenset({"buy"})), msg.Cancel(at=100.0, actor="ann"), True),
        (replace(RULE, sagas=frozenset({"sell"})), msg.Cancel(at=100.0, actor="ann"), False),
        (TwoPeople(frozenset({"bulk"})), msg.Cancel(at=100.0, actor="ann"), False),
        (TwoPeople(frozenset({"bulk"})), msg.Cancel(at=100.0, actor="ann", bulk=msg.MANY), True),
        (TwoPeople(frozenset({"bulk"})), msg.Cancel(at=100.0, actor="ann", bulk="b1"), True),
        (TwoPeople(frozenset({"force"})), msg.Cancel(at=100.0, actor="ann"), False),
    ],
)
def test_what_takes_two_people(rule: TwoPeople, message: msg.Operation, *, needed: bool) -> None:
    play = Play(plan(call("a")))
    assert (names(asks(play, message, rule)) == ["ApprovalAsked"]) is needed


def test_stating_against_a_decision_is_force_and_stating_with_it_is_not() -> None:
    rule = TwoPeople(frozenset({"force"}))
    for undone, expected in ((True, "ApprovalAsked"), (False, "StepResolved")):
        play = Play(plan(group(branch("x"), branch("y"))))
        play.vote("x")
        play.vote("y")
        play.reply("x", "unregistered")
        play.reply("y")
        assert play.status("x") is Status.COMMIT_STUCK
        said = msg.Resolve(at=play.now, actor="ann", step="x", undone=undone)
        assert names(asks(play, said, rule))[0] == expected


def test_a_request_about_a_branch_leaves_it_as_it_is() -> None:
    play = Play(plan(group(branch("x"), branch("y"))))
    play.vote("x")
    play.vote("y")
    play.reply("x", "unregistered")
    before = play.run.steps
    rule = TwoPeople(frozenset({"resolve"}))
    said = msg.Resolve(at=play.now, actor="ann", step="x", undone=True)
    asked = asked_for(play, said, rule)
    assert play.run.steps == before
    assert "StepResolved" in names(asks(play, approve(play, asked.number), rule))


def test_a_client_is_told_before_it_sends() -> None:
    play = parked()
    asked = asked_for(play, skip(play))
    number = asked.number
    with pytest.raises(OperationRefusedError, match="can't be the second person"):
        possible(play.run, approve(play, number, "ann"))
    possible(play.run, approve(play, number))
    assert preview(play.run, approve(play, number)).events[0] == "StepSkipped"
    assert "nothing waits" in preview(play.run, approve(play, 99)).refused
    assert preview(play.run, msg.Deny(at=play.now, actor="ann", number=number)).runs == ()


def test_an_answer_to_what_nobody_asked_is_a_defect() -> None:
    play = parked()
    with pytest.raises(IllegalEventError, match="which nobody asked for"):
        evolve(play.run, ev.ApprovalGiven(at=1.0, number=3))
    asked = ev.ApprovalAsked(at=1.0, number=1, operation="skip", sees="", expires_at=2.0)
    with pytest.raises(IllegalEventError, match="request 1"):
        evolve(play.run, asked)


def test_a_preview_says_that_it_takes_two_people() -> None:
    play = parked()
    rule = TwoPeople(frozenset({"skip"}), approvers=frozenset({"eve", "bob"}), expires_s=60.0)
    seen = preview(play.run, skip(play), rule)
    assert seen.second == Second(("bob", "eve"), 60.0)
    assert replace(seen, second=None) == preview(play.run, skip(play)), "all else is as ever"
    assert preview(play.run, msg.Retry(at=play.now, actor="ann"), rule).second is None
    asked = asked_for(play, skip(play), rule)
    again = preview(play.run, skip(play), rule)
    assert again.refused == f"it waits for a second person already, as number {asked.number}"
    assert preview(play.run, skip(play, actor="bob"), rule).refused == ""


def test_a_preview_of_one_of_many_says_so_too() -> None:
    play = parked()
    rule = TwoPeople(frozenset({"bulk"}))
    retry = msg.Retry(at=play.now, actor="ann")
    assert preview(play.run, retry, rule).second is None
    assert preview(play.run, replace(retry, bulk=msg.MANY), rule).second == Second((), 86_400.0)
    assert (rule.whole("retry", ("shop",)), NOBODY.whole("retry", ("shop",))) == (rule.told, None)


def test_what_was_asked_for_under_an_earlier_release_is_still_the_same() -> None:
    play = parked()
    assert asked_for(play, skip(play)).sees == "ca1281d9bce8c5a99d17e383a8ae248c"
