"""Incidents: opened and closed by the events that park a step and move it on, clustered by their cause."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import RetryPolicy
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import evolve, fold
from orchestrator.kernel.incidents import MESSAGE_MAX, constant_part, fingerprint, incidents
from orchestrator.kernel.summary import summarize
from tests.unit.kernel.scenario import Play, call, names, plan

ONCE = RetryPolicy(attempts=1)
PLAN = plan(call("a", retry=ONCE, undo_retry=ONCE), call("b", retry=ONCE))


def failure(message: str = "the till is broken", frame: str = "shop:give_back") -> ev.Failure:
    return ev.Failure("Broken", message, ("shop.Broken",), "Traceback ...", frame=frame)


def stuck(message: str = "the till is broken") -> Play:
    play = Play(PLAN)
    play.reply("a")
    play.reply("b", outcome="refused", failure=ev.Failure("No", "no money"))
    play.now += 3
    assert names(play.reply("a", kind="undo", outcome="failed", failure=failure(message)))[-1] == (
        "StepParked"
    )
    return play


def test_a_parked_step_is_an_incident_that_says_all_of_it() -> None:
    play = stuck()
    (incident,) = incidents(play.run)
    assert (incident.step, incident.kind, incident.since) == ("a", "undo", play.now)
    assert (incident.attempts, incident.error, incident.frame) == (1, "Broken", "shop:give_back")
    assert (incident.message, incident.acked_at) == ("the till is broken", None)
    assert summarize(play.run, 0, play.now).incidents == (incident,)


def test_what_moves_the_step_on_closes_it_and_parked_again_it_is_another() -> None:
    play = stuck()
    first = incidents(play.run)[0]
    play.send(msg.Acknowledge(at=play.now, actor="ann"))
    play.send(msg.Retry(at=play.now, step="a"))
    assert incidents(play.run) == ()
    play.now += 60
    play.reply("a", kind="undo", outcome="failed", failure=failure())
    (again,) = incidents(play.run)
    assert (again.cluster, again.since, again.attempts) == (first.cluster, play.now, 2)
    assert again.acked_at is None
    play.send(msg.Resolve(at=play.now, step="a", undone=True))
    assert incidents(play.run) == ()


def test_a_replay_gives_the_same() -> None:
    play = stuck()
    play.send(msg.Acknowledge(at=play.now, actor="ann", reason="mine"))
    assert incidents(fold(play.run.program, play.events)) == incidents(play.run)


def test_an_acknowledgement_says_who_when_and_why_and_comes_once() -> None:
    play = stuck()
    play.now += 5
    events = play.send(
        msg.Acknowledge(at=play.now, actor="ann", step="a", reason="mine", request="r1")
    )
    assert names(events) == ["IncidentAcknowledged"]
    (incident,) = incidents(play.run)
    assert (incident.acked_at, incident.acked_by, incident.ack_reason) == (play.now, "ann", "mine")
    assert play.send(msg.Acknowledge(at=play.now, actor="ann", request="r1")) == []
    (refused,) = play.send(msg.Acknowledge(at=play.now, actor="bob"))
    assert isinstance(refused, ev.OperationRefused)
    assert refused.why == "the run was acknowledged by ann before"


def test_nothing_to_acknowledge_is_refused() -> None:
    play = Play(PLAN)
    for step, why in (
        (None, "the run has no open"),
        ("a", "step 'a' has no open"),
        ("x", "no step"),
    ):
        (refused,) = play.send(msg.Acknowledge(at=play.now, step=step))
        assert isinstance(refused, ev.OperationRefused)
        assert why in refused.why
    with pytest.raises(IllegalEventError, match="needs nobody"):
        evolve(play.run, ev.IncidentAcknowledged(at=1.0, step="a"))


def test_one_cause_is_one_cluster() -> None:
    def cluster(message: str) -> str:
        return incidents(stuck(message).run)[0].cluster

    one = cluster("order 17 of 'ann' isn't there (id 0b5f-9a)")
    assert cluster("order 4711 of 'o''bob' isn't there (id 77aa-01)") == one
    assert cluster("order 17 of 'ann' was there (id 0b5f-9a)") != one


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("can't reach 10.0.0.7:5432 in 3.5 s", "can't reach # in # s"),
        ('{"id": "x y", "n": 3}', "{'': '', '': #}"),
        ("row 'it is' and `that`\n  gone", "row '' and '' gone"),
        ("user's cart-9f2 isn't ann's", "user's # isn't ann's"),
        ("", ""),
    ],
)
def test_numbers_ids_and_quoted_values_are_left_out(message: str, left: str) -> None:
    assert constant_part(message) == left


def test_saga_step_direction_type_and_frame_tell_causes_apart() -> None:
    same = ("shop", "charge", "do", "Broken", "m", "f")
    others = [(*same[:i], "other", *same[i + 1 :]) for i in range(6)]
    assert len({fingerprint(*one) for one in (same, *others)}) == 7  # type: ignore[arg-type]


def test_a_long_message_is_shortened_and_clusters_by_all_of_it() -> None:
    long = "far " * MESSAGE_MAX
    one, other = (incidents(stuck(long + end).run)[0] for end in ("here", "there"))
    assert len(one.message) == MESSAGE_MAX
    assert one.cluster != other.cluster


def test_an_acknowledgement_in_a_group_is_no_affair_of_the_group() -> None:
    from tests.unit.kernel.scenario import branch, group

    play = Play(plan(group(branch("debit"), branch("credit"))))
    play.vote("debit")
    play.vote("credit")
    play.reply("debit", kind="commit", outcome="heuristic_rollback")
    (incident,) = incidents(play.run)
    assert (incident.step, incident.kind, incident.error) == ("debit", "commit", "rollback")
    assert names(play.send(msg.Acknowledge(at=play.now, actor="ann"))) == ["IncidentAcknowledged"]
