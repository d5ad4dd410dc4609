"""Every action of the console in a real browser on a live stack: previewed, done, and seen on the page and in the log.

Those that ``test_console_browser`` and ``test_holding_browser`` don't do already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.records import shard_of
from orchestrator.kernel import events as ev
from orchestrator.participant.two_phase.port import Found
from orchestrator.settings import SecondPersonSettings
from orchestrator.transport.gid import Gid
from tests.integration.browsing import (
    SECOND,
    TOO_WIDE,
    Browser,
    Desk,
    Order,
    browser,
    embedded_desk,
    shop,
)
from tests.unit.console.test_around import Database
from tests.waiting import eventually

TWO_PEOPLE = SecondPersonSettings(operations=("skip", "force"))
GONE = "9f" * 16
"""A run that the journal has no record of."""


@pytest.fixture(scope="module")
def database() -> Database:
    return Database(Found(Gid(shard_of(GONE, 2), 0, GONE, "debit"), 90.0, locks=("account",)))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("desk")
    bank = {"open": False}
    with embedded_desk(folder, shop(bank), [database], second_person=TWO_PEOPLE) as (it, url):
        yield Desk(it, url, bank)


@pytest.fixture(scope="module")
def chromium(live: Desk) -> Iterator[Browser]:
    with browser(live.url) as started:
        started.look_as(1280, "dark")
        signed_in(started)
        yield started


def signed_in(chromium: Browser, *secret: str) -> None:
    chromium.sign_in(*secret)
    chromium.errors()  # it says of the form that it has no field for a name: a token is all there is


def waiting(live: Desk, *keys: str, fate: str = "good") -> None:
    """Runs that wait for their approval."""
    client = live.it.client
    for key in keys:
        client.launch(client.saga("fulfil_order"), Order(key, fate), key=key)
    for key in keys:
        eventually(lambda key=key: client.get(key).steps == ("approval",), 20)  # type: ignore[misc]


def mute(live: Desk, *keys: str) -> None:
    """Runs past their pivot, whose last step nobody hears."""
    live.bank["open"] = False
    waiting(live, *keys, fate="mute")
    for key in keys:
        live.it.client.signal(key, "approval", True)
    for key in keys:
        eventually(lambda key=key: live.it.client.get(key).parked == ("tell",), 20)  # type: ignore[misc]


def become(live: Desk, key: str, status: str) -> None:
    eventually(lambda: live.it.client.get(key).status == status, 20)


def last(live: Desk, key: str, kind: type) -> Any:
    return [r.event for r in live.it.client.history(key) if isinstance(r.event, kind)][-1]


def act(chromium: Browser, key: str, button: str, *, sure: str = "") -> None:
    """From the run's page by this button to the preview, and do it."""
    chromium.open(f"/runs/{key}")
    chromium.press(button)
    if sure:
        chromium.see(sure)
    chromium.see("What will happen")
    assert chromium.run(TOO_WIDE) <= 0
    assert chromium.violations() == []
    chromium.find("form[method=post] input[name=reason]").send_keys("as agreed")
    chromium.find("form.stack[method=post] button").click()


def test_a_run_is_paused_and_goes_on(live: Desk, chromium: Browser) -> None:
    waiting(live, "calm")
    act(chromium, "calm", "Pause the run")
    chromium.see("run paused: as agreed")
    become(live, "calm", "paused")
    act(chromium, "calm", "Resume the run")
    chromium.see("run resumed: as agreed")
    become(live, "calm", "running")
    assert last(live, "calm", ev.RunResumed).actor == "ann the operator"


def test_a_run_is_compensated(live: Desk, chromium: Browser) -> None:
    waiting(live, "given up")
    live.bank["open"] = True
    act(chromium, "given up", "Compensate the run", sure="Undoes charge")
    become(live, "given up", "compensated")
    assert last(live, "given up", ev.CompensationStarted).reason == "as agreed"


def test_a_stuck_step_is_taken_on_and_tried_more_often(live: Desk, chromium: Browser) -> None:
    mute(live, "loud")
    act(chromium, "loud", "Acknowledge tell")
    chromium.see("the incident of tell is acknowledged: as agreed")
    chromium.open("/runs/loud")
    chromium.press("Attempts of tell")
    chromium.find("input[name=attempts]").send_keys("3")
    chromium.press("Preview")
    chromium.see("Runs tell")
    chromium.find("form.stack[method=post] button").click()
    chromium.see("may be tried 3 times")
    eventually(lambda: last(live, "loud", ev.StepFailed).attempt == 3, 20)


def test_a_step_is_retried_with_other_arguments(live: Desk, chromium: Browser) -> None:
    mute(live, "misspelt")
    chromium.open("/runs/misspelt")
    chromium.press("Retry tell")
    chromium.find("details summary").click()
    chromium.find("textarea[name=args]").send_keys('{"order": {"id": "right", "fate": "good"}}')
    chromium.press("Preview")
    chromium.see("Runs tell")
    assert chromium.run("return document.querySelector('textarea[name=args]').value") != ""
    chromium.find("form.stack[method=post] button").click()
    chromium.see("is retried with other arguments")
    become(live, "misspelt", "completed")


