"""Recorded bulk operations from the API and the pages: who may, once, and as it was looked at."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console import Role
from orchestrator.console.app import openapi
from tests.unit.console.desks import Desks, hidden
from tests.unit.console.test_pages import text_of

BULKS = "/api/v1/bulks"


def stuck(desks: Desks, number: int = 3, saga: str = "shop") -> list[str]:
    desks.fail("reserve")
    runs = [desks.launch(f"{n:04d}{saga}", saga=saga) for n in range(number)]
    if desks.coordinator is None:
        desks.start()
    for _ in range(12):
        desks.turns(3)
        desks.clock += 10
    return runs


def look(desks: Desks, times: int = 8) -> None:
    for _ in range(times):
        desks.clock += 0.6
        desks.turns(4)


def start(desks: Desks, who: Any = Role.OPERATOR, **more: Any) -> Any:
    body = {"operation": "retry", "filter": {"stuck": True}, "reason": "mended", **more}
    return desks.http(who).post(BULKS, json=body)


def test_one_is_started_and_carried_out(desks: Desks) -> None:
    runs = stuck(desks)
    desks.mend()
    made = start(desks, canaries=[1], batch=2)
    assert (made.status_code, made.json()["total"]) == (201, 3)
    look(desks)
    viewer = desks.http(Role.VIEWER)
    seen = viewer.get(f"{BULKS}/{made.json()['id']}").json()
    assert (seen["state"], seen["counts"], seen["wave"]) == ("done", {"done": 3}, 2)
    items = viewer.get(f"{BULKS}/{made.json()['id']}/runs?after=0&limit=1").json()["items"]
    assert [(item["position"], item["wave"], item["outcome"]) for item in items] == [(1, 2, "done")]
    assert [one["id"] for one in viewer.get(BULKS).json()["bulks"]] == [made.json()["id"]]
    events = desks.store.history(runs[0])
    assert [r.actor for r in events if r.type == "StepRetried"] == ["the operator"]


def test_under_one_key_it_is_started_once(desks: Desks) -> None:
    runs = stuck(desks)
    client = desks.http(Role.OPERATOR)
    body = {"operation": "retry", "runs": [{"run": run} for run in runs]}
    key = {"Idempotency-Key": "k1"}
    first = client.post(BULKS, json=body, headers=key)
    again = client.post(BULKS, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = client.post(BULKS, json={**body, "operation": "cancel"}, headers=key)
    assert (other.status_code, other.json()["error"]["type"]) == (409, "KeyReusedError")


def test_a_change_is_refused_if_it_changed_since_or_its_state_forbids(desks: Desks) -> None:
    stuck(desks)
    made = start(desks)
    path, tag = f"{BULKS}/{made.json()['id']}", made.headers["etag"]
    client = desks.http(Role.OPERATOR)
    paused = client.post(f"{path}/pause", json={"reason": "lunch"}, headers={"If-Match": tag})
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert client.post(f"{path}/abort", json={}, headers={"If-Match": tag}).status_code == 412
    assert client.post(f"{path}/pause", json={}).status_code == 409
    assert client.post(f"{path}/resume", json={}).json()["state"] == "running"
    assert client.post(f"{path}/abort", json={}).json()["state"] == "aborted"
    assert client.post(f"{path}/dance", json={}).status_code == 422
    assert client.post(f"{BULKS}/nothing/abort", json={}).status_code == 404


def test_viewers_only_look_and_nobody_sees_what_is_not_theirs(desks: Desks) -> None:
    stuck(desks)
    stuck(desks, 1, saga="other")
    made = start(desks)
    path = f"{BULKS}/{made.json()['id']}"
    assert start(desks, Role.VIEWER).status_code == 403
    assert desks.http(Role.VIEWER).post(f"{path}/abort", json={}).status_code == 403
    narrow = desks.http("narrow")
    assert narrow.get(path).status_code == narrow.get(f"{path}/runs").status_code == 404
    assert narrow.post(f"{path}/abort", json={}).status_code == 404
    assert narrow.get(BULKS).json() == {"bulks": []}
    mine = start(desks, "narrow").json()
    assert (mine["total"], mine["sagas"]) == (3, ["shop"])
    named = {"operation": "retry", "runs": [{"run": "0000other"}]}
    assert narrow.post(BULKS, json=named).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "skip", "filter": {"stuck": True}},
        {"operation": "retry"},
        {"operation": "retry", "filter": {}},
        {"operation": "retry", "filter": {"saga": "none"}},
        {"operation": "cancel", "step": "reserve", "filter": {"stuck": True}},
        {"operation": "retry", "filter": {"stuck": True}, "failures_max": 2},
        {"operation": "retry", "filter": {"stuck": True}, "canaries": [0]},
    ],
)
def test_what_makes_no_sense_is_refused(desks: Desks, body: dict[str, Any]) -> None:
    stuck(desks, 1)
    assert desks.http(Role.OPERATOR).post(BULKS, json=body).status_code == 422
    assert desks.store.bulks() == []


def test_the_pages_start_show_and_steer_one(desks: Desks) -> None:
    stuck(desks, 12)
    desks.mend()
    browser = desks.browser()
    assert "There are none" in browser.get("/bulks").text
    preview = browser.get("/bulk?stuck=true&operation=retry").text
    assert 'formaction="/bulks"' in preview
    form: dict[str, Any] = {**hidden(preview), "reason": "mended"}
    form["run"] = [f"{n:04d}shop:1" for n in range(12)]
    made = browser.post("/bulks", data=form)
    assert made.status_code == 303
    page = browser.get(made.headers["location"]).text
    assert "waiting 12" in text_of(page)
    paused = browser.post(f"{made.headers['location']}/pause", data=hidden(page))
    assert paused.status_code == 303
    page = browser.get(made.headers["location"]).text
    assert "paused by the operator" in text_of(page)
    assert browser.post(f"{made.headers['location']}/resume", data=hidden(page)).status_code == 303
    look(desks)
    page = browser.get(made.headers["location"]).text
    assert "done 12" in text_of(page)
    assert "<form class" not in page
    assert "12 done" in browser.get("/bulks").text


def test_the_api_is_described(desks: Desks) -> None:
    schemas = openapi(desks.app())["components"]["schemas"]
    assert "revision" in schemas["Bulk"]["properties"]
    assert "filter" in schemas["BulkRequest"]["properties"]
