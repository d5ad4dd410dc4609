"""The console in a real browser on a live stack: every page readable, every repair possible, news without a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains

from orchestrator.kernel import events as ev
from tests.integration.browsing import TOO_WIDE, Browser, Desk, Order, browser, desk
from tests.waiting import eventually

PAGES = (
    "/incidents",
    "/incidents/{cluster}",
    "/",
    "/runs",
    "/runs?stuck=true&text=bank",
    "/runs/refused-0",
    "/runs/refused-0?after=3",
    "/runs/refused-0?since=2&after=5",
    "/runs/refused-0/act/retry?step=charge",
    "/runs/good-0/act/signal?name=approval",
    "/runs/good-0/act/cancel",
    "/bulk?operation=retry&stuck=true",
    "/sagas",
    "/sagas/fulfil_order",
    "/services",
    "/in-doubt",
    "/holds",
    "/approvals",
    "/audit",
    "/bulks",
    "/shards",
    "/nothing",
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("desk")
    with desk(folder) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(live: Desk) -> Iterator[Browser]:
    with browser(live.url) as started:
        started.sign_in()
        yield started


def launched(live: Desk, fate: str, *names: str) -> None:
    """Runs of this fate, waiting or stuck."""
    status = {"good": "running", "refused": "stuck"}[fate]
    at = {"good": ("approval",), "refused": ("charge",)}[fate]
    for name in names:
        saga = live.it.client.saga("fulfil_order")
        live.it.client.launch(saga, Order(name, fate), key=name, tags={"shop": "berlin"})
    for name in names:
        eventually(lambda key=name: live.it.client.get(key).status == status, 20)  # type: ignore[misc]
        eventually(lambda key=name: live.it.client.get(key).steps == at, 20)  # type: ignore[misc]


@pytest.fixture(scope="module")
def filled(live: Desk) -> Desk:
    launched(live, "good", "good-0", "good-1")
    launched(live, "refused", "refused-0", "refused-1")
    return live


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_page_can_be_read(filled: Desk, chromium: Browser, width: int, scheme: str) -> None:
    chromium.look_as(width, scheme)
    cluster = filled.it.client.clusters().clusters[0].cluster
    for path in (page.format(cluster=cluster) for page in PAGES):
        chromium.errors()
        chromium.open(path)
        assert chromium.run(TOO_WIDE) <= 0, path
        assert chromium.run(UNREADABLE) == [], path
        assert chromium.violations() == [], path
        expected = 1 if path == "/nothing" else 0
        assert len(chromium.errors()) == expected, path


def test_a_stuck_run_is_found_understood_and_repaired(live: Desk, chromium: Browser) -> None:
    chromium.look_as(1280, "light")
    launched(live, "refused", "repair-me")
    chromium.open("/")
    chromium.see("fulfil_order at charge")
    chromium.open("/runs?text=repair-me")
    chromium.press("repair-me")
    chromium.see("Needs a person")
    assert "the bank is closed" in chromium.text
    chromium.press("Retry charge")
    chromium.see("What will happen")
    assert "Undoes charge" in chromium.text
    live.bank["open"] = True
    chromium.find("input[name=reason]").send_keys("the bank is open again")
    chromium.find("form.stack button.primary").click()
    chromium.see("Done")
    chromium.press("Back to the run")
    chromium.see("compensated")
    live.bank["open"] = False
    [retried] = [
        record.event
        for record in live.it.client.history("repair-me")
        if isinstance(record.event, ev.StepRetried)
    ]
    assert (retried.actor, retried.reason) == ("ann the operator", "the bank is open again")


def test_a_run_goes_on_before_the_eyes(live: Desk, chromium: Browser) -> None:
    launched(live, "good", "watched")
    chromium.open("/runs/watched")
    chromium.see("live")
    before = chromium.run("return performance.timeOrigin")
    assert "run completed" not in chromium.text
    live.it.client.signal("watched", "approval", True)
    chromium.see("run completed")
    assert chromium.run("return performance.timeOrigin") == before, "the page was loaded anew"


def test_the_overview_counts_without_a_reload(live: Desk, chromium: Browser) -> None:
    chromium.open("/")
    chromium.see("live")
    before = chromium.run("return performance.timeOrigin")
    running = "return document.querySelector('a.tile[href*=\"=running\"] .number').textContent"
    shown = int(chromium.run(running))
    launched(live, "good", "counted")
    chromium.see("counted")
    eventually(lambda: int(chromium.run(running)) == shown + 1, 15)
    assert chromium.run("return performance.timeOrigin") == before


def test_what_somebody_chose_is_not_taken_away_by_news(live: Desk, chromium: Browser) -> None:
    launched(live, "refused", "chosen")
    chromium.open("/runs?stuck=true")
    chromium.see("live")
    chromium.run(
        "document.querySelector('td.pick input').click()"
    )  # found and clicked between two pieces of news
    launched(live, "refused", "newer")
    eventually(
        lambda: chromium.run("return document.querySelectorAll('.pick :checked').length") == 1, 5
    )
    assert "newer" not in chromium.text
    chromium.press("Retry")
    chromium.see("Retry 1 run")


def test_signal_skip_and_cancel_from_their_pages(live: Desk, chromium: Browser) -> None:
    launched(live, "good", "signalled", "cancelled")
    chromium.open("/runs/signalled")
    chromium.press("Signal approval")
    chromium.find("textarea[name=data]").send_keys("true")
    chromium.press("Preview")
    chromium.see("Runs tell")
    chromium.find("form[method=post] button.primary").click()
    chromium.see("signal approval received")
    eventually(lambda: live.it.client.get("signalled").status == "completed", 10)
    live.bank["open"] = True
    chromium.open("/runs/cancelled")
    chromium.press("Cancel the run")
    chromium.see("Undoes ship")
    chromium.find("button.danger").click()
    chromium.see("compensation starts")
    eventually(lambda: live.it.client.get("cancelled").status == "compensated", 10)
    live.bank["open"] = False


def test_a_bulk_operation_goes_on_before_the_eyes(live: Desk, chromium: Browser) -> None:
    launched(live, "refused", "one of two", "two of two")
    live.bank["open"] = True
    chromium.open("/runs?stuck=true&text=of two")
    chromium.press("Retry")
    chromium.see("Undoes money.charge 2")
    chromium.press("Carefully: 1 first, then the rest")
    before = chromium.run("return performance.timeOrigin")
    chromium.see("done 2")
    assert chromium.run("return performance.timeOrigin") == before, "the page was loaded anew"
    live.bank["open"] = False


def test_the_slider_goes_through_time(filled: Desk, chromium: Browser) -> None:
    chromium.open("/runs/refused-0")
    chromium.run(
        "const r = document.querySelector('.slider input'); r.value = 2;"
        "r.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    chromium.see("As it was after event 2")
    chromium.press("Back to now")
    chromium.see("Needs a person")


def test_a_slash_goes_to_the_search(filled: Desk, chromium: Browser) -> None:
    chromium.open("/runs")
    ActionChains(chromium.driver).send_keys("/").perform()
    assert chromium.run("return document.activeElement.name") == "text"


UNREADABLE = """
const part = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const rgba = text => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
};
const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
const behind = e => {
  const found = [];
  for (let at = e; at; at = at.parentElement) {
    const c = rgba(getComputedStyle(at).backgroundColor); if (c[3] > 0) found.push(c); if (c[3] === 1) break;
  }
  return found.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
};
const bad = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('option, title, .hidden')) continue;
  const style = getComputedStyle(e), under = behind(e), ink = over(rgba(style.color), under);
  const [a, b] = [light(ink), light(under)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) bad.push(`${walk.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return bad;
"""
