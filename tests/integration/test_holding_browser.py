"""Holds, and what takes two people, in a real browser: from the page with the button to what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.kernel import events as ev
from orchestrator.settings import SecondPersonSettings
from tests.integration.browsing import SECOND, TOO_WIDE, Browser, Desk, Order, browser, desk
from tests.waiting import eventually

TWO_PEOPLE = SecondPersonSettings(operations=("resolve",))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("desk")
    with desk(folder, second_person=TWO_PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(live: Desk) -> Iterator[Browser]:
    with browser(live.url) as started:
        started.look_as(400, "dark")
        yield started


def launched(live: Desk, key: str, fate: str) -> None:
    live.it.client.launch(live.it.client.saga("fulfil_order"), Order(key, fate), key=key)


def signed_in(chromium: Browser, *secret: str) -> None:
    chromium.sign_in(*secret)
    chromium.errors()  # it says of the form that it has no field for a name: a token is all there is


def assert_readable(chromium: Browser) -> None:
    assert chromium.run(TOO_WIDE) <= 0
    assert chromium.violations() == []
    assert chromium.errors() == []


def test_a_saga_is_held_and_released(live: Desk, chromium: Browser) -> None:
    launched(live, "first", "good")  # only what has been launched has a page
    eventually(lambda: live.it.client.get("first").steps == ("approval",), 20)
    signed_in(chromium)
    chromium.open("/sagas/fulfil_order")
    chromium.press("Hold fulfil_order")
    chromium.see("No run of it goes forward")
    assert_readable(chromium)
    chromium.find("input[name=reason]").send_keys("the price is wrong")
    chromium.press("Hold saga fulfil_order")
    chromium.see("the price is wrong")
    assert_readable(chromium)
    launched(live, "waits", "good")
    chromium.open("/runs/waits")
    chromium.see("held")
    assert live.it.client.get("waits").steps == ()
    chromium.open("/holds")
    chromium.find("table a.button").click()
    chromium.see("Its runs go on")
    chromium.press("Release saga fulfil_order")
    chromium.see("released")
    eventually(lambda: live.it.client.get("waits").steps == ("approval",), 20)


def test_what_takes_two_people_is_asked_for_and_approved(live: Desk, chromium: Browser) -> None:
    launched(live, "both", "refused")
    eventually(lambda: live.it.client.get("both").status == "stuck", 20)
    signed_in(chromium)
    chromium.open("/runs/both")
    chromium.press("Resolve charge as undone")
    chromium.see("What will happen")
    chromium.find("input[name=reason]").send_keys("refunded by hand")
    chromium.find("form.stack button").click()
    chromium.see("This takes two people")
    assert_readable(chromium)
    assert live.it.client.get("both").status == "stuck"
    signed_in(chromium, SECOND)
    chromium.open("/approvals")
    chromium.see("refunded by hand")
    assert_readable(chromium)
    chromium.press("resolve charge")
    chromium.see("What will happen")
    assert_readable(chromium)
    chromium.find("form.stack button").click()
    chromium.see("Done")
    eventually(lambda: live.it.client.get("both").status == "compensated", 20)
    events = [record.event for record in live.it.client.history("both")]
    [given] = [event for event in events if isinstance(event, ev.ApprovalGiven)]
    [asked] = [event for event in events if isinstance(event, ev.ApprovalAsked)]
    assert (asked.actor, given.actor) == ("ann the operator", "bob")
