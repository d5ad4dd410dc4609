"""The deploy gate: what runs that are open need, and the code at hand can't do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.definition.action import ActionSpec
from orchestrator.definition.plan import Plan, Undo
from orchestrator.definition.signature import Parameter
from orchestrator.journal.port import Page, Recorded, RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.kernel.decide import Turn, launch, react
from orchestrator.kernel.program import Program
from orchestrator.kernel.summary import RunSummary, summarize
from orchestrator.testing.open_runs import Trouble, check_open_runs
from tests.unit.testing import broken


class OneRun:
    """A journal with one run."""

    def __init__(self, plan: Plan, *messages: msg.Message) -> None:
        self._plan = plan
        program = Program(plan)
        turn = launch(
            program,
            msg.Launch(at=0, run_id="r", saga="s", version=1, plan=program.hash, input={"sku": 1}),
        )
        self.events = list(turn.events)
        for message in messages:
            turn = Turn(*react(turn.run, message))
            assert turn.events
            self.events += turn.events
        self._row: RunSummary = summarize(turn.run, 0, 0.0)

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        assert self._row.status in where.status
        return Page((self._row,), None)

    def history(self, run_id: str) -> list[Recorded]:
        return [
            Recorded(0, n, "r", type(event).__name__, 0.0, "", event, "")
            for n, event in enumerate(self.events)
        ]

    def plan(self, plan_hash: str) -> Plan:
        return self._plan


def _specs() -> dict[str, ActionSpec]:
    return {
        participant.spec.qualified: participant.spec
        for service in (broken.stock, broken.bank, broken.depot)
        for participant in service.participants.values()
    }


def _done(step: str) -> msg.Reply:
    return msg.Reply(at=1, step=step, kind="do", attempt=1, outcome="succeeded", result=1)


def _found(run: OneRun, specs: dict[str, ActionSpec]) -> list[tuple[str, str]]:
    return [(trouble.step, trouble.what) for trouble in check_open_runs(run, specs).troubles]


def test_the_same_code_can_finish_what_it_began() -> None:
    checked = check_open_runs(OneRun(broken.sound.plan, _done("hold")), _specs())
    assert (checked.runs, checked.troubles, checked.unchecked) == (1, (), ())


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("depot.send", {"parameters": {}}, "no parameter sku any more"),
    ("depot.send", {"parameters": {"sku": Parameter(), "to": Parameter()}}, "now needs to"),
    ("depot.send", {"queue": "elsewhere"}, "now listens to elsewhere"),
    ("depot.send", {"barrier": False}, "has none now"),
    ("stock.hold", {"undo": None}, "has none any more"),
]


@pytest.mark.parametrize(("name", "change", "what"), CHANGES)
def test_a_change_that_an_open_run_does_not_survive(
    name: str, change: dict[str, Any], what: str
) -> None:
    specs = _specs()
    specs[name] = replace(specs[name], **change)
    [(step, said)] = _found(OneRun(broken.sound.plan, _done("hold")), specs)
    assert step == name.partition(".")[2]
    assert what in said


def test_what_is_gone_matters_only_as_long_as_it_is_needed() -> None:
    specs = _specs()
    del specs["stock.hold"], specs["depot.notify"]
    steps = [_done("hold"), _done("pay_out")]
    before = _found(OneRun(broken.sound.plan, *steps), specs)
    assert {step for step, _ in before} == {"hold", "notify"}
    past = _found(OneRun(broken.sound.plan, *steps, _done("send")), specs)
    assert {step for step, _ in past} == {"notify"}


def test_a_service_that_the_apps_do_not_have_is_named_as_unchecked() -> None:
    specs = {name: spec for name, spec in _specs().items() if spec.service != "bank"}
    checked = check_open_runs(OneRun(broken.sound.plan), specs)
    assert checked.unchecked == ("bank",)
    assert checked.troubles == ()


def test_a_history_that_the_kernel_does_not_take_is_a_trouble_of_its_run() -> None:
    run = OneRun(broken.sound.plan, _done("hold"))
    run.events.append(run.events[-1])
    [trouble] = check_open_runs(run, _specs()).troubles
    assert isinstance(trouble, Trouble)
    assert "can't be replayed" in trouble.what


def test_an_undo_is_needed_again_once_it_exists() -> None:
    specs = _specs()
    specs["depot.send"] = replace(
        specs["depot.send"], undo=Undo("other", 1.0, broken.hold.spec.retry)
    )
    assert _found(OneRun(broken.sound.plan), specs) == []
