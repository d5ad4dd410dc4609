"""The deploy gate: what runs that are open need, what was passed over, and what can't be read at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.orm import Session

from orchestrator import Ended, Service, otherwise, parallel, remote, saga, wait_for, when
from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Registry, Saga
from orchestrator.errors import JournalUnavailableError, SagaError
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.kernel.decide import Turn, launch, react
from orchestrator.kernel.program import Program
from orchestrator.kernel.summary import RunSummary, summarize
from orchestrator.testing.deployed import Deployed
from orchestrator.testing.needs import needs
from orchestrator.testing.open_runs import check_open_runs
from tests.unit.testing import broken

SERVICES = (broken.stock, broken.bank, broken.depot)
shop = Service("shop", database="sqlite:///shop.db")
far = remote("far")


@shop.participant
def wrap(session: Session, sku: str) -> int:
    """Wrap it."""
    return 1


@wrap.undo
def unwrap(session: Session, wrapped: int) -> None:
    """Unwrap it."""


@shop.participant
def tell(ended: Ended) -> None:
    """Tell somebody."""


@far.participant(undo=True)
def ship(sku: str) -> int:
    """Live elsewhere."""
    raise NotImplementedError


class Journal:
    """Runs of one plan, each brought along by some messages."""

    def __init__(self, plan: Plan, *runs: Sequence[msg.Message], **given: Any) -> None:
        self._plan = plan
        self.events: dict[str, list[Any]] = {}
        self.rows: dict[str, RunSummary] = {}
        self.states: dict[str, Any] = {}
        self.unreadable: set[str] = set()
        program = Program(plan)
        for number, messages in enumerate(runs):
            run_id = f"run{number}"
            turn = launch(
                program,
                msg.Launch(
                    at=0, run_id=run_id, saga=plan.saga, version=1, plan=program.hash, input=given
                ),
            )
            events = list(turn.events)
            for message in messages:
                turn = Turn(*react(turn.run, message))
                assert turn.events
                events += turn.events
            self.events[run_id] = events
            self.states[run_id] = turn.run
            self.rows[run_id] = summarize(turn.run, 0, 0.0)

    def shards(self) -> int:
        return 1

    def open_runs(self, shard: int) -> list[str]:
        return [run_id for run_id, row in self.rows.items() if row.open]

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        return Page(tuple(self.rows[run_id] for run_id in where.ids), None)

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        return {run_id: self.history(run_id) for run_id in run_ids}

    def history(self, run_id: str) -> list[Recorded]:
        if run_id in self.unreadable:
            raise SagaError(f"{run_id} was tampered with")
        return [
            Recorded(0, n, run_id, type(event).__name__, 0.0, "", event, "")
            for n, event in enumerate(self.events[run_id])
        ]

    def plan(self, plan_hash: str) -> Plan:
        return self._plan

    def plans(self) -> list[Plan]:
        return [self._plan]


def _done(step: str, result: Any = 1) -> msg.Reply:
    return msg.Reply(at=1, step=step, kind="do", attempt=1, outcome="succeeded", result=result)


def _undone(step: str) -> msg.Reply:
    return msg.Reply(at=1, step=step, kind="undo", attempt=1, outcome="succeeded")


def _needed(saga: Saga[..., Any], *messages: msg.Message, **given: Any) -> set[tuple[str, str]]:
    journal = Journal(saga.plan, messages, **given)
    state = journal.states["run0"]
    return {(need.call.name, need.kind) for need in needs(state.program, state)}


def test_the_same_code_can_finish_what_it_began() -> None:
    journal = Journal(broken.sound.plan, [_done("hold")], [], sku="x")
    told: list[int] = []
    checked = check_open_runs(journal, Deployed(SERVICES), [broken.sound], told.append)
    assert (checked.runs, checked.troubles, checked.older) == (2, (), ())
    assert checked.ok
    assert told == [1, 2]


def test_what_is_behind_a_run_is_needed_no_more() -> None:
    """Each step is wanted forward until it is done, and back until the pivot is."""
    hold, pay_out, send, notify = "hold", "pay_out", "send", "notify"
    undos = {(hold, "undo"), (pay_out, "undo"), (send, "undo"), (notify, "undo")}
    ahead = [(hold, "do"), (pay_out, "do"), (send, "do"), (notify, "do")]
    assert _needed(broken.sound) == {*ahead, *undos}
    before = [_done(hold), _done(pay_out)]
    assert _needed(broken.sound, *before) == {*ahead[2:], *undos}
    assert _needed(broken.sound, *before, _done(send)) == {*ahead[3:]}
    back = [msg.Cancel(at=1)]
    assert _needed(broken.sound, *before[:1], *back) == {(hold, "undo"), (pay_out, "undo")}
    late = [_done(pay_out), _undone(pay_out)]
    assert _needed(broken.sound, *before[:1], *back, *late) == {(hold, "undo")}


def test_branches_not_taken_and_callbacks_of_other_ends_are_not_needed() -> None:
    @saga(registry=Registry())
    def forking(sku: str, gift: int, many: list[str]) -> int:
        with when(gift > 0):
            wrapped = wrap(sku)
        with otherwise():
            wrap.options(name="plain")(sku)
        wrap.options(name="each").map(many)
        wait_for("go", bool)
        wrap.options(name="last").pivot(sku)
        return wrapped

    forking.on_completed(tell)
    forking.on_compensated(tell)
    given = {"sku": "x", "gift": 1, "many": ["a", "b"]}
    going = {step for step, kind in _needed(forking, **given) if kind == "do"}
    assert going == {"wrap", "each", "last"}, "decided already: not plain"
    none = {step for step, _ in _needed(forking, _done("wrap"), **{**given, "many": []})}
    assert "each" not in none, "passed over: there are no items"
    each: list[msg.Message] = [_done("each[0]"), _done("each[1]")]
    assert _needed(forking, _done("wrap"), *each, **given) == {
        ("wrap", "undo"), ("each", "undo"), ("last", "do"), ("last", "undo"),
        ("on_completed", "callback"), ("on_compensated", "callback"),
    }  # fmt: skip
    go = msg.Signal(at=1, name="go", signal_id="1", data=True)
    after = [_done("wrap"), *each, go]
    assert _needed(forking, *after, _done("last"), **given) == {("on_completed", "callback")}
    cancelled = _needed(forking, _done("wrap"), *each, msg.Cancel(at=1), **given)
    assert cancelled == {("wrap", "undo"), ("each", "undo"), ("on_compensated", "callback")}


def test_what_other_branches_have_yet_to_do_is_needed() -> None:
    @saga(registry=Registry())
    def beside(sku: str) -> int:
        with parallel():
            wrap(sku)
            wrap.options(name="other")(sku)
        return wrap.options(name="after")(sku)

    found = _needed(beside, _done("other"), sku="x")
    assert {step for step, kind in found if kind == "do"} == {"wrap", "after"}


def test_a_service_elsewhere_is_compared_with_its_contract() -> None:
    @saga(registry=Registry())
    def spread(sku: str) -> int:
        return ship(sku)

    journal = Journal(spread.plan, [], sku="x")
    there = check_open_runs(journal, Deployed([shop], [ship]))
    assert (there.troubles, there.elsewhere) == ((), ("far",))
    [trouble] = check_open_runs(journal, Deployed([shop])).troubles
    assert "no service of the apps is named far" in trouble.what
    assert "remote('far')" in trouble.fix


def test_one_run_that_cannot_be_read_leaves_the_others_to_be_looked_at() -> None:
    plan = broken.sound.plan
    journal = Journal(plan, [_done("hold")], [_done("hold")], [_done("hold")], sku="x")
    journal.events["run0"].append(journal.events["run0"][-1])
    journal.unreadable.add("run2")
    checked = check_open_runs(journal, Deployed([broken.stock, broken.depot]))
    assert checked.runs == 3
    assert [(one.step, one.runs, one.examples) for one in checked.troubles] == [
        ("", 1, ("run0",)),
        ("", 1, ("run2",)),
        ("pay_out", 1, ("run1",)),
    ]
    assert all("can't be replayed" in one.what for one in checked.troubles[:2])


def test_a_journal_that_is_away_is_no_trouble_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise JournalUnavailableError("down")

    journal = Journal(broken.sound.plan, [], sku="x")
    monkeypatch.setattr(journal, "histories", away)
    with pytest.raises(JournalUnavailableError):
        check_open_runs(journal, Deployed(SERVICES))


def test_runs_of_a_plan_that_the_code_has_no_more_are_named() -> None:
    journal = Journal(broken.sound.plan, [], [], sku="x")
    [older] = check_open_runs(journal, Deployed(SERVICES), [broken.wrong_order]).older
    assert (older.saga, older.runs, older.defined) == ("sound", 2, None)
