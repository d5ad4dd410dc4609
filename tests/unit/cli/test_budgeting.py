"""`saga budget`: a run that was given up goes on with more attempts; the same from Python, the API and the pages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orchestrator.client import Client, ClientOptions
from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.transport.messages import Work
from tests.unit.cli.stage import ACTOR, Stage
from tests.unit.console.desks import Desks, hidden


@pytest.fixture
def desks(monkeypatch: pytest.MonkeyPatch) -> Desks:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Desks()


def undos(stage: Stage) -> list[Work]:
    return [work for work in stage.transport.sent if work.kind == "undo"]


def on(stage: Stage) -> None:
    for _ in range(12):
        stage.turns(3)
        stage.clock += 10


def given(stage: Stage, run_id: str) -> list[dict[str, Any]]:
    kinds = (ev.BudgetSet, ev.StepRetried)
    events = [r.event for r in stage.store.history(run_id) if isinstance(r.event, kinds)]
    return [
        {name: value for name, value in msgspec.to_builtins(event).items() if name not in _OWN}
        for event in events
    ]


_OWN = {"at", "actor", "request"}


def test_a_stuck_run_goes_on_with_more_attempts(desks: Desks) -> None:
    run = desks.stuck()
    before = len(undos(desks))
    result = desks.run("budget", "aaaa", "reserve", "--attempts", "8", "--reason", "slow today")
    assert result.exit_code == 0
    assert "reserve may be tried 8 times: slow today" in result.stdout
    on(desks)
    assert len(undos(desks)) == 8
    assert before == 3
    desks.mend()
    desks.run("budget", "aaaa", "reserve", "--attempts", "20")
    assert desks.store.find(run).status == "compensated"
    entries = desks.json("audit", "--operation", "budget")["entries"]
    assert [(one["actor"], one["step"]) for one in entries] == [(ACTOR, "reserve")] * 2


def test_too_few_are_refused_and_a_preview_changes_nothing(desks: Desks) -> None:
    desks.stuck()
    assert desks.run("budget", "aaaa", "reserve", "--attempts", "3").exit_code == 4
    assert desks.run("budget", "aaaa", "reserve", "--attempts", "0").exit_code == 2
    seen = desks.json("budget", "aaaa", "reserve", "--attempts", "8", "--dry-run")
    assert [one["step"] for one in seen["undoes"]] == ["reserve"]
    assert given(desks, "aaaa1111") == []


def test_from_python_the_api_and_the_page_it_leaves_the_same_events(desks: Desks) -> None:
    runs = [desks.stuck(run_id) for run_id in ("aaaa1111", "bbbb2222", "cccc3333", "dddd4444")]
    asked = {"step": "reserve", "attempts": 8, "reason": "slow"}
    desks.run("budget", runs[0], "reserve", "--attempts", "8", "--reason", "slow")
    client = Client(desks.store, {}, options=ClientOptions("ann"), clock=desks.now)
    client.budget(runs[1], "reserve", 8, reason="slow")
    with pytest.raises(OperationRefusedError, match="it can be given 4 to"):
        client.budget(runs[2], "reserve", 2)
    assert desks.http().post(f"/api/v1/runs/{runs[2]}/budget", json=asked).status_code == 200
    assert desks.http().post(f"/api/v1/runs/{runs[2]}/budget", json={}).status_code == 422
    browser = desks.browser()
    page = f"/runs/{runs[3]}/act/budget?step=reserve"
    assert page.replace("&", "&amp;") in browser.get(f"/runs/{runs[3]}").text
    assert "How often it may be tried" in browser.get(page).text
    form = hidden(browser.get(f"{page}&attempts=8").text)
    done = browser.post(f"/runs/{runs[3]}/act/budget", data={**form, "reason": "slow"})
    assert done.status_code == 200
    desks.turns()
    first, *others = (given(desks, run) for run in runs)
    assert [one["type"] for one in first] == ["StepRetried", "BudgetSet"]
    assert others == [first] * 3
