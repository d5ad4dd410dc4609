"""The HTTP API: what it shows, what it does, and that it does it once, to the run that was looked at."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute

from orchestrator import Service, saga
from orchestrator.console import Role
from orchestrator.console.app import openapi
from orchestrator.kernel import events as ev
from tests.unit.console.desks import Desks

RUN = "/api/v1/runs/aaaa1111"


def of_type(desks: Desks, kind: type, run: str = "aaaa1111") -> list[Any]:
    return [r.event for r in desks.store.history(run) if isinstance(r.event, kind)]


def test_runs_are_listed_in_pages(desks: Desks) -> None:
    for number in range(5):
        desks.clock += 1
        desks.launch(f"run{number}")
    client = desks.http(Role.VIEWER)
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get("/api/v1/runs", params={"limit": 2, "cursor": cursor}).json()
        seen += [run["run_id"] for run in page["runs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [f"run{number}" for number in (4, 3, 2, 1, 0)]
    assert client.get("/api/v1/runs?cursor=nonsense").status_code == 422


def test_runs_are_filtered(desks: Desks) -> None:
    desks.stuck("aaaa1111", key="order-7")
    desks.launch("bbbb2222", saga="other")
    client = desks.http(Role.VIEWER)

    def found(**params: Any) -> list[str]:
        answer = client.get("/api/v1/runs", params=params)
        assert answer.status_code == 200, answer.text
        return [run["run_id"] for run in answer.json()["runs"]]

    assert found(stuck="true") == ["aaaa1111"]
    assert found(status="accepted") == ["bbbb2222"]
    assert found(status=["accepted", "stuck"]) == ["bbbb2222", "aaaa1111"]
    assert found(saga="other") == ["bbbb2222"]
    assert found(key="order-7") == found(text="till") == found(step="reserve") == ["aaaa1111"]
    assert found(older="1m") == ["aaaa1111"]
    assert found(since="1m") == ["bbbb2222"]
    assert found(tag="a=b") == []
    for bad in ({"status": "odd"}, {"older": "soon"}, {"tag": "x"}, {"limit": 0}):
        answer = client.get("/api/v1/runs", params=bad)
        assert answer.status_code == 422
        assert answer.json()["error"]["type"] == "InvalidInputError"


def test_a_run_is_shown_with_its_plan_advice_and_etag(desks: Desks) -> None:
    desks.stuck()
    answer = desks.http().get(RUN)
    shown = answer.json()
    assert answer.headers["etag"] == f'"{shown["length"]}"'
    assert shown["length"] == len(desks.store.history("aaaa1111"))
    assert shown["run"]["status"] == "stuck"
    assert [one["operation"] for one in shown["advice"]] == ["retry", "resolve as undone"]
    steps = {node["step"]["step"]: node["step"]["status"] for node in shown["plan"]["nodes"]}
    assert steps == {"reserve": "undo parked", "charge": "refused"}


def test_a_run_is_shown_as_it_was(desks: Desks) -> None:
    desks.stuck()
    client = desks.http()
    first = client.get(f"{RUN}/state?after=1").json()
    assert (first["run"]["status"], first["after"]) == ("running", 1)
    begin = desks.store.history("aaaa1111")[0].at
    assert client.get(f"{RUN}/state", params={"at": begin}).json()["run"]["status"] != "stuck"
    assert client.get(f"{RUN}/state", params={"at": begin - 1}).status_code == 404
    assert client.get(f"{RUN}/state?at=1&after=1").status_code == 422
    events = client.get(f"{RUN}/events?after=1&limit=2").json()
    assert [entry["type"] for entry in events["events"]] == ["StepSucceeded", "StepRefused"]


def test_drawings_sagas_and_figures(desks: Desks) -> None:
    desks.stuck()
    client = desks.http(Role.VIEWER)
    assert client.get(f"{RUN}/drawing").text.startswith("<svg")
    assert "undo parked" in client.get(f"{RUN}/drawing?format=mermaid").text
    assert client.get("/api/v1/sagas/shop/drawing?version=1").text.startswith("<svg")
    assert client.get("/api/v1/sagas/shop?version=9").status_code == 404
    assert client.get("/api/v1/sagas/shop").json()["saga"] == "shop"
    assert client.get("/api/v1/stats").json()["sagas"][0]["parked"] == 1
    beats = client.get("/api/v1/pulse?minutes=5").json()["beats"]
    assert (len(beats), sum(b["launched"] for b in beats), sum(b["parked"] for b in beats)) == (
        5,
        1,
        1,
    )
    assert client.get("/api/v1/shards").json()["coordinators"] == ["c1"]


def test_an_action_is_carried_out_and_recorded_for_who_asked(desks: Desks) -> None:
    desks.stuck()
    desks.mend()
    done = desks.http().post(f"{RUN}/retry", json={"step": "reserve", "reason": "mended"})
    assert (done.status_code, done.json()["taken"]) == (200, True)
    [event] = of_type(desks, ev.StepRetried)
    assert (event.actor, event.reason) == ("the operator", "mended")
    desks.turns()
    assert desks.store.find("aaaa1111").status == "compensated"


@pytest.mark.parametrize(
    ("operation", "body", "event"),
    [
        ("retry", {"step": "charge", "args": {"a": 2}}, ev.StepRetried),
        ("retry", {}, ev.StepRetried),
        ("skip", {"step": "charge", "result": {"id": 1}}, ev.StepSkipped),
        ("skip", {"step": "charge", "result": None}, ev.StepSkipped),
        ("resolve", {"step": "charge", "result": 1}, ev.StepResolved),
        ("resolve", {"step": "charge", "undone": True}, ev.CompensationStarted),
        ("compensate", {}, ev.CompensationStarted),
        ("cancel", {"reason": "enough"}, ev.CompensationStarted),
    ],
)
def test_what_a_preview_says_is_what_the_action_does(
    desks: Desks, operation: str, body: dict[str, Any], event: type
) -> None:
    desks.parked()
    client = desks.http()
    path = "/api/v1/runs/cccc3333"
    said = client.post(f"{path}/preview", json={"operation": operation, **body})
    assert said.status_code == 200, said.text
    if said.json()["refused"]:
        assert client.post(f"{path}/{operation}", json=body).status_code == 409
        assert said.json()["refused"] in client.post(f"{path}/{operation}", json=body).text
        return
    length = said.json()["length"]
    answer = client.post(
        f"{path}/{operation}", json=body, headers={"If-Match": said.headers["etag"]}
    )
    assert answer.status_code == 200, answer.text
    happened = [r.type for r in desks.store.history("cccc3333")]
    assert tuple(happened[length : length + len(said.json()["events"])]) == tuple(
        said.json()["events"]
    )
    assert of_type(desks, event, "cccc3333")


@pytest.mark.parametrize(
    ("operation", "body", "says"),
    [
        ("skip", {"step": "charge"}, "skip needs result"),
        ("skip", {"result": 1}, "skip needs step"),
        ("resolve", {"step": "charge"}, "either a result or undone"),
        ("resolve", {"step": "charge", "undone": True, "result": 1}, "either a result or undone"),
        ("cancel", {"step": "charge"}, "cancel takes nothing but a reason, not step"),
        ("signal", {"data": 1}, "signal needs name"),
        ("retry", {"sttep": "charge"}, "sttep"),
        ("explode", {}, "operation"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused_with_the_way_out(
    desks: Desks, operation: str, body: dict[str, Any], says: str
) -> None:
    desks.stuck()
    answer = desks.http().post(f"{RUN}/{operation}", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]


def test_a_run_that_changed_since_is_not_acted_on(desks: Desks) -> None:
    desks.stuck()
    desks.mend()
    client = desks.http()
    looked = client.get(RUN).headers["etag"]
    assert client.post(f"{RUN}/retry", json={}, headers={"If-Match": looked}).status_code == 200
    desks.turns()
    length = len(desks.store.history("aaaa1111"))
    again = client.post(f"{RUN}/cancel", json={}, headers={"If-Match": looked})
    assert again.status_code == 412
    assert again.json()["run"]["status"] == "compensated"
    assert again.headers["etag"] == f'"{length}"'
    assert len(desks.store.history("aaaa1111")) == length
    assert client.post(f"{RUN}/cancel", json={}, headers={"If-Match": "x"}).status_code == 422


def test_a_run_that_changes_before_the_coordinator_takes_it_is_not_acted_on(desks: Desks) -> None:
    """The window between looking and doing: two colleagues press the button at once."""
    desks.stuck()
    client = desks.http(wait_s=0.0)
    looked = client.get(RUN).headers["etag"]
    first = client.post(f"{RUN}/retry", json={}, headers={"If-Match": looked})
    second = client.post(
        f"{RUN}/retry", json={}, headers={"If-Match": looked, "Idempotency-Key": "second"}
    )
    assert (first.status_code, second.status_code) == (202, 202)
    desks.turns()
    assert len(of_type(desks, ev.StepRetried)) == 1
    [refused] = of_type(desks, ev.OperationRefused)
    assert "changed since" in refused.why
    told = client.post(
        f"{RUN}/retry", json={}, headers={"If-Match": looked, "Idempotency-Key": "second"}
    )
    assert told.status_code == 412


def test_a_request_sent_twice_under_one_key_is_carried_out_once(desks: Desks) -> None:
    desks.stuck()
    client = desks.http()
    key = {"Idempotency-Key": "k1"}
    answers = [client.post(f"{RUN}/retry", json={}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["events"] == answers[1].json()["events"]
    assert len(of_type(desks, ev.StepRetried)) == 1
    other = client.post(f"{RUN}/cancel", json={}, headers=key)
    assert (other.status_code, other.json()["error"]["type"]) == (409, "KeyReusedError")


def test_a_key_is_remembered_by_another_process_and_while_nobody_takes_it(desks: Desks) -> None:
    desks.stuck()
    key = {"Idempotency-Key": "k1"}
    coordinator, desks.coordinator = desks.coordinator, None
    for _ in range(2):  # each its own app, so nothing in memory helps
        answer = desks.http(wait_s=0.0).post(f"{RUN}/retry", json={}, headers=key)
        assert (answer.status_code, answer.json()["taken"]) == (202, False)
    desks.coordinator = coordinator
    desks.turns()
    assert len(of_type(desks, ev.StepRetried)) == 1
    assert of_type(desks, ev.OperationRefused) == [], "the copy isn't even refused"


def test_a_key_of_one_is_not_a_key_of_another(desks: Desks) -> None:
    desks.stuck()
    key = {"Idempotency-Key": "k1"}
    desks.http().post(f"{RUN}/retry", json={}, headers=key)
    desks.turns(30)
    desks.clock += 1_000
    desks.turns(30)
    desks.http(Role.ADMIN).post(f"{RUN}/retry", json={}, headers=key)
    assert [event.actor for event in of_type(desks, ev.StepRetried)] == [
        "the operator",
        "the admin",
    ]


def test_a_signal_is_received_once(desks: Desks) -> None:
    desks.waiting()
    client = desks.http()
    path = "/api/v1/runs/dddd4444/signal"
    body = {"name": "approval", "data": {"granted": True}}
    for _ in range(2):
        answer = client.post(path, json=body, headers={"Idempotency-Key": "s1"})
        assert answer.status_code == 200, answer.text
    assert len(of_type(desks, ev.SignalReceived, "dddd4444")) == 1
    assert desks.store.find("dddd4444").status == "completed"
    assert client.post(path, json=body).status_code == 409


def test_many_runs_at_once_each_checked_by_itself(desks: Desks) -> None:
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222")
    desks.waiting()
    client = desks.http()
    desks.fail("reserve")
    asked = {"operation": "retry", "filter": {"stuck": True}, "reason": "all"}
    said = client.post("/api/v1/bulk/preview", json=asked).json()
    assert (said["matched"], said["sum"]["undoes"]) == (2, {"svc.reserve": 2})
    runs = [{"run": run, "etag": f'"{length}"'} for run, length, _ in said["runs"]]
    stale = {"run": "dddd4444", "etag": '"1"'}
    body = {"operation": "retry", "runs": [*runs, stale, {"run": "nobody"}]}
    done = client.post("/api/v1/bulk", json=body, headers={"Idempotency-Key": "b"}).json()
    assert [item["outcome"] for item in done["items"]] == ["sent", "sent", "changed", "not found"]
    desks.turns()
    client.post("/api/v1/bulk", json=body, headers={"Idempotency-Key": "b"})
    desks.turns()
    assert (
        len(of_type(desks, ev.StepRetried)) == len(of_type(desks, ev.StepRetried, "bbbb2222")) == 1
    )
    for bad in ({"operation": "retry"}, {"operation": "retry", "filter": {}}):
        assert client.post("/api/v1/bulk", json=bad).status_code == 422
    skip = {"operation": "skip", "filter": {"stuck": True}}
    assert client.post("/api/v1/bulk", json=skip).status_code == 422


def test_a_launch_is_made_once(desks: Desks) -> None:
    kitchen = Service("kitchen")

    @kitchen.participant
    def cook(dish: str) -> str:
        return dish

    @cook.undo
    def bin_it(dish: str) -> None: ...

    @saga(version=1)
    def dinner(dish: str) -> str:
        return cook(dish)

    desks.sagas = {"dinner": dinner}
    client = desks.http()
    body = {"saga": "dinner", "input": {"dish": "soup"}, "tags": {"table": "7"}}
    first = client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": "order-1"})
    second = client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": "order-1"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["run"]["run_id"] == second.json()["run"]["run_id"]
    assert first.json()["run"]["key"] == "order-1"
    assert client.post("/api/v1/runs", json={"saga": "lunch"}).status_code == 404
    wrong = client.post("/api/v1/runs", json={"saga": "dinner", "input": {"dish": 7}})
    assert wrong.status_code == 422
    clash = client.post("/api/v1/runs", json={**body, "key": "a"}, headers={"Idempotency-Key": "b"})
    assert clash.status_code == 422


SECRET = "4111-1111-1111-1111"


def test_viewers_see_no_values(desks: Desks) -> None:
    from tests.unit.coordinator.scripted import answer

    desks.stuck()
    (cluster,) = desks.store.clusters().clusters
    desks.parked()
    desks.transport.handler = lambda work: answer(work, result={"card": SECRET})
    client = desks.http()
    body = {"step": "charge", "args": {"a": SECRET}}
    assert client.post("/api/v1/runs/cccc3333/retry", json=body).status_code == 200
    desks.turns(12)
    desks.waiting()
    desks.http().post("/api/v1/runs/dddd4444/signal", json={"name": "approval", "data": SECRET})
    retried = {"operation": "retry", "runs": [{"run": "cccc3333"}]}
    bulk = client.post("/api/v1/bulks", json=retried).json()["id"]
    reads = [
        route.path.replace("{run}", run)
        .replace("{saga}", "waits")
        .replace("{cluster}", cluster.cluster)
        .replace("{bulk}", bulk)
        for route in desks.app().routes
        if isinstance(route, APIRoute)
        and "GET" in (route.methods or ())
        and "stream" not in route.path
        for run in ("cccc3333", "dddd4444")
    ]
    shown = {path: client.get(path).text for path in reads}
    assert any(SECRET in text for text in shown.values()), "the operator does see it"
    viewer = desks.http(Role.VIEWER)
    for path in reads:
        answered = viewer.get(path)
        assert answered.status_code in {200, 403}, path
        assert SECRET not in answered.text, path
    assert (
        SECRET
        in desks.http(Role.VIEWER, viewers_see_values=True).get("/api/v1/runs/cccc3333/events").text
    )


def test_the_description_covers_every_route(desks: Desks) -> None:
    app = desks.app()
    document = openapi(app)
    routes = {
        route.path
        for route in app.routes
        if isinstance(route, APIRoute)
        and route.path.startswith("/api/")
        and route.include_in_schema
    }
    assert set(document["paths"]) == routes
    assert "RunLook" in document["components"]["schemas"]
    assert desks.http(Role.VIEWER).get("/api/v1/openapi.json").json()["paths"].keys() == routes


def test_a_problem_is_json_and_says_no_more_than_it_should(desks: Desks) -> None:
    answer = desks.http().get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
