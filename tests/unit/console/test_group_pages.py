"""Atomic groups on the console: what is seen of them, and what can be done where a decision wasn't obeyed."""

from __future__ import annotations

from orchestrator.console import Role
from orchestrator.console.bars import bars
from orchestrator.kernel import events as ev
from orchestrator.views.steps import steps_of, tree
from tests.unit.console.desks import Desks, hidden
from tests.unit.console.test_pages import text_of
from tests.unit.kernel.scenario import Play
from tests.unit.views.test_groups import PLAN, recorded


def test_a_branch_that_went_against_the_decision_is_resolved_then_forgotten(desks: Desks) -> None:
    run = desks.astray()
    client = desks.browser()
    page = client.get(f"/runs/{run}").text
    assert "atomic done" not in text_of(page)
    assert "decision: commit" in text_of(page)
    assert "commit astray" in text_of(page)
    asked = client.get(f"/runs/{run}/act/resolve?step=credit&undone=true").text
    seen = text_of(asked)
    assert "atomic was decided: commit. credit goes on record as heuristic" in seen
    assert "Undoes debit" in seen
    assert client.post(f"/runs/{run}/act/resolve", data=hidden(asked)).status_code == 200
    page = client.get(f"/runs/{run}").text
    assert "heuristic: rollback" in text_of(page)
    asked = client.get(f"/runs/{run}/act/forget?step=credit").text
    done = client.post(f"/runs/{run}/act/forget", data=hidden(asked))
    assert "the heuristic outcome of credit is forgotten" in text_of(done.text)
    assert "heuristic: rollback" not in text_of(client.get(f"/runs/{run}").text)


def test_the_api_forgets_and_says_what_that_does(desks: Desks) -> None:
    run = desks.astray()
    client = desks.http()
    refused = client.post(f"/api/v1/runs/{run}/forget", json={"step": "credit"})
    assert refused.status_code == 409
    assert "say first what became of it" in refused.json()["error"]["message"]
    assert client.post(f"/api/v1/runs/{run}/forget", json={}).status_code == 422
    resolved = client.post(f"/api/v1/runs/{run}/resolve", json={"step": "credit", "result": 1})
    assert resolved.status_code == 200, resolved.text
    foretold = client.post(
        f"/api/v1/runs/{run}/preview", json={"operation": "forget", "step": "credit"}
    ).json()
    assert (foretold["events"], foretold["settles"]) == (["HeuristicForgotten"], [])
    done = client.post(f"/api/v1/runs/{run}/forget", json={"step": "credit", "reason": "told Ann"})
    assert (done.status_code, done.json()["taken"]) == (200, True)
    [event] = [
        record.event
        for record in desks.store.history(run)
        if isinstance(record.event, ev.HeuristicForgotten)
    ]
    assert (event.actor, event.reason) == ("the operator", "told Ann")


def test_a_viewer_may_not_forget(desks: Desks) -> None:
    run = desks.astray()
    answer = desks.http(Role.VIEWER).post(f"/api/v1/runs/{run}/forget", json={"step": "credit"})
    assert answer.status_code == 403


def test_bars_show_votes_as_no_failures_and_the_decision_as_a_mark() -> None:
    play = Play(PLAN)
    play.now += 1
    play.vote("debit")
    play.vote("credit")
    play.now += 2
    play.reply("debit", "failed")
    play.now += 3
    play.reply("debit")
    play.reply("credit")
    steps = steps_of(tree(PLAN, recorded(play), play.now))
    rows = {row.step: row for row in bars(steps, play.run.launched_at, play.now).rows}
    assert [row.group for row in rows.values()] == ["", "atomic", "atomic"]
    [decided] = rows["atomic"].ticks
    assert (decided.decision, decided.text) == (True, "decided to commit")
    assert decided.x < 200
    assert rows["atomic"].do is not None
    assert rows["atomic"].do.width > 990, "a group is under way until its branches are settled"
    assert [tick.text for tick in rows["debit"].ticks] == [
        "commit attempt 2 failed: the disk is full"
    ]
    assert rows["credit"].ticks == ()
