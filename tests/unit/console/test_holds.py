"""Holds from the API and the pages: what they stop is said first, who may, and once under a key."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console import Role
from tests.unit.console.desks import Desks, hidden

HOLDS = "/api/v1/holds"
SHOP = {"kind": "saga", "name": "shop"}


@pytest.fixture
def held_up(desks: Desks) -> Desks:
    desks.launch("aaaa1111", saga="shop")
    desks.launch("bbbb2222", saga="other")
    return desks


def turn(desks: Desks) -> None:
    if desks.coordinator is None:
        desks.start()
    desks.clock += 1
    desks.turns()


def post(desks: Desks, path: str, body: dict[str, Any], who: Any = Role.OPERATOR) -> Any:
    return desks.http(who).post(f"{HOLDS}{path}", json=body)


def test_a_saga_is_held_and_released(held_up: Desks) -> None:
    seen = post(held_up, "/preview", SHOP).json()
    assert (seen["runs"], seen["held"]) == ({"shop": {"accepted": 1}}, None)
    made = post(held_up, "", {**SHOP, "undos": True, "reason": "wrong prices"})
    assert (made.status_code, made.json()["actor"]) == (201, "the operator")
    turn(held_up)
    assert {work.run for work in held_up.transport.sent} == {"bbbb2222"}
    [listed] = held_up.http(Role.VIEWER).get(HOLDS).json()["holds"]
    assert (listed["name"], listed["reason"], listed["undos"]) == ("shop", "wrong prices", True)
    assert post(held_up, "", SHOP).status_code == 409
    assert post(held_up, "/release", {**SHOP, "reason": "mended"}).status_code == 200
    assert post(held_up, "/release", SHOP).status_code == 409
    assert held_up.http().get(HOLDS).json() == {"holds": []}
    assert len(held_up.http().get(f"{HOLDS}?all=true").json()["holds"]) == 1
    turn(held_up)
    assert {work.run for work in held_up.transport.sent} == {"aaaa1111", "bbbb2222"}


def test_under_one_key_it_is_placed_once(held_up: Desks) -> None:
    client, key = held_up.http(), {"Idempotency-Key": "k1"}
    first = client.post(HOLDS, json=SHOP, headers=key)
    again = client.post(HOLDS, json=SHOP, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_viewers_only_look_and_who_sees_some_sagas_holds_those(held_up: Desks) -> None:
    assert post(held_up, "", SHOP, Role.VIEWER).status_code == 403
    assert post(held_up, "", {"kind": "saga", "name": "other"}, "narrow").status_code == 404
    assert post(held_up, "", {"kind": "service", "name": "svc"}, "narrow").status_code == 403
    post(held_up, "", {"kind": "saga", "name": "other"})
    assert held_up.http("narrow").get(HOLDS).json() == {"holds": []}
    assert post(held_up, "", SHOP, "narrow").status_code == 201
    post(held_up, "", {"kind": "service", "name": "svc"})
    turn(held_up)
    names = [one["name"] for one in held_up.http("narrow").get(HOLDS).json()["holds"]]
    assert sorted(names) == ["shop", "svc"]
    audited = held_up.http("narrow").get("/api/v1/audit").json()["entries"]
    assert [one["run_id"] for one in audited] == ["saga:shop"]


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "queue", "name": "q"},
        {"kind": "saga", "name": "nosuch"},
        {"kind": "saga"},
        {"kind": "service", "name": "svc", "undos": True},
        {**SHOP, "reason": "x" * 2_001},
    ],
)
def test_what_can_not_be_held_is_said(held_up: Desks, body: dict[str, Any]) -> None:
    assert post(held_up, "", body).status_code == 422


def test_the_pages_show_who_holds_what_and_have_the_button(held_up: Desks) -> None:
    browser = held_up.browser()
    assert "/holds/ask?kind=saga&amp;name=shop" in browser.get("/sagas").text
    assert "/holds/ask?kind=service&amp;name=svc" in browser.get("/services").text
    asked = browser.get("/holds/ask?kind=service&name=svc").text
    assert "<strong>2</strong> open runs of sagas that call it" in asked
    form = hidden(asked)
    done = browser.post("/holds/place", data={**form, "reason": "charges twice"})
    assert done.status_code == 303
    for page in ("/services", "/holds", "/holds/ask?kind=service&name=svc"):
        text = browser.get(page).text
        assert "charges twice" in text
        assert "the operator" in text
        assert "Release" in text
    turn(held_up)
    assert held_up.transport.sent == []
    assert "service:svc" in browser.get("/audit").text
    form = hidden(browser.get("/holds/ask?kind=service&name=svc").text)
    assert browser.post("/holds/release", data=form).status_code == 303
    assert "released" in browser.get("/holds").text
    assert browser.post("/holds/dance", data=form).status_code == 422
    viewer = held_up.browser(Role.VIEWER)
    assert "/holds/ask" not in viewer.get("/services").text
    assert viewer.get("/holds/ask?kind=service&name=svc").status_code == 403
