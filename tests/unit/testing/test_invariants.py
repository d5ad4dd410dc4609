"""Each built-in invariant can be broken: by a kernel or a participant that is wrong in the way it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.facts import Facts
from orchestrator.definition.saga import Saga
from orchestrator.kernel import decide, evolve, group
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.codec import decode_event
from orchestrator.kernel.commands import Command, Execute
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import Phase, RunState, Status, StepState
from orchestrator.kernel.two_phase import branches_of
from orchestrator.testing import replies, rules, steps, verify
from orchestrator.testing.participants import DONE, TOMBSTONE, UNDONE, Answer, Record, carry_out
from tests.unit.testing import broken, test_guards

Spoil = Callable[[pytest.MonkeyPatch], None]


# kernels that are wrong


def _forgets_undos(patch: pytest.MonkeyPatch) -> None:
    def forgetful(run: RunState) -> list[Command]:
        return [c for c in pending(run) if not (isinstance(c, Execute) and c.kind == "undo")]

    patch.setattr(steps, "pending", forgetful)


def _says_nothing_of_what_is_stuck(patch: pytest.MonkeyPatch) -> None:
    parked = decide._parked

    def speechless(run: RunState, key: str, at: float) -> ev.Event:
        event = parked(run, key, at)
        assert isinstance(event, ev.StepParked)
        return replace(event, reason="")

    patch.setattr(decide, "_parked", speechless)


def _takes_a_failure_for_a_success(patch: pytest.MonkeyPatch) -> None:
    react = decide.react

    def hopeful(run: RunState, message: msg.Message) -> decide.Turn:
        if isinstance(message, msg.Reply) and message.outcome == "failed":
            message = replace(message, outcome="succeeded", failure=None)
        return react(run, message)

    patch.setattr(decide, "react", hopeful)


def _goes_on_with_what_was_running(patch: pytest.MonkeyPatch) -> None:
    def unhalted(run: RunState, key: str, step: StepState, at: float) -> StepState:
        return step

    patch.setattr(evolve, "_halted", unhalted)


def _undoes_what_never_began(patch: pytest.MonkeyPatch) -> None:
    def eager(run: RunState) -> list[Command]:
        found = pending(run)
        undos = [c for c in found if isinstance(c, Execute) and c.kind == "undo"]
        return [*found, *(replace(c, step="notify") for c in undos if "notify" not in run.steps)]

    patch.setattr(steps, "pending", eager)


def _never_tries_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_retry_at", lambda *_: None)


def _notes_what_nobody_waits_for(patch: pytest.MonkeyPatch) -> None:
    reply = decide._reply

    def noting(run: RunState, message: msg.Reply) -> list[ev.Event]:
        if run.phase is Phase.FORWARD and decide._outstanding(run, message) is None:
            return [ev.OperationRefused(at=message.at, operation="reply", why="late")]
        return reply(run, message)

    patch.setattr(decide, "_reply", noting)


def _notes_what_comes_after_it_turned_back(patch: pytest.MonkeyPatch) -> None:
    reply = decide._reply

    def noting(run: RunState, message: msg.Reply) -> list[ev.Event]:
        if run.phase is not Phase.FORWARD and decide._outstanding(run, message) is None:
            return [ev.OperationRefused(at=message.at, operation="reply", why="late")]
        return reply(run, message)

    patch.setattr(decide, "_reply", noting)


def _fails_when_it_is_cancelled_too_late(patch: pytest.MonkeyPatch) -> None:
    react = decide.react

    def strict(run: RunState, message: msg.Message) -> decide.Turn:
        if isinstance(message, msg.Cancel) and run.phase is Phase.COMPENSATING:
            raise ValueError("too late")
        return react(run, message)

    patch.setattr(decide, "react", strict)


def _keeps_something_outside_the_journal(patch: pytest.MonkeyPatch) -> None:
    def lossy(kind: str, version: int, data: bytes) -> ev.Event:
        event = decode_event(kind, version, data)
        return replace(event, result=None) if isinstance(event, ev.StepSucceeded) else event

    patch.setattr(steps, "decode_event", lossy)


def _commits_what_it_has_to_abort(patch: pytest.MonkeyPatch) -> None:
    def treacherous(run: RunState) -> list[Command]:
        return [
            replace(c, kind="commit") if isinstance(c, Execute) and c.kind == "abort" else c
            for c in pending(run)
        ]

    patch.setattr(steps, "pending", treacherous)


def _forgets_what_is_prepared(patch: pytest.MonkeyPatch) -> None:
    take_back = group._take_back

    def forgetful(run: RunState, key: str, at: float) -> None:
        if run.steps[key].then == "retry":
            take_back(run, key, at)
            return
        for branch, step, _ in branches_of(run, key):
            run.steps[branch] = replace(step, status=Status.ABORTED)

    patch.setattr(group, "_take_back", forgetful)


# participants that are wrong


def _participant(patch: pytest.MonkeyPatch, act: Callable[[str, Record], Answer | None]) -> None:
    """``act`` answers in place of the model, or leaves it to it."""

    def carried_out(kind: Any, call: Any, record: Record, facts: Facts, **known: Any) -> Answer:
        return act(kind, record) or carry_out(kind, call, record, facts, **known)

    patch.setattr(replies, "carry_out", carried_out)


def _has_no_barrier_against_doubles(patch: pytest.MonkeyPatch) -> None:
    def again(kind: str, record: Record) -> Answer | None:
        if kind != "do" or record.row != DONE:
            return None
        return Answer("succeeded", record._replace(did=record.did + 1))

    _participant(patch, again)


def _has_no_tombstone(patch: pytest.MonkeyPatch) -> None:
    def late(kind: str, record: Record) -> Answer | None:
        if kind != "do" or record.row not in {UNDONE, TOMBSTONE}:
            return None
        return Answer("succeeded", record._replace(row=DONE, did=record.did + 1))

    _participant(patch, late)


def _undoes_nothing(patch: pytest.MonkeyPatch) -> None:
    def idle(kind: str, record: Record) -> Answer | None:
        return Answer("succeeded", record._replace(row=UNDONE)) if kind == "undo" else None

    _participant(patch, idle)


def _says_it_did_what_it_did_not(patch: pytest.MonkeyPatch) -> None:
    def lying(kind: str, record: Record) -> Answer | None:
        return Answer("succeeded", record) if kind == "do" else None

    _participant(patch, lying)


def _takes_effect_with_its_vote(patch: pytest.MonkeyPatch) -> None:
    def hasty(kind: str, record: Record) -> Answer | None:
        if kind != "prepare" or record.row == TOMBSTONE:
            return None
        return Answer("succeeded", record._replace(row=DONE, did=1), vote="prepared")

    _participant(patch, hasty)


def _untouched(patch: pytest.MonkeyPatch) -> None:
    """The saga itself is what is wrong."""


CASES: list[tuple[str, Spoil, Saga[..., Any], str]] = [
    (rules.ENDINGS, _forgets_undos, broken.sound, "nothing is pending, and nobody is told"),
    (rules.ENDINGS, _says_nothing_of_what_is_stuck, broken.sound, "parked without a reason"),
    (rules.COMPENSATED, test_guards._doubt_is_no_effect, broken.sound, "effect of hold is left"),
    (rules.COMPENSATED, _undoes_nothing, broken.sound, "the effect of hold is left"),
    (rules.COMPLETED, _takes_a_failure_for_a_success, broken.sound, "notify has no effect"),
    (rules.COMPLETED, _says_it_did_what_it_did_not, broken.sound, "hold has no effect"),
    (rules.FORWARD, _goes_on_with_what_was_running, broken.sound, "hold is sent"),
    (rules.UNDO, test_guards._undo_in_any_order, broken.sound, "while pay_out still stands"),
    (rules.UNDO, _undoes_what_never_began, broken.sound, "notify never was"),
    (rules.PIVOT, test_guards._no_pivot, broken.sound, "although the pivot has taken effect"),
    (rules.ONCE, _has_no_barrier_against_doubles, broken.sound, "took effect 2 times"),
    (rules.PASSING, _never_tries_again, broken.sound, "something passing"),
    (rules.PASSING, _untouched, broken.not_null_safe, "needs the action's result"),
    (rules.REFUSED, _untouched, broken.refusing_after_the_pivot, "hold is refused"),
    (rules.KERNEL, test_guards._any_attempt, broken.sound, "IllegalEventError"),
    (rules.IGNORED, _notes_what_nobody_waits_for, broken.sound, "late answer of hold"),
    (rules.IGNORED, _notes_what_comes_after_it_turned_back, broken.sound, "late answer of hold"),
    (rules.KERNEL, _fails_when_it_is_cancelled_too_late, broken.sound, "ValueError: too late"),
    (rules.IGNORED, _has_no_tombstone, broken.sound, "late copy of hold (do) does something"),
    (rules.ATOMIC, _takes_effect_with_its_vote, broken.sound_group, "put_in did not"),
    (rules.DECIDED, _commits_what_it_has_to_abort, broken.sound_group, "the commit of take_out"),
    (rules.LEFT, _forgets_what_is_prepared, broken.sound_group, "take_out is"),
    (rules.RECOVERY, _keeps_something_outside_the_journal, broken.sound, "another state"),
]


@pytest.mark.parametrize(
    ("invariant", "spoil", "saga", "what"),
    CASES,
    ids=[f"{case[1].__name__}-{case[2].name}" for case in CASES],
)
def test_an_invariant_is_broken_by_what_it_is_there_for(
    invariant: str,
    spoil: Spoil,
    saga: Saga[..., Any],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spoil is _untouched or verify(saga).ok
    spoil(monkeypatch)
    found = verify(saga).counterexample
    assert found is not None
    assert (found.invariant, what in found.what) == (invariant, True), found.what


def test_a_coordinator_may_die_where_nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stuck, and its reason lost on the way to the next coordinator."""

    def lossy(kind: str, version: int, data: bytes) -> ev.Event:
        event = decode_event(kind, version, data)
        return replace(event, reason="?") if isinstance(event, ev.StepParked) else event

    monkeypatch.setattr(steps, "decode_event", lossy)
    found = verify(broken.sound, facts={}).counterexample
    assert found is not None
    assert found.invariant == rules.RECOVERY
    assert found.trace == "do hold; do pay_out; do send; refuse notify; crash"


def test_every_built_in_invariant_has_a_case() -> None:
    assert {case[0] for case in CASES} == {*rules.BUILT_IN}
