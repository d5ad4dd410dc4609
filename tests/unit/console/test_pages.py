"""Pages as a browser without JavaScript gets them: everything is said, and every action can be taken."""

from __future__ import annotations

import html
import re
from typing import get_args

import pytest

from orchestrator.console import Role
from orchestrator.console.bars import bars
from orchestrator.console.overview import lines
from orchestrator.console.rendering import MARKS, TONES, ago
from orchestrator.journal import listing
from orchestrator.journal.bulk import BulkState, Outcome
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import Status
from orchestrator.kernel.summary import RunStatus
from orchestrator.views.pulse import Beat, Pulse
from orchestrator.views.steps import NOT_BEGUN, StepView
from orchestrator.views.timeline import Tone
from tests.unit.console.desks import Desks, hidden


def text_of(page: str) -> str:
    """What a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def links(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'href="([^"]+)"', page)]


def test_every_status_has_a_shape_and_a_tone() -> None:
    known = {*get_args(RunStatus), *map(str, Status), NOT_BEGUN, *get_args(Tone)}
    known |= {*get_args(Outcome), *get_args(BulkState)}
    assert known == set(MARKS) == set(TONES)


def test_the_overview_begins_with_who_needs_help(desks: Desks) -> None:
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222")
    page = text_of(desks.browser(Role.VIEWER).get("/").text)
    need = page.index("Needs a person")
    assert page.index("2 shop at reserve", need) < page.index("The last hour")
    assert "the till is broken" in page


def test_an_empty_console_says_so(desks: Desks) -> None:
    client = desks.browser(Role.VIEWER)
    page = text_of(client.get("/").text)
    assert "Nobody is needed" in page
    assert "No coordinator is running" in page
    assert "No run fits" in text_of(client.get("/runs").text)
    assert "No saga was launched yet" in text_of(client.get("/sagas").text)


def test_no_link_on_any_page_leads_nowhere(desks: Desks) -> None:
    desks.stuck()
    desks.parked()
    desks.waiting()
    client = desks.browser(Role.ADMIN)
    seen: set[str] = set()
    todo = ["/"]
    while todo:
        path = todo.pop()
        if path in seen or path.startswith("#"):
            continue
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        if "text/html" in answer.headers["content-type"]:
            todo += links(answer.text)
    assert {"/runs", "/sagas", "/shards", "/runs/aaaa1111"} <= seen
    assert any("/act/skip" in path for path in seen)
    assert any("/act/signal" in path for path in seen)


def test_it_works_where_it_is_mounted(desks: Desks) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from tests.unit.console.desks import PEER, SECRETS

    desks.stuck()
    outer = FastAPI()
    outer.mount("/sagas", desks.app())
    client = TestClient(outer, base_url="http://localhost", client=PEER, follow_redirects=False)
    assert client.get("/sagas/").headers["location"] == "/sagas/login"
    answer = client.post("/sagas/login", data={"token": SECRETS[Role.OPERATOR]})
    assert answer.headers["location"] == "/sagas/"
    assert "Path=/sagas/" in answer.headers["set-cookie"]
    page = client.get("/sagas/runs/aaaa1111").text
    assert all(link.startswith(("/sagas/", "#")) for link in links(page))
    assert client.get("/sagas/static/desk.css").status_code == 200
    assert client.get("/sagas/api/v1/nothing").json()["error"]["message"] == "Not Found"


def test_a_filter_stands_in_the_url_and_in_the_form(desks: Desks) -> None:
    desks.stuck(key="order-1")
    client = desks.browser()
    page = client.get("/runs?status=stuck&text=till&saga=shop&step=reserve").text
    assert 'value="till"' in page
    assert re.search(r'name="status" value="stuck" checked', page)
    assert "order-1" in page
    assert "No run fits" in client.get("/runs?status=completed").text
    assert client.get("/runs?older=soon").status_code == 422


def test_a_list_goes_on_in_pages(desks: Desks) -> None:
    for number in range(51):
        desks.clock += 1
        desks.launch(f"run{number:04d}")
    client = desks.browser()
    page = client.get("/runs?saga=shop").text
    [older] = [link for link in links(page) if "cursor=" in link]
    assert "saga=shop" in older
    assert "run0000" not in page
    assert "run0000" in client.get(older).text


def test_a_search_that_ends_early_says_so_and_goes_on(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 3)
    desks.stuck("rare0000")
    for number in range(4):
        desks.clock += 1
        desks.launch(f"odd{number}")
    client = desks.browser()
    page = client.get("/runs?text=rare").text
    assert "looked for in 3 runs, none of which has it" in text_of(page)
    assert "No run fits" not in page
    [older] = [link for link in links(page) if "cursor=" in link]
    further = client.get(older).text
    assert "rare0000" in further
    assert "looked for" not in further
    answer = client.get("/api/v1/runs?text=rare").json()
    assert (answer["runs"], answer["looked_at"]) == ([], 3)
    assert client.get("/api/v1/runs?text=odd").json()["looked_at"] == 3
    assert "Retry 1 run" in client.get("/bulk?operation=retry&text=rare").text


def test_an_action_is_previewed_then_taken(desks: Desks) -> None:
    desks.stuck()
    desks.mend()
    client = desks.browser()
    [link] = [link for link in links(client.get("/runs/aaaa1111").text) if "/act/retry" in link]
    asked = client.get(link).text
    assert "Undoes reserve svc.reserve" in text_of(asked)
    assert "the run ends compensated" in text_of(asked)
    form = {**hidden(asked), "reason": "mended"}
    done = client.post("/runs/aaaa1111/act/retry", data=form)
    assert done.status_code == 200
    assert "the undo of reserve is retried: mended" in text_of(done.text)
    desks.turns()
    [event] = [
        r.event for r in desks.store.history("aaaa1111") if isinstance(r.event, ev.StepRetried)
    ]
    assert event.actor == "the operator"
    again = client.post("/runs/aaaa1111/act/retry", data=form)
    assert "is retried" in again.text, "a reload sends the form again, and does nothing"
    late = client.post("/runs/aaaa1111/act/retry", data={**form, "key": "another"})
    assert late.status_code == 412
    assert "changed since you looked" in late.text


def test_a_skip_asks_for_its_result_first(desks: Desks) -> None:
    desks.parked()
    client = desks.browser()
    path = "/runs/cccc3333/act/skip?step=charge"
    assert "What will happen" not in client.get(path).text
    wrong = client.get(f"{path}&result=%7Bbad")
    assert (wrong.status_code, "not JSON" in wrong.text) == (422, True)
    asked = client.get(f"{path}&result=%7B%22a%22%3A1%7D").text
    assert "Runs mail svc.mail" in text_of(asked)
    desks.mend()
    client.post("/runs/cccc3333/act/skip", data={**hidden(asked), "reason": ""})
    desks.turns()
    assert desks.store.find("cccc3333").status == "completed"


def test_a_warning_is_shown_and_the_button_says_so(desks: Desks) -> None:
    desks.parked()
    asked = desks.browser().get("/runs/cccc3333/act/resolve?step=charge&undone=true").text
    assert 'role="alert"' in asked
    assert "taken at your word" in asked
    assert "Resolve all the same" in text_of(asked)


def test_a_signal_is_sent_from_its_page(desks: Desks) -> None:
    desks.waiting()
    client = desks.browser()
    asked = client.get("/runs/dddd4444/act/signal?name=approval&data=true&asked=1").text
    client.post("/runs/dddd4444/act/signal", data=hidden(asked))
    assert desks.store.find("dddd4444").status == "completed"


def test_many_are_chosen_previewed_and_changed(desks: Desks) -> None:
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222")
    client = desks.browser()
    asked = client.get("/bulk?operation=retry&stuck=true").text
    assert "Retry 2 runs" in asked
    assert "Undoes svc.reserve 2" in text_of(asked)
    one = client.get("/bulk?operation=retry&run=aaaa1111").text
    runs = re.findall(r'name="run" value="([^"]+)"', one)
    done = client.post("/bulk", data={**hidden(one), "run": runs, "reason": "both"})
    assert "1 sent" in text_of(done.text)
    desks.turns()
    retried = [
        run
        for run in ("aaaa1111", "bbbb2222")
        if any(isinstance(r.event, ev.StepRetried) for r in desks.store.history(run))
    ]
    assert retried == ["aaaa1111"]
    assert client.get("/bulk?operation=retry").status_code == 422
    assert client.get("/bulk?operation=skip&stuck=true").status_code == 422


def test_viewers_are_offered_nothing(desks: Desks) -> None:
    desks.stuck()
    client = desks.browser(Role.VIEWER)
    page = client.get("/runs/aaaa1111").text
    assert "/act/" not in page
    assert "an operator can act" in page
    assert "Retry" not in client.get("/runs").text
    assert client.get("/runs/aaaa1111/act/retry").status_code == 403


def test_the_past_is_shown_and_not_acted_on(desks: Desks) -> None:
    desks.stuck()
    page = desks.browser().get("/runs/aaaa1111?after=2").text
    assert "As it was after event 2" in text_of(page)
    assert "/act/" not in page
    assert "data-stream" not in page


def test_text_of_users_is_never_markup(desks: Desks) -> None:
    desks.stuck(key="<script>alert(1)</script>")
    client = desks.browser()
    for path in ("/", "/runs", "/runs/aaaa1111", "/runs/aaaa1111/act/retry?step=<script>"):
        assert "<script>alert" not in client.get(path).text
        assert "<script>" not in client.get(path).text.replace('<script src="', "")


def test_figures_share_one_scale() -> None:
    pulse = Pulse((Beat(0, launched=10), Beat(60, launched=5, parked=1)), shortened=False)
    by_name = {line.name: line for line in lines(pulse)}
    assert [column[2] for column in by_name["launched"].columns] == [40, 20]
    assert [column[2] for column in by_name["parked"].columns] == [4]
    assert by_name["completed"].columns == ()
    assert by_name["launched"].columns[1][3] == "5 launched, this minute"


def test_bars_lie_where_the_time_was() -> None:
    done = StepView(
        "a", "undone", "call", began_at=10.0, ended_at=15.0, undo_began_at=18.0, undo_ended_at=20.0
    )
    busy = StepView("b", "running", "call", began_at=15.0)
    made = bars([done, busy, StepView("c", NOT_BEGUN, "call")], 10.0, 20.0)
    first, second = made.rows
    assert first.do is not None
    assert first.undo is not None
    assert second.do is not None
    assert (first.do.x, first.do.width, first.do.open) == (0, 500, False)
    assert (first.undo.x, first.undo.width) == (800, 200)
    assert (second.do.x, second.do.width, second.do.open) == (500, 500, True)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s ago"), (59, "59 s ago"), (61, "1m 1s ago")])
def test_ages(seconds: float, text: str) -> None:
    assert ago(1_000.0, 1_000.0 - seconds) == text


def test_the_overview_says_where_open_runs_stand(desks: Desks) -> None:
    desks.waiting("dddd4444")
    desks.clock += 600
    desks.waiting("dddd5555")
    desks.parked()
    flying = desks.http(Role.VIEWER).get("/api/v1/in-flight").json()
    assert [(one["saga"], one["step"], one["number"]) for one in flying["standing"]] == [
        ("waits", "approval", 2),
        ("s", "charge", 1),
    ]
    assert (flying["counted"], flying["more"], flying["oldest"]["oldest"]) == (3, False, "dddd4444")
    page = text_of(desks.browser().get("/").text)
    assert "In flight oldest launched 10m ago" in page
    assert "waits approval 2" in page
    assert desks.http("narrow").get("/api/v1/in-flight").json()["standing"] == []
    desks.http().post("/api/v1/runs/dddd5555/pause", json={})
    desks.clock += 10  # figures are kept for a moment
    assert desks.http().get("/api/v1/in-flight").json()["counted"] == 3, "a paused run is open"
