"""What a preview says is what then happens."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.definition.plan import Parallel, Plan, RetryPolicy, Wait
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.pending import pending
from orchestrator.kernel.preview import Preview, preview
from orchestrator.kernel.state import Phase, RunState, Status
from orchestrator.kernel.summary import summarize
from tests.unit.kernel.driver import Driver, _copied
from tests.unit.kernel.plans import inputs, plans
from tests.unit.kernel.scenario import Play, call, plan

SOME = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def identities(run: RunState) -> set[tuple[str, str, int]]:
    return {(c.step, c.kind, c.attempt) for c in pending(run) if isinstance(c, Execute)}


class Foretold(Driver):
    """Asks for a preview before every operation, and compares."""

    compared = 0

    def operate(self, operation: msg.Operation) -> None:
        before = self.run
        kept = _copied(before)
        seen = preview(before, operation)
        assert kept == _copied(before), "a preview changed the run"
        count = len(self.events)
        super().operate(operation)
        caused = tuple(type(event).__name__ for event in self.events[count:])
        if seen.refused:
            assert caused == ("OperationRefused",)
            return
        assert caused == seen.events
        assert summarize(self.run, 0, 0.0).status == seen.status
        at_once = {(a.step, a.kind, a.attempt) for a in (*seen.runs, *seen.undoes) if a.at_once}
        assert at_once == identities(self.run) - identities(before)
        if self.run.phase is Phase.COMPENSATING:
            self.see_it_through(seen)

    def see_it_through(self, seen: Preview) -> None:
        """Nothing else goes wrong: then everything foretold is undone, and nothing else."""
        before = self.run
        count = len(self.events)
        self.world.healed = True
        self.run_on()
        type(self).compared += 1
        undone = [e.step for e in self.events[count:] if isinstance(e, ev.StepUndone)]
        foretold = [action.step for action in seen.undoes]
        assert sorted(set(foretold) - set(seen.awaits)) == sorted(set(undone) - set(seen.awaits))
        assert set(undone) <= set(foretold)
        assert set(seen.awaits) <= {
            key for key, step in before.steps.items() if step.status is Status.RUNNING
        }
        for change in seen.changes:
            assert self.run.steps[change.step].status.value == change.after
        for left in seen.left:
            assert before.steps[left.step].status.value == left.status
            assert self.run.steps[left.step].status.value == left.status
        if not seen.awaits:
            assert summarize(self.run, 0, 0.0).status == seen.ends


@SOME
@given(plans(), inputs(), st.integers(0, 2**32))
def test_what_a_preview_says_is_what_happens(plan: Plan, given_: dict[str, Any], seed: int) -> None:
    Foretold(plan, given_, seed).play()


def test_the_property_looked_at_compensations() -> None:
    """Else it could hold of nothing."""
    test_what_a_preview_says_is_what_happens()
    assert Foretold.compared > 50


def test_compensation_names_every_undo_in_reverse() -> None:
    play = Play(plan(call("a"), call("look", read_only=True), call("b"), Wait("w", "go")))
    for step in ("a", "look", "b"):
        play.reply(step)
    seen = preview(play.run, msg.Compensate(at=play.now))
    assert [(a.step, a.at_once) for a in seen.undoes] == [("b", True), ("a", False)]
    assert (seen.left[0].step, seen.left[0].why) == ("look", "read-only: nothing to undo")
    assert [(c.step, c.before, c.after) for c in seen.changes] == [("w", "waiting", "abandoned")]
    assert (seen.status, seen.ends, seen.warnings) == ("compensating", "compensated", ())


def test_an_effect_that_nothing_can_undo_is_warned_of() -> None:
    play = Play(plan(call("a"), call("mail", undo=False, barrier=False), Wait("w", "go")))
    play.reply("a")
    play.reply("mail")
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert len(seen.warnings) == 1
    assert seen.warnings[0].startswith("mail may have taken effect and has no undo")
    assert seen.ends == "stuck"


def test_a_barrier_alone_undoes_nothing() -> None:
    play = Play(plan(call("a", undo=False), Wait("w", "go")))
    play.reply("a")
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert seen.warnings == (
        "a declares no undo: what it did would be left behind, only late attempts are stopped",
    )


def test_a_retry_names_what_is_sent_and_what_may_come() -> None:
    play = Play(
        plan(
            call("a"),
            call("p", undo=False, pivot=True),
            call("b", undo=False, retry=RetryPolicy(attempts=1), barrier=False),
            Parallel((call("c"), call("d"))),
        )
    )
    play.reply("a")
    play.reply("p")
    play.send(msg.Reply(at=play.now, step="b", kind="do", attempt=1, outcome="lost"))
    assert play.run.parked == ["b"]
    seen = preview(play.run, msg.Retry(at=play.now))
    assert [(a.step, a.attempt, a.at_once) for a in seen.runs] == [("b", 2, True)]
    assert seen.ahead == ("c", "d")
    assert seen.undoes == ()
    assert "idempotency key" in seen.warnings[0]


def test_resolving_as_undone_takes_the_operator_at_their_word() -> None:
    play = Play(plan(call("a", retry=RetryPolicy(attempts=1)), call("p", undo=False, pivot=True)))
    play.reply("a")
    play.send(msg.Reply(at=play.now, step="p", kind="do", attempt=1, outcome="lost"))
    seen = preview(play.run, msg.Resolve(at=play.now, step="p", undone=True))
    assert seen.warnings[0].startswith("p is taken at your word")
    assert [a.step for a in seen.undoes] == ["a"]


def test_what_is_refused_says_why_and_nothing_else() -> None:
    play = Play(plan(call("a")))
    seen = preview(play.run, msg.Skip(at=play.now, step="zzz"))
    assert "no step 'zzz'" in seen.refused
    assert (seen.events, seen.runs, seen.undoes) == ((), (), ())


def test_a_signal_shows_what_it_lets_go_on() -> None:
    play = Play(plan(Wait("w", "go"), call("a")))
    seen = preview(play.run, msg.Signal(at=play.now, name="go"))
    assert [a.step for a in seen.runs] == ["a"]
    assert preview(play.run, msg.Signal(at=play.now, name="other")).runs == ()


def test_a_run_that_changed_since_refuses() -> None:
    play = Play(plan(call("a"), Wait("w", "go")))
    looked = play.run.length
    play.reply("a")
    [event] = play.send(msg.Cancel(at=play.now, expects=looked, request="r1"))
    assert isinstance(event, ev.OperationRefused)
    assert "changed since" in event.why
    assert play.send(msg.Cancel(at=play.now, expects=play.run.length, request="r1")) == []
    assert play.send(msg.Cancel(at=play.now, expects=play.run.length, request="r2"))


def test_a_request_made_twice_is_carried_out_once() -> None:
    play = Play(plan(call("a", undo=False, pivot=True), call("b", retry=RetryPolicy(attempts=1))))
    play.reply("a")
    play.send(msg.Reply(at=play.now, step="b", kind="do", attempt=1, outcome="lost"))
    [event] = play.send(msg.Retry(at=play.now, request="once"))
    assert (type(event), event.request) == (ev.StepRetried, "once")
    play.send(msg.Reply(at=play.now, step="b", kind="do", attempt=2, outcome="lost"))
    assert play.send(msg.Retry(at=play.now, request="once")) == []
    assert play.send(msg.Retry(at=play.now, request="again"))
