"""Incidents in the API and on the pages: by cause first, then the runs, what each needs, and who is on it."""

from __future__ import annotations

import html
import re
from typing import Any

from orchestrator.console import Role
from orchestrator.console.redaction import WITHHELD
from orchestrator.kernel.events import Failure
from orchestrator.transport.messages import Answer, Work
from tests.unit.console.desks import Desks, hidden
from tests.unit.coordinator.scripted import answer

TRACE = "Traceback (most recent call last): secret"


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def two_causes(desks: Desks) -> tuple[str, str]:
    """Two runs stuck for one cause, one for another; their clusters, the larger first."""
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222")
    desks.parked("cccc3333")
    clusters = desks.http(Role.VIEWER).get("/api/v1/incidents").json()["clusters"]
    assert [one["runs"] for one in clusters] == [2, 1]
    return clusters[0]["cluster"], clusters[1]["cluster"]


def with_traceback(desks: Desks) -> None:
    def handler(work: Work) -> Answer:
        if work.kind == "undo":
            broken = Failure("shop.Broken", "the till is broken", traceback=TRACE, frame="shop:pay")
            return answer(work, "failed", failure=broken)
        if work.step == "charge":
            return answer(work, "refused", failure=Failure("shop.No", "no money"))
        return answer(work, result={"step": work.step}, took_s=0.01)

    desks.transport.handler = handler


def test_clusters_are_listed_with_what_is_the_matter_and_paged(desks: Desks) -> None:
    many, few = two_causes(desks)
    client = desks.http(Role.VIEWER)
    first = client.get("/api/v1/incidents", params={"limit": 1}).json()
    (one,) = first["clusters"]
    assert (one["cluster"], one["saga"], one["step"], one["kind"]) == (
        many,
        "shop",
        "reserve",
        "undo",
    )
    assert (one["message"], one["acked"]) == ("the till is broken", 0)
    second = client.get("/api/v1/incidents", params={"limit": 1, "cursor": first["cursor"]}).json()
    assert ([x["cluster"] for x in second["clusters"]], second["cursor"]) == ([few], None)
    assert client.get("/api/v1/incidents", params={"cursor": "junk"}).status_code == 422


def test_a_cluster_has_its_runs(desks: Desks) -> None:
    many, _ = two_causes(desks)
    client = desks.http(Role.VIEWER)
    seen = client.get(f"/api/v1/incidents/{many}").json()
    assert {run["run_id"] for run in seen["runs"]} == {"aaaa1111", "bbbb2222"}
    assert client.get("/api/v1/incidents/nothing").status_code == 404
    listed = client.get("/api/v1/runs", params={"cluster": many}).json()["runs"]
    assert [run["run_id"] for run in listed] == [run["run_id"] for run in seen["runs"]]


def test_who_may_not_see_a_saga_sees_none_of_its_incidents(desks: Desks) -> None:
    many, few = two_causes(desks)
    desks.stuck("eeee5555", saga="hidden")
    client = desks.http("narrow")
    seen = {one["cluster"] for one in client.get("/api/v1/incidents").json()["clusters"]}
    assert seen == {many}
    everything = {
        one["cluster"] for one in desks.http().get("/api/v1/incidents").json()["clusters"]
    }
    (other,) = everything - {many, few}
    for unseen in (few, other):
        assert client.get(f"/api/v1/incidents/{unseen}").status_code == 404
    assert client.get("/api/v1/incidents", params={"saga": "hidden"}).json()["clusters"] == []
    assert other not in client.get("/incidents", headers={"Accept": "text/html"}).text


def test_a_run_says_what_it_needs_and_a_viewer_gets_no_traceback(desks: Desks) -> None:
    desks.stuck()
    with_traceback(desks)
    assert desks.http().post("/api/v1/runs/aaaa1111/retry", json={}).status_code == 200
    for _ in range(12):
        desks.turns(3)
        desks.clock += 10

    def need(role: Role) -> dict[str, Any]:
        found: dict[str, Any] = desks.http(role).get("/api/v1/runs/aaaa1111").json()["need"]
        return found

    seen = need(Role.OPERATOR)
    (trouble,) = seen["incidents"]
    assert trouble["errors"][-1]["traceback"] == TRACE
    assert trouble["incident"]["frame"] == "shop:pay"
    assert {one["step"]: one["stands"] for one in seen["effects"]} == {
        "reserve": "took effect",
        "charge": "no effect",
    }
    assert seen["waits"] == ["reserve waits for a person: retry or resolve as undone"]
    (withheld,) = need(Role.VIEWER)["incidents"]
    assert {error["traceback"] for error in withheld["errors"]} <= {WITHHELD, ""}
    cluster = trouble["incident"]["cluster"]
    for path in ("/runs/aaaa1111", f"/incidents/{cluster}", f"/api/v1/incidents/{cluster}"):
        assert "secret" not in desks.browser(Role.VIEWER).get(path).text
    assert "secret" in desks.browser().get(f"/incidents/{cluster}").text


def test_acknowledging_says_who_is_on_it(desks: Desks) -> None:
    many, few = two_causes(desks)
    client = desks.http()
    done = client.post("/api/v1/runs/aaaa1111/acknowledge", json={"reason": "mine"}).json()
    assert done["events"] == ["the incident of reserve is acknowledged: mine"]
    assert done["run"]["incidents"][0]["acked_by"] == "the operator"
    again = client.post("/api/v1/runs/aaaa1111/acknowledge", json={})
    assert (again.status_code, "before" in again.text) == (409, True)
    body = {"operation": "acknowledge", "filter": {"cluster": many}}
    assert client.post("/api/v1/bulk", json=body).json()["sent"] == 1
    desks.turns(2)
    clusters = client.get("/api/v1/incidents").json()["clusters"]
    assert [(one["cluster"], one["acked"]) for one in clusters] == [(few, 0), (many, 2)]


def test_the_pages_go_from_the_cause_to_the_bulk_preview(desks: Desks) -> None:
    many, _ = two_causes(desks)
    client = desks.browser()
    listed = text_of(client.get("/incidents").text)
    assert listed.index("2 shop at reserve") < listed.index("1 s at charge")
    assert "nobody is on it" in listed
    page = client.get(f"/incidents/{many}").text
    assert "the till is broken" in text_of(page)
    assert f'name="cluster" value="{many}"' in page
    asked = client.get("/bulk", params={"cluster": many, "operation": "acknowledge"})
    assert "Acknowledge 2 runs" in text_of(asked.text)
    form = hidden(asked.text)
    assert form["cluster"] == many
    runs = re.findall(r'name="run" value="([^"]+)"', asked.text)
    done = client.post("/bulk", data={**form, "run": runs, "reason": "we are on it"})
    assert "2 sent" in text_of(done.text)
    desks.turns(2)
    assert "the operator is on it: we are on it" in text_of(client.get(f"/incidents/{many}").text)
    assert "the operator is on it" in text_of(client.get("/runs/aaaa1111").text.lower())


def test_the_run_page_says_what_took_effect_and_what_it_waits_for(desks: Desks) -> None:
    desks.stuck()
    page = text_of(desks.browser(Role.VIEWER).get("/runs/aaaa1111").text)
    for said in ("Took effect reserve", "No effect charge", "Waits reserve waits for a person"):
        assert said in page


def test_without_incidents_nobody_is_needed(desks: Desks) -> None:
    assert "Nobody is needed" in text_of(desks.browser(Role.VIEWER).get("/incidents").text)
