"""The run page: what changed between two events, and the run as a test."""

from __future__ import annotations

from orchestrator.console import Role
from tests.unit.console.desks import Desks
from tests.unit.console.test_pages import text_of


def test_what_an_event_changed_is_said_without_javascript(desks: Desks) -> None:
    run = desks.stuck()
    client = desks.browser()
    length = client.get(f"/api/v1/runs/{run}").json()["length"]
    page = client.get(f"/runs/{run}").text
    assert f'?since={length - 1}&amp;after={length}#changed"' in page
    shown = text_of(client.get(f"/runs/{run}?since=1&after=2").text)
    assert "What changed from event 1 to 2" in shown
    assert "reserve status running done" in shown
    assert "charge status not begun running" in shown
    assert "As it was after event 2" in shown
    same = text_of(client.get(f"/runs/{run}?since=2&after=2").text)
    assert "Nothing that is shown." in same
    assert client.get(f"/runs/{run}?since=0").status_code == 422


def test_the_api_says_what_changed(desks: Desks) -> None:
    run = desks.stuck()
    found = desks.http().get(f"/api/v1/runs/{run}/changes?since=1&after=2").json()
    assert (found["since"], found["after"]) == (1, 2)
    assert {"step": "reserve", "what": "status", "before": "running", "after": "done"} in found[
        "changes"
    ]
    whole = desks.http().get(f"/api/v1/runs/{run}/changes").json()["changes"]
    assert {"step": "", "what": "status", "before": "running", "after": "stuck"} in whole


def test_an_operator_gets_the_run_as_a_test_and_a_viewer_does_not(desks: Desks) -> None:
    run = desks.stuck()
    made = desks.http().get(f"/api/v1/runs/{run}/test")
    assert made.headers["content-type"].startswith("text/x-python")
    assert "sagas.when(charge, step='charge').refuses('no money', times=1)" in made.text
    assert "sagas.when_undoing(reserve, step='reserve').fails('the till is broken'" in made.text
    assert "assert run.parked == ['reserve']" in made.text
    compile(made.text, "made.py", "exec")
    assert desks.http(Role.VIEWER).get(f"/api/v1/runs/{run}/test").status_code == 403
    page = desks.browser().get(f"/runs/{run}").text
    assert "As a test" in text_of(page)
    assert "As a test" not in text_of(desks.browser(Role.VIEWER).get(f"/runs/{run}").text)


def test_events_and_what_they_start_are_apart(desks: Desks) -> None:
    shown = text_of(desks.browser().get(f"/runs/{desks.stuck()}").text)
    assert "shop version 1 launched starts reserve" in shown


def test_a_saga_says_how_many_runs_each_version_still_has_and_how_often_its_steps_go_wrong(
    desks: Desks,
) -> None:
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222")
    page = text_of(desks.browser().get("/sagas/shop").text)
    assert "Version Open runs Steps Plan Known from 1 shown 2 2" in page
    assert "charge 0 2 0 0 0 100.0 %" in page
