"""The second person from the API and the pages: asked for, shown, approved by another, refused to oneself."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console import Role
from orchestrator.kernel.second import TwoPeople
from tests.unit.console.desks import Desks, hidden
from tests.unit.console.test_pages import text_of

RUN = "cccc3333"
SKIP = {"step": "charge", "result": {"id": 7}, "reason": "the bank has it"}


def of_two(*operations: str, **more: Any) -> Desks:
    desks = Desks()
    desks.two_people = TwoPeople(frozenset(operations), **more)
    return desks


@pytest.fixture
def desks() -> Desks:
    made = of_two("skip", "bulk")
    made.parked(RUN)
    return made


def ask(desks: Desks, **headers: str) -> Any:
    return desks.http(Role.OPERATOR).post(f"/api/v1/runs/{RUN}/skip", json=SKIP, headers=headers)


def answer(desks: Desks, number: int, who: Any = Role.ADMIN, what: str = "approve") -> Any:
    body = {"number": number, "reason": "seen"}
    return desks.http(who).post(f"/api/v1/runs/{RUN}/{what}", json=body)


def types(desks: Desks) -> list[str]:
    return [record.type for record in desks.store.history(RUN)]


def test_an_operation_waits_and_is_done_with_both_names(desks: Desks) -> None:
    asked = ask(desks)
    assert (asked.status_code, asked.json()["taken"]) == (202, True)
    number = asked.json()["waits"]
    assert types(desks)[-1] == "ApprovalAsked"
    http = desks.http(Role.ADMIN)
    [one] = http.get("/api/v1/approvals").json()["approvals"]
    assert (one["number"], one["actor"], one["given"]) == (
        *(number, "the operator", {"result": {"id": 7}}),
    )
    judged = http.get(f"/api/v1/runs/{RUN}/approvals/{number}").json()
    assert judged["then"]["events"] == judged["now"]["events"] == ["StepSkipped"]
    done = answer(desks, number)
    assert done.status_code == 200
    assert done.json()["events"] == [
        f"what waited as number {number} is approved: seen",
        "charge is skipped (approved by the admin): the bank has it",
    ]
    [entry] = http.get("/api/v1/audit?operation=skip").json()["entries"]
    assert (entry["actor"], entry["second"]) == ("the operator", "the admin")
    nothing: dict[str, list[Any]] = {"approvals": [], "bulks": [], "branches": []}
    assert http.get("/api/v1/approvals").json() == nothing
    assert http.get(f"/api/v1/runs/{RUN}/approvals/{number}").json()["now"] is None


def test_nobody_is_their_own_second_person(desks: Desks) -> None:
    number = ask(desks).json()["waits"]
    refused = answer(desks, number, Role.OPERATOR)
    assert refused.status_code == 409
    assert "can't be the second person" in refused.json()["error"]["message"]
    assert answer(desks, number, Role.VIEWER).status_code == 403
    assert "StepSkipped" not in types(desks)


def test_under_one_key_it_is_asked_for_once_and_says_what_became_of_it(desks: Desks) -> None:
    key = {"Idempotency-Key": "k1"}
    number = ask(desks, **key).json()["waits"]
    assert ask(desks, **key).json()["waits"] == number
    assert types(desks).count("ApprovalAsked") == 1
    assert ask(desks, **{"Idempotency-Key": "k2"}).status_code == 409, "it waits already"
    answer(desks, number)
    again = ask(desks, **key)
    assert (again.status_code, again.json()["waits"]) == (200, None)


def test_a_run_that_changed_meanwhile_is_not_touched(desks: Desks) -> None:
    number = ask(desks).json()["waits"]
    desks.transport.handler = lambda _: None
    desks.http(Role.ADMIN).post(f"/api/v1/runs/{RUN}/retry", json={"step": "charge"})
    refused = answer(desks, number)
    assert refused.status_code == 409
    assert "would do something else now" in refused.json()["error"]["message"]
    page = text_of(desks.browser(Role.ADMIN).get(f"/runs/{RUN}/act/approve?number={number}").text)
    assert "What it would have done when it was asked for" in page
    assert answer(desks, number, what="deny").status_code == 200


def test_many_at_once_is_no_way_around(desks: Desks) -> None:
    http = desks.http(Role.OPERATOR)
    body = {"operation": "retry", "runs": [{"run": RUN}], "reason": "mended"}
    assert http.post("/api/v1/bulk", json=body).json()["sent"] == 1
    desks.turns(4)
    assert (types(desks)[-1], "StepRetried" in types(desks)) == ("ApprovalAsked", False)
    made = http.post("/api/v1/bulks", json=body).json()
    desks.clock += 1
    desks.turns(4)
    admin = desks.http(Role.ADMIN)
    [waits] = admin.get("/api/v1/approvals").json()["bulks"]
    assert (waits["id"], waits["state"]) == (made["id"], "waiting")
    change = f"/api/v1/bulks/{made['id']}"
    assert http.post(f"{change}/approve", json={}).status_code == 409
    assert http.post(f"{change}/resume", json={}).status_code == 409
    assert "StepRetried" not in types(desks)
    assert "saga_journal_waiting_bulks 1.0" in admin.get("/metrics").text
    assert admin.post(f"{change}/approve", json={}).json()["second"] == "the admin"
    assert "saga_journal_waiting_bulks 0.0" in admin.get("/metrics").text
    desks.clock += 1
    desks.turns(6)
    assert "StepRetried" in types(desks)


def test_it_is_asked_for_and_approved_on_pages(desks: Desks) -> None:
    first, second = desks.browser(Role.OPERATOR), desks.browser(Role.ADMIN)
    form = first.get(f'/runs/{RUN}/act/skip?step=charge&result={{"id": 7}}')
    done = first.post(f"/runs/{RUN}/act/skip", data=hidden(form.text) | {"reason": "known"})
    assert "This takes two people" in text_of(done.text)
    assert "Take back…" in text_of(first.get(f"/runs/{RUN}").text)
    assert "the operator asks to skip charge : known" in text_of(second.get(f"/runs/{RUN}").text)
    listed = second.get("/approvals")
    assert "skip charge" in text_of(listed.text)
    number = listed.text.partition("act/approve?number=")[2].partition('"')[0]
    page = second.get(f"/runs/{RUN}/act/approve?number={number}")
    assert "the operator asks to skip charge known" in text_of(page.text)
    said = second.post(f"/runs/{RUN}/act/approve", data=hidden(page.text) | {"reason": "seen"})
    assert "charge is skipped (approved by the admin): known" in text_of(said.text)
    assert "Nothing waits for a second person" in text_of(second.get("/approvals").text)
    assert "the operator, the admin" in text_of(second.get("/audit").text)


def test_it_is_denied_on_a_page(desks: Desks) -> None:
    number = ask(desks).json()["waits"]
    second = desks.browser(Role.ADMIN)
    assert "Deny…" in second.get(f"/runs/{RUN}/act/approve?number={number}").text
    page = second.get(f"/runs/{RUN}/act/deny?number={number}")
    assert "Nothing is done to the run" in text_of(page.text)
    second.post(f"/runs/{RUN}/act/deny", data=hidden(page.text) | {"reason": "not yet"})
    assert types(desks)[-1] == "ApprovalDenied"
    assert "denied by the admin: not yet" in text_of(
        second.get(f"/runs/{RUN}/act/approve?number={number}").text
    )


def test_a_bulk_operation_is_approved_on_its_page(desks: Desks) -> None:
    first, second = desks.browser(Role.OPERATOR), desks.browser(Role.ADMIN)
    form = first.get(f"/bulk?operation=retry&run={RUN}")
    made = first.post("/bulks", data=hidden(form.text) | {"run": f"{RUN}:9", "reason": "mended"})
    desks.clock += 1
    desks.turns(4)
    place = made.headers["location"]
    assert "retry 1 run" in text_of(second.get("/approvals").text)
    page = second.get(place)
    assert "somebody else than the operator has to approve it" in text_of(page.text)
    assert second.post(f"{place}/approve", data=hidden(page.text)).status_code == 303
    desks.clock += 1
    desks.turns(6)
    assert "StepRetried" in types(desks)


def test_of_other_sagas_nothing_is_seen(desks: Desks) -> None:
    number = ask(desks).json()["waits"]
    narrow = desks.http("narrow")
    assert narrow.get("/api/v1/approvals").json()["approvals"] == []
    assert narrow.get(f"/api/v1/runs/{RUN}/approvals/{number}").status_code == 404
    assert answer(desks, number, "narrow").status_code == 404


def test_a_number_that_is_none_is_an_error(desks: Desks) -> None:
    http = desks.http(Role.ADMIN)
    for number in (1, 999):
        assert http.get(f"/api/v1/runs/{RUN}/approvals/{number}").status_code == 422
        assert answer(desks, number).status_code == 409
    assert http.post(f"/api/v1/runs/{RUN}/approve", json={}).status_code == 422


def test_viewers_see_that_it_waits_and_no_values(desks: Desks) -> None:
    ask(desks)
    viewer = desks.http(Role.VIEWER)
    [one] = viewer.get("/api/v1/approvals").json()["approvals"]
    assert one["given"] == {"result": "(withheld)"}
    assert "Approve…" not in desks.browser(Role.VIEWER).get(f"/runs/{RUN}").text


def test_the_preview_and_the_button_say_beforehand_that_it_takes_two_people() -> None:
    desks = of_two("skip", "bulk", approvers=frozenset({"the admin"}), expires_s=7_200.0)
    desks.parked(RUN)
    http, pages = desks.http(), desks.browser()
    body = {"operation": "skip", "step": "charge", "result": 7}
    seen = http.post(f"/api/v1/runs/{RUN}/preview", json=body).json()
    assert seen["second"] == {"approvers": ["the admin"], "expires_s": 7_200.0}
    plain = http.post(f"/api/v1/runs/{RUN}/preview", json={"operation": "retry"}).json()
    assert plain["second"] is None
    run = text_of(pages.get(f"/runs/{RUN}").text)
    assert run.count("takes two people") == 1, "skipping does, nothing else"
    asked = text_of(pages.get(f"/runs/{RUN}/act/skip?step=charge&result=7").text)
    assert "This takes two people. The button only asks for it" in asked
    assert "One of the admin has to approve it within 2h" in asked
    assert "Ask for a second person Don't" in asked
    retry = text_of(pages.get(f"/runs/{RUN}/act/retry?step=charge").text)
    assert "two people" not in retry
    assert "Retry Don't" in retry


def test_the_preview_of_many_says_who_waits(desks: Desks) -> None:
    body = {"operation": "retry", "runs": [{"run": RUN}]}
    seen = desks.http().post("/api/v1/bulk/preview", json=body).json()["sum"]
    assert (seen["second"], seen["whole"]) == (1, {"approvers": [], "expires_s": 86_400.0})
    page = text_of(desks.browser().get(f"/bulk?operation=retry&run={RUN}").text)
    assert "This takes two people. 1 run each waits until somebody else approves it" in page


def test_what_nobody_approved_in_time_is_offered_no_more(desks: Desks) -> None:
    first = desks.browser(Role.OPERATOR)
    form = first.get(f"/bulk?operation=retry&run={RUN}")
    place = first.post("/bulks", data=hidden(form.text) | {"run": f"{RUN}:9"}).headers["location"]
    desks.clock += 1
    desks.turns(4)
    desks.clock += 86_401
    second = desks.browser(Role.ADMIN)
    assert "Nothing waits for a second person" in text_of(second.get("/approvals").text)
    page = text_of(second.get(place).text)
    assert "Nobody approved it until" in page
    assert ("Approve" in page.partition("Reason")[2], "Abort" in page) == (False, True)
