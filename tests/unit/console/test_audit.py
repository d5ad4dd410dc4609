"""The audit and the pausing of runs: from the API and the pages, with the same events as from anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.client import AsyncClient, Client, ClientOptions
from orchestrator.console import Role
from tests.unit.cli.stage import ACTOR
from tests.unit.console.desks import Desks, hidden

RUN = "/api/v1/runs/aaaa1111"


def running(desks: Desks, *runs: str) -> None:
    desks.transport.handler = lambda _: None
    for run in runs:
        desks.launch(run)
    if desks.coordinator is None:
        desks.start()
    desks.turns()


def test_a_run_is_paused_and_resumed_and_both_are_audited(desks: Desks) -> None:
    running(desks, "aaaa1111")
    client = desks.http()
    done = client.post(f"{RUN}/pause", json={"reason": "the bank is down"})
    assert (done.status_code, done.json()["run"]["status"]) == (200, "paused")
    assert client.post(f"{RUN}/pause", json={}).status_code == 409
    assert client.post(f"{RUN}/resume", json={}).json()["run"]["status"] == "running"
    page = desks.http(Role.VIEWER).get("/api/v1/audit").json()
    assert page["intact"] is True
    assert [(e["actor"], e["operation"], e["reason"]) for e in page["entries"]] == [
        ("the operator", "resume", ""),
        ("the operator", "pause", "the bank is down"),
    ]


def test_an_audit_is_limited_to_what_one_may_see(desks: Desks) -> None:
    running(desks, "aaaa1111")
    desks.launch("bbbb2222", saga="other")
    desks.turns()
    for run in ("aaaa1111", "bbbb2222"):
        desks.http().post(f"/api/v1/runs/{run}/pause", json={})
    narrow = desks.http("narrow")
    assert [e["run_id"] for e in narrow.get("/api/v1/audit").json()["entries"]] == ["aaaa1111"]
    assert narrow.get("/api/v1/audit?run=bbbb2222").status_code == 404
    assert desks.http(None).get("/api/v1/audit").status_code == 401


def test_values_are_withheld_from_viewers(desks: Desks) -> None:
    desks.parked()
    desks.http().post("/api/v1/runs/cccc3333/skip", json={"step": "charge", "result": "s3cret"})
    path = "/api/v1/audit?operation=skip"
    assert "s3cret" in desks.http().get(path).text
    shown = desks.http(Role.VIEWER).get(path).json()["entries"][0]
    assert shown["event"]["result"] == "(withheld)"


def test_filters_and_pages_of_an_audit(desks: Desks) -> None:
    running(desks, "aaaa1111")
    client = desks.http()
    client.post(f"{RUN}/pause", json={})
    desks.clock += 60
    client.post(f"{RUN}/resume", json={})

    def found(**params: Any) -> list[str]:
        answer = client.get("/api/v1/audit", params=params)
        assert answer.status_code == 200, answer.text
        return [entry["operation"] for entry in answer.json()["entries"]]

    assert found(operation="pause") == found(older="30s") == ["pause"]
    assert found(since="30s") == found(limit=1) == ["resume"]
    assert found(actor="nobody") == found(saga="other") == found(refused="true") == []
    first = client.get("/api/v1/audit?limit=1").json()
    assert found(cursor=first["cursor"]) == ["pause"]
    for bad in ("operation=dance", "cursor=x", "since=soon", "limit=0"):
        assert client.get(f"/api/v1/audit?{bad}").status_code == 422


def test_the_page_of_the_audit(desks: Desks) -> None:
    running(desks, "aaaa1111")
    empty = desks.browser(Role.VIEWER).get("/audit")
    assert "Nobody did anything" in empty.text
    desks.http().post(f"{RUN}/pause", json={"reason": "<b>down</b>"})
    page = desks.browser(Role.VIEWER).get("/audit?actor=the+operator")
    assert page.status_code == 200
    assert "&lt;b&gt;down&lt;/b&gt;" in page.text
    assert "The hash chain holds" in page.text
    assert desks.browser(Role.VIEWER).get("/audit?since=soon").status_code == 422


def test_a_run_is_paused_from_its_page(desks: Desks) -> None:
    running(desks, "aaaa1111")
    browser = desks.browser()
    assert "/runs/aaaa1111/act/pause" in browser.get("/runs/aaaa1111").text
    asked = browser.get("/runs/aaaa1111/act/pause")
    done = browser.post("/runs/aaaa1111/act/pause", data=hidden(asked.text))
    assert done.status_code == 200
    assert desks.store.find("aaaa1111").status == "paused"
    page = browser.get("/runs/aaaa1111").text
    assert "/runs/aaaa1111/act/resume" in page
    assert "/runs/aaaa1111/act/pause" not in page


@pytest.mark.parametrize("operation", ["pause", "resume"])
def test_the_same_from_cli_api_and_python_gives_the_same_events(
    desks: Desks, operation: str
) -> None:
    runs = ("aaaa1111", "bbbb2222", "cccc3333", "dddd4444")
    running(desks, *runs)
    if operation == "resume":
        desks.run("pause", "--saga", "shop", "--yes")
    python = Client(desks.store, {}, options=ClientOptions("py"), clock=desks.now)
    desks.run(operation, runs[0], "--reason", "why")
    desks.http().post(f"/api/v1/runs/{runs[1]}/{operation}", json={"reason": "why"})
    getattr(python, operation)(runs[2], reason="why")
    asyncio.run(getattr(AsyncClient(python), operation)(runs[3], reason="why"))
    desks.turns()
    last = [desks.store.history(run)[-1].event for run in runs]
    assert [(type(e), e.actor, e.reason) for e in last] == [  # type: ignore[union-attr]
        (type(last[0]), actor, "why") for actor in (ACTOR, "the operator", "py", "py")
    ]
    listed = asyncio.run(AsyncClient(python).audit(limit=4)).entries
    assert {entry.run_id for entry in listed} == set(runs)
    assert python.audit(limit=4).entries == listed
