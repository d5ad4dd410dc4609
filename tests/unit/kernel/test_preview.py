"""What a preview says is what then happens."""

from __future__ import annotations

from typing import Any, ClassVar

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
from orchestrator.kernel.two_phase import group_of
from tests.unit.kernel import group_moves
from tests.unit.kernel.driver import Driver, Outcome, _copied
from tests.unit.kernel.plans import inputs, plans
from tests.unit.kernel.scenario import Play, branch, call, group, plan
from tests.unit.kernel.test_two_phase_properties import PLANS

AWAITED = {
    *(Status.RUNNING, Status.PREPARING, Status.VOTING, Status.RECALLING),
    *(Status.ABORTING, Status.ABORT_STUCK, Status.FAILED),
}
GROUPED = {
    *(Status.VOTING, Status.RECALLING, Status.CONFIRMING, Status.WITHDRAWING, Status.PARKED),
    *(Status.HELD, Status.PREPARING, Status.PREPARED, Status.READ_ONLY, Status.REFUSED),
    *(Status.COMMITTING, Status.COMMIT_STUCK, Status.COMMIT_ASTRAY),
    *(Status.ABORTING, Status.ABORT_STUCK, Status.ABORT_ASTRAY, Status.ABORTED),
}
UNDOABLE = [PLANS[index] for index in (0, 1, 2, 7)]
SOME = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def outstanding(run: RunState) -> set[tuple[str, str, int, float]]:
    return {(c.step, c.kind, c.attempt, c.due) for c in pending(run) if isinstance(c, Execute)}


class Foretold(Driver):
    """Asks for a preview before every operation, and compares."""

    compared = 0
    grouped: ClassVar[set[Status]] = set()
    """Where groups and their branches stood when it came to compensation."""

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
        shown = (*seen.runs, *seen.settles, *seen.undoes)
        at_once = {(a.step, a.kind, a.attempt) for a in shown if a.at_once}
        new = outstanding(self.run) - outstanding(before)
        assert at_once == {(step, kind, n) for step, kind, n, due in new if due <= self.now}
        assert not {a.kind for a in seen.runs} & {"undo", "commit", "abort"}
        pausing = isinstance(
            operation, msg.Pause
        )  # it awaits what is under way, and changes nothing
        if self.run.phase is Phase.COMPENSATING and not pausing:
            type(self).grouped.update(
                step.status
                for key, step in before.steps.items()
                if group_moves.concerns(before, key)
            )
            self.see_it_through(seen)

    def see_it_through(self, seen: Preview) -> None:
        """Nothing else goes wrong: then everything foretold is undone, and nothing else."""
        before = self.run
        count = len(self.events)
        self.world.healed = True
        if self.run.paused is not None:
            self.turn(msg.Resume(at=self.now))
        self.run_on()
        type(self).compared += 1
        after = self.events[count:]
        if any(isinstance(event, ev.HeuristicFound | ev.StepFailed) for event in after):
            return  # by hand, or for want of an undo: an answer that isn't the yes that was foretold
        sure = {a.step for a in seen.undoes if not a.only_if}
        undone = {e.step for e in after if isinstance(e, ev.StepUndone)}
        foretold = {action.step for action in seen.undoes}
        assert foretold & sure <= undone <= foretold
        told = {
            (e.step, "commit" if isinstance(e, ev.BranchCommitted) else "abort")
            for e in after
            if isinstance(e, ev.BranchCommitted | ev.BranchAborted)
        }
        settles = {(a.step, a.kind) for a in seen.settles}
        open_ones = {a.step for a in seen.settles if a.only_if} | set(seen.awaits)
        recalled = {group_of(before, key) for key in seen.awaits}
        assert {
            (a.step, a.kind) for a in seen.settles if not a.only_if and a.step not in seen.awaits
        } <= told
        assert {
            step for step, _ in told - settles if group_of(before, step) not in recalled
        } <= open_ones
        assert set(seen.awaits) <= {
            key for key, step in before.steps.items() if step.status in AWAITED
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


class Impatient(Foretold):
    """Lets some things happen, then says what became of a stuck branch, or has it all undone."""

    def play(self, actions: int = 60) -> Outcome:
        for _ in range(self.random.randrange(actions)):
            self.random.choice(self._ACTIONS)(self)
        stuck = [key for key in self.run.parked if group_moves.concerns(self.run, key)]
        if stuck and self.random.random() < 0.5:
            undone = self.random.random() < 0.7
            key = self.random.choice(stuck)
            self.operate(msg.Resolve(at=self.now, step=key, undone=undone))
        self.operate(msg.Cancel(at=self.now))
        return Outcome(self.run, self.world, self.events)


def test_what_a_preview_says_of_groups_is_what_happens() -> None:
    """In every state that a group and its branches can be in."""
    for seed in range(3_000):
        given_ = {"n": seed % 3, "yes": True, "items": [1, 2]}
        Impatient(UNDOABLE[seed % len(UNDOABLE)], given_, seed).play()
        if Foretold.grouped >= GROUPED:
            break
    assert GROUPED - Foretold.grouped == set()


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


def _prepared(*branches: Any) -> Play:
    play = Play(plan(call("a"), group(*branches)))
    play.reply("a")
    return play


def test_cancelling_tells_the_branches_of_an_undecided_group_to_abort() -> None:
    play = _prepared(branch("x"), branch("y"), branch("z", "last"))
    play.vote("x")
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert [(a.step, a.kind, a.only_if) for a in seen.settles] == [
        ("x", "abort", ""),
        ("y", "abort", ""),
    ]
    assert [a.step for a in seen.undoes] == ["a"]
    assert [(c.step, c.after) for c in seen.changes] == [("atomic", "failed"), ("z", "aborted")]
    assert (seen.runs, seen.ends) == ((), "compensated")


def test_cancelling_a_decided_group_commits_it_first_and_undoes_it_then() -> None:
    play = _prepared(branch("x"), branch("y"))
    play.vote("x")
    play.vote("y")
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert [(a.step, a.kind) for a in seen.settles] == [("x", "commit"), ("y", "commit")]
    assert sorted(a.step for a in seen.undoes) == ["a", "x", "y"]


def test_a_branch_that_may_have_committed_by_itself_is_asked_first() -> None:
    play = _prepared(branch("x"), branch("z", "last"))
    play.vote("x")
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert seen.awaits == ("z",)
    assert [(a.step, a.kind, a.only_if) for a in seen.settles] == [
        ("z", "abort", ""),
        ("x", "commit", "z"),
    ]
    assert {a.step: a.only_if for a in seen.undoes} == {"x": "z", "z": "z", "a": ""}


def test_what_is_said_against_a_decision_is_warned_of() -> None:
    play = _prepared(branch("x"), branch("y"))
    play.vote("x")
    play.vote("y")
    play.reply("y")
    play.reply("x", "unregistered")
    seen = preview(play.run, msg.Resolve(at=play.now, step="x", undone=True))
    assert seen.warnings == (
        "atomic was decided: commit. x goes on record as heuristic, against it; the other branches: y done",
    )
    assert preview(play.run, msg.Resolve(at=play.now, step="x")).warnings == ()


def test_votes_are_among_what_is_run() -> None:
    play = Play(plan(Wait("w", "go"), group(branch("x"), branch("y"))))
    seen = preview(play.run, msg.Signal(at=play.now, name="go"))
    assert [(a.step, a.kind) for a in seen.runs] == [("x", "prepare"), ("y", "prepare")]


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
