"""When a failed attempt is tried again, and when not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.definition.plan import Const, Parallel, RetryPolicy, Sleep, Wait
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.backoff import delay_s
from orchestrator.kernel.state import Phase
from tests.unit.kernel.scenario import ERROR, Play, call, names, plan

policies = st.builds(
    RetryPolicy,
    strategy=st.sampled_from(["exponential", "linear", "fixed"]),
    initial_s=st.floats(0, 100),
    factor=st.floats(0, 100),
    cap_s=st.floats(0, 1000),
    jitter=st.floats(0, 1),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(policies, st.integers(1, 5_000), st.text(max_size=8))
def test_a_wait_is_within_its_bounds_and_the_same_every_time(
    policy: RetryPolicy, failed: int, seed: str
) -> None:
    delay = delay_s(policy, failed, seed)
    assert 0 <= delay <= policy.cap_s * (1 + 1e-9)
    assert math.isfinite(delay)
    assert delay == delay_s(policy, failed, seed)
    plain = min(_plain(policy, failed), policy.cap_s / (1 + policy.jitter))
    assert delay == pytest.approx(plain, rel=policy.jitter + 1e-9, abs=1e-9)


def _plain(policy: RetryPolicy, failed: int) -> float:
    try:
        match policy.strategy:
            case "exponential":
                return policy.initial_s * policy.factor ** (failed - 1)
            case "linear":
                return policy.initial_s * (1 + policy.factor * (failed - 1))
            case "fixed":
                return policy.initial_s
    except OverflowError:
        return math.inf


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("exponential", [1, 3, 9, 20, 20]),
        ("linear", [1, 4, 7, 10, 13]),
        ("fixed", [1, 1, 1, 1, 1]),
    ],
)
def test_the_curves_without_jitter(strategy: str, waits: list[float]) -> None:
    policy = RetryPolicy(strategy=strategy, initial_s=1.0, factor=3.0, cap_s=20.0, jitter=0.0)  # type: ignore[arg-type]
    assert [delay_s(policy, failed, "r") for failed in range(1, 6)] == waits


def test_runs_that_failed_together_do_not_come_back_together() -> None:
    """Not at the cap either."""
    policy = RetryPolicy(initial_s=1.0, cap_s=30.0, jitter=0.25)
    for failed in (3, 50):
        waits = sorted(delay_s(policy, failed, f"run-{i}") for i in range(200))
        assert len(set(waits)) == 200
        assert waits[150] - waits[50] > 0.2 * waits[100]


def test_attempts_are_counted_and_the_next_is_due_after_the_wait() -> None:
    policy = RetryPolicy(attempts=3, initial_s=8.0, jitter=0.0)
    play = Play(plan(call("a", retry=policy)))
    for attempt, wait in [(1, 8.0), (2, 16.0)]:
        assert play.out() == [f"do a {attempt}"]
        [failed] = play.reply("a", "failed")
        assert isinstance(failed, ev.StepFailed)
        assert failed.retry_at == play.now + wait
        assert play.sent()[0].due == play.now + wait
        play.now += wait
    assert names(play.reply("a", "failed")) == ["StepFailed", "CompensationStarted"]


def test_an_unknown_outcome_counts_as_an_attempt() -> None:
    play = Play(plan(call("a", retry=RetryPolicy(attempts=2))))
    assert names(play.expire("a")) == ["StepInDoubt"]
    play.now += 10
    assert names(play.reply("a", "lost")) == ["StepInDoubt", "CompensationStarted"]


def test_without_a_limit_on_attempts_the_budget_ends_them() -> None:
    policy = RetryPolicy(attempts=None, budget_s=35.0, strategy="fixed", initial_s=10.0, jitter=0)
    play = Play(plan(call("a", retry=policy)))
    for _ in range(3):
        assert names(play.reply("a", "failed")) == ["StepFailed"]
        play.now += 10
    assert names(play.reply("a", "failed")) == ["StepFailed", "CompensationStarted"]


def test_a_retry_by_an_operator_has_a_budget_of_its_own() -> None:
    policy = RetryPolicy(attempts=None, budget_s=15.0, strategy="fixed", initial_s=10.0, jitter=0)
    play = Play(plan(call("p", pivot=True), call("a", retry=policy)))
    play.reply("p")
    for _ in range(2):
        assert names(play.reply("a", "failed")) == ["StepFailed"]
        play.now += 10
        assert names(play.reply("a", "failed")) == ["StepFailed", "StepParked"]
        play.now += 1000
        play.send(msg.Retry(at=play.now, step="a"))


def test_an_undo_has_its_own_policy_and_its_own_budget() -> None:
    once, more = RetryPolicy(attempts=1), RetryPolicy(attempts=4, budget_s=100.0, initial_s=1.0)
    play = Play(plan(call("a", retry=once, undo_retry=more), call("b")))
    play.reply("a")
    play.now += 5_000
    play.reply("b", "refused")
    for _ in range(3):
        assert names(play.reply("a", "failed")) == ["StepFailed"]
        play.now += 10
    assert names(play.reply("a", "failed")) == ["StepFailed", "StepParked"]


@pytest.mark.parametrize(
    "kind",
    [
        "shop.errors.NoSuchCustomer",
        "orchestrator.errors.InvalidInputError",
        "orchestrator.errors.EncodingError",
        "orchestrator.errors.PayloadTooLargeError",
    ],
)
def test_a_final_error_is_not_retried(kind: str) -> None:
    policy = RetryPolicy(attempts=5, final=("shop.errors.NoSuchCustomer",))
    play = Play(plan(call("a", retry=policy)))
    failure = ev.Failure("X", "no", (kind, "builtins.Exception"))
    assert "CompensationStarted" in names(play.reply("a", "failed", failure=failure))
    play = Play(plan(call("a", retry=policy)))
    assert names(play.reply("a", "failed", failure=ERROR)) == ["StepFailed"]


def test_the_sagas_own_deadline_turns_it_back() -> None:
    play = Play(plan(call("a"), Wait("w", "go"), timeout_s=60.0))
    [timer] = play.timers()
    assert (timer.step, timer.at) == (None, 160.0)
    play.reply("a")
    assert play.send(msg.TimerFired(at=159.0)) == []
    [started] = play.send(msg.TimerFired(at=160.0))
    assert isinstance(started, ev.CompensationStarted)
    assert started.reason == "the saga's timeout of 60 s is over"
    assert play.out() == ["undo a 1"]
    assert play.timers() == []
    assert play.send(msg.TimerFired(at=161.0)) == []


def test_no_attempt_is_made_past_the_deadline() -> None:
    policy = RetryPolicy(attempts=None, strategy="fixed", initial_s=40.0, jitter=0)
    play = Play(plan(call("a", retry=policy), timeout_s=60.0))
    assert names(play.reply("a", "failed")) == ["StepFailed"]
    play.now += 40
    assert names(play.reply("a", "failed")) == ["StepFailed", "CompensationStarted"]


def test_past_the_pivot_there_is_no_deadline() -> None:
    play = Play(plan(call("p", undo=False, pivot=True), call("b", undo=False), timeout_s=60.0))
    assert play.timers() == []  # the pivot is outstanding and can't be taken back
    play.reply("p")
    assert play.timers() == []
    assert play.send(msg.TimerFired(at=500.0)) == []
    play.now = 500.0
    assert names(play.reply("b")) == ["StepSucceeded", "RunCompleted"]


def test_a_deadline_during_an_outstanding_pivot_holds_once_the_pivot_has_failed() -> None:
    policy = RetryPolicy(attempts=None, strategy="fixed", initial_s=1.0, jitter=0)
    pivot = call("p", undo=False, pivot=True, retry=policy)
    play = Play(plan(call("a"), pivot, timeout_s=60.0))
    play.reply("a")
    assert play.send(msg.TimerFired(at=170.0)) == []
    play.now = 170.0
    assert "CompensationStarted" in names(play.reply("p", "failed"))


def test_a_sleep_and_a_wait_end_at_their_times() -> None:
    play = Play(plan(Parallel((Sleep("z", Const("PT2M")), Wait("w", "go", 90.0))), call("a")))
    assert [(t.step, t.at) for t in play.timers()] == [("z", 220.0), ("w", 190.0)]
    assert play.send(msg.TimerFired(at=189.0, step="w")) == []
    assert names(play.send(msg.Signal(at=189.0, name="go", data=4))) == ["SignalReceived"]
    assert play.send(msg.TimerFired(at=190.0, step="w")) == []
    assert play.send(msg.TimerFired(at=219.0, step="z")) == []
    assert names(play.send(msg.TimerFired(at=220.0, step="z"))) == ["SleepEnded"]
    assert play.out() == ["do a 1"]


def test_a_signal_before_its_wait_is_kept_and_one_copy_counts() -> None:
    play = Play(plan(call("a"), Wait("w", "go"), Wait("v", "go")))
    first = msg.Signal(at=100.0, name="go", data=1, signal_id="s1")
    assert names(play.send(first)) == ["SignalReceived"]
    assert play.send(first) == []
    play.reply("a")
    assert play.run.steps["w"].result == 1
    assert play.timers() == []
    assert play.phase is Phase.FORWARD
    end = play.send(msg.Signal(at=100.0, name="go", data=2, signal_id="s2"))
    assert names(end) == ["SignalReceived", "RunCompleted"]
    assert play.send(msg.Signal(at=101.0, name="go", signal_id="s3")) == []