def test_a_step_is_resolved_as_done(live: Desk, chromium: Browser) -> None:
    mute(live, "told")
    chromium.open("/runs/told")
    chromium.press("Resolve tell as done")
    chromium.find("textarea[name=result]").send_keys("null")
    chromium.press("Preview")
    chromium.see("Changes tell from parked to done")
    chromium.find("form.stack[method=post] button").click()
    chromium.see("tell is resolved as done")
    become(live, "told", "completed")


def test_a_second_person_is_announced_asked_for_and_says_no(live: Desk, chromium: Browser) -> None:
    mute(live, "skipped")
    chromium.open("/runs/skipped")
    chromium.see("go on as if tell had returned this result takes two people")
    assert chromium.text.count("takes two people") == 1
    chromium.press("Skip tell")
    chromium.find("textarea[name=result]").send_keys("null")
    chromium.press("Preview")
    chromium.see("This takes two people. The button only asks for it")
    assert chromium.violations() == []
    chromium.press("Ask for a second person")
    chromium.see("Somebody else has to approve it")
    signed_in(chromium, SECOND)
    chromium.open("/runs/skipped")
    chromium.press("Deny")
    chromium.see("Nothing is done to the run")
    chromium.find("form.stack[method=post] input[name=reason]").send_keys("they want to hear it")
    chromium.find("form.stack[method=post] button").click()
    chromium.see("is denied: they want to hear it")
    assert last(live, "skipped", ev.ApprovalDenied).actor == "bob"
    assert live.it.client.get("skipped").status == "stuck"


def test_a_cluster_is_taken_on_as_a_whole(live: Desk, chromium: Browser) -> None:
    signed_in(chromium)
    mute(live, "one", "other")
    cluster = live.it.client.get("one").incidents[0].cluster
    chromium.open(f"/incidents/{cluster}")
    chromium.press("Acknowledge")
    chromium.see("It is recorded that you are on it")
    chromium.find("form.stack[method=post] button").click()
    eventually(lambda: all(one.acked_at for one in live.it.client.get("other").incidents), 10)
    chromium.open("/incidents")
    chromium.see("taken on")


def test_a_bulk_operation_stops_by_itself_goes_on_and_is_aborted(
    live: Desk, chromium: Browser
) -> None:
    mute(live, *(f"many {n}" for n in range(3)))
    chromium.open("/runs?stuck=true&text=many")
    chromium.press("Retry")
    chromium.see("Retry 3 runs")
    chromium.press("Carefully: 1 first, then the rest")
    chromium.see("1 of the 1 runs of wave 1 failed")
    assert chromium.violations() == []
    chromium.press("Resume")
    chromium.see("2 of the 2 runs of wave 2 failed")
    chromium.press("Abort")
    chromium.see("aborted by ann the operator")


def test_a_branch_in_doubt_is_decided_by_two(
    live: Desk, chromium: Browser, database: Database
) -> None:
    chromium.errors()
    chromium.open("/in-doubt")
    chromium.see("no record")
    assert chromium.violations() == []
    chromium.find("a[aria-label='Roll back debit']").click()
    chromium.see("The journal can't decide it")
    assert chromium.violations() == []
    chromium.find("input[name=reason]").send_keys("void by phone")
    chromium.press("Ask for a second person")
    chromium.see("waits for a second person")
    assert database.told == []
    signed_in(chromium, SECOND)
    eventually(live.it.client.approvals.branches, 10)
    chromium.open("/approvals")
    chromium.press("abort debit")
    chromium.see("ann the operator wants to roll it back: void by phone")
    assert chromium.run(TOO_WIDE) <= 0
    assert chromium.violations() == []
    chromium.press("Roll back all the same")
    chromium.see("debit in bank: rolled back")
    assert database.told == [("abort", "debit")]
    eventually(lambda: live.it.client.audit().entries[0].operation == "decide", 10)
    chromium.open("/audit?operation=decide")
    chromium.see("ann the operator, bob")
    assert chromium.violations() == []
    assert chromium.errors() == []


def test_what_changed_between_two_events_is_a_link_away(live: Desk, chromium: Browser) -> None:
    signed_in(chromium)
    chromium.open("/runs/calm")
    [*_, opened] = chromium.driver.find_elements("css selector", "ol.events details")
    opened.find_element("tag name", "summary").click()
    opened.find_element("tag name", "a").click()
    chromium.see("What changed from event")
    chromium.see("paused running")


def test_a_view_of_the_runs_stands_in_its_address(live: Desk, chromium: Browser) -> None:
    chromium.open("/runs")
    chromium.find("input[name=text]").send_keys("calm")
    chromium.find("input[value=running]").click()
    chromium.press("Filter")
    chromium.see("calm")
    place = chromium.driver.current_url
    assert ("text=calm" in place, "status=running" in place) == (True, True)
    chromium.driver.get(place)
    assert chromium.find("input[value=running]").is_selected()
    assert chromium.find("input[name=text]").get_attribute("value") == "calm"


def test_a_run_is_copied_as_a_test(live: Desk, chromium: Browser) -> None:
    granted = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    chromium.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": granted})
    chromium.open("/runs/told")
    chromium.run("document.querySelector('#as-test-source').closest('details').open = true")
    chromium.press("Copy")
    chromium.see("Copied")
    copied = chromium.driver.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done(String(e)));"
    )
    assert "sagas." in copied


def test_who_signs_out_sees_nothing_more(chromium: Browser) -> None:
    chromium.open("/")
    chromium.press("Sign out")
    chromium.see("Sign in")
    chromium.open("/runs")
    chromium.see("Sign in")
