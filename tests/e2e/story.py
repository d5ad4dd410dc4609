"""What somebody on call does about hundreds of stuck runs, in the browser alone, and what they must see at each stage.

``make story`` tells it over real processes and takes its pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from orchestrator.client import Client
from orchestrator.journal.port import Journal
from tests.e2e.delivery import Fate, break_down, deliver_parcel, fates, mend, orders
from tests.integration.browsing import Browser
from tests.waiting import eventually

WHO = "ann the operator"
GONE = "the release of the post forgot Portugal"
BACK = "release 7.1 knows Portugal"
OPEN = "the bank is open again"
LETTER = "they get a letter"


class Stage(NamedTuple):
    """A running installation, whose shop reads in ``folder`` what is broken."""

    client: Client
    journal: Journal
    folder: Path
    browser: Browser
    picture: Callable[[str], None]
    within_s: float
    """How long all of its runs may take for anything."""

    def told(self, total: int) -> None:
        """All of it: so many runs get stuck, and in the end none is."""
        made = fates(total)
        post, bank, mail = made
        self._break(made)
        self._find(made)
        self._understand(post)
        self._take_on(post)
        self._try_too_early(post)
        self._go_on(post)
        self._give_back(bank)
        self._mend_one_by_hand(mail)
        self._mend_the_rest(mail)
        self._nobody_is_needed(made)
        self._who_did_what(made)

    def _break(self, made: tuple[Fate, ...]) -> None:
        break_down(self.folder, *(fate.broken for fate in made))
        for parcel in orders(made):
            self.client.launch(deliver_parcel, parcel, key=parcel.order)
        total = sum(fate.orders for fate in made)
        eventually(lambda: self._runs("stuck") == total, self.within_s)
        eventually(lambda: self._runs("completed") == total // 4, self.within_s)

    def _find(self, made: tuple[Fate, ...]) -> None:
        """The first page begins with what is the matter, the largest first."""
        page = self.browser
        page.open("/")
        eventually(lambda: self._counts() == [fate.orders for fate in made], 15)
        for text in ("KeyError", "the bank is closed", "the customer has no mail address"):
            page.see(text)
        assert page.text.count("nobody is on it") == len(made)
        page.see(f"{sum(fate.orders for fate in made)} stuck")
        self.picture("story-1-found")

    def _understand(self, fate: Fate) -> None:
        """Where in whose code; and of one run what took effect, what didn't, and what would come next."""
        page = self.browser
        page.press("deliver_parcel at print_label")
        page.see("What is the matter")
        page.see(f"{fate.orders} runs")
        page.see("in tariff_of")
        page.see("return known[country]")
        self.picture("story-2-understood")
        page.press(f"{fate.broken}-")
        page.see("Needs a person")
        for text in ("Took effect", "Not begun", "send_receipt", '"PT"'):
            page.see(text)
        self.picture("story-3-one-of-them")
        page.press("others like it")
        page.see("What is the matter")

    def _take_on(self, fate: Fate) -> None:
        page = self.browser
        page.press("Acknowledge all")
        page.see("It is recorded that you are on it")
        self._because(GONE)
        page.press(f"Acknowledge {fate.orders} runs")
        page.see(f"{fate.orders} sent")
        page.open("/incidents")
        page.see("taken on", self.within_s)
        assert page.text.count("nobody is on it") == 2
        self._open_cluster("print_label")
        page.see(f"ann the operator is on it: {GONE}")

    def _try_too_early(self, fate: Fate) -> None:
        """The canary is stuck again, so nothing else is touched."""
        page = self.browser
        page.press("Retry all")
        page.see("What will happen")
        page.see(f"Runs post.print_label {fate.orders} \u00d7")
        self.picture("story-4-preview")
        self._because(BACK)
        page.press("Carefully")
        page.see("1 of the 1 runs of wave 1 failed")
        page.see(f"waiting {fate.orders - 1}")
        page.see("wave 1: print_label: 'PT'")
        assert self._runs("stuck") >= fate.orders
        self.picture("story-5-canary")

    def _go_on(self, fate: Fate) -> None:
        """Once the post is mended in earnest, the rest, and the canary with it."""
        page = self.browser
        mend(self.folder, fate.broken)
        self._because("now it really is out")
        page.press("Resume")
        page.see(f"done {fate.orders - 1}", self.within_s)
        self.picture("story-6-carefully")
        page.open("/incidents")
        eventually(lambda: 1 in self._counts(), 15)
        self._open_cluster("print_label")
        page.press("Retry all")
        self._because(BACK)
        page.press("Retry 1 run")
        page.see("1 sent")

    def _give_back(self, fate: Fate) -> None:
        """Undos are retried as actions are."""
        page = self.browser
        mend(self.folder, fate.broken)
        page.open("/incidents")
        self._open_cluster("charge")
        page.press("Retry all")
        page.see(f"Undoes bank.charge {fate.orders} \u00d7")
        page.see(f"Ends compensated {fate.orders} \u00d7")
        self._because(OPEN)
        page.press("Carefully")
        page.see(f"done {fate.orders}", self.within_s)

    def _mend_one_by_hand(self, fate: Fate) -> None:
        """What is wrong with the data is mended in the data."""
        page = self.browser
        page.open("/incidents")
        self._open_cluster("send_receipt")
        page.press(f"{fate.broken}-")
        page.see("Needs a person")
        page.press("Retry send_receipt")
        page.see("What will happen")
        page.find("form.panel summary").click()
        page.find("textarea[name=args]").send_keys('{"customer": "eve@example.org"}')
        page.press("Preview")
        page.see("What will happen")
        self._because("asked her")
        page.find("form[method=post].stack button").click()
        page.see("Done")
        page.press("Back to the run")
        page.see("run completed")
        self.picture("story-7-by-hand")

    def _mend_the_rest(self, fate: Fate) -> None:
        page = self.browser
        mend(self.folder, fate.broken)
        page.open("/incidents")
        self._open_cluster("send_receipt")
        page.press("Retry all")
        self._because(LETTER)
        page.press("Carefully")
        page.see(f"done {fate.orders - 1}", self.within_s)

    def _nobody_is_needed(self, made: tuple[Fate, ...]) -> None:
        page = self.browser
        page.open("/")
        page.see("Nobody is needed", self.within_s)
        page.see("0 stuck")
        self.picture("story-8-calm")
        post, bank, mail = (fate.orders for fate in made)
        assert self._runs("stuck") == 0
        assert self._runs("compensated") == bank
        assert self._runs("completed") == post + mail + sum((post, bank, mail)) // 4

    def _who_did_what(self, made: tuple[Fate, ...]) -> None:
        """Each thing that was done, by whom and why, and that the log is as it was written."""
        page = self.browser
        page.open("/audit")
        page.see("The hash chain holds")
        page.see(WHO)
        page.see(LETTER)
        self.picture("story-9-audit")
        page.open(f"/audit?run={made[0].broken}-0&operation=acknowledge")
        page.see(GONE)
        page.open(f"/audit?run={made[1].broken}-0")
        page.see(OPEN)
        page.open("/bulks")
        assert page.text.count("done") >= 3

    def _because(self, reason: str) -> None:
        field = self.browser.find("input[name=reason]")
        field.clear()
        field.send_keys(reason)

    def _open_cluster(self, step: str) -> None:
        self.browser.press(f"deliver_parcel at {step}")
        self.browser.see("What is the matter")

    def _counts(self) -> list[int]:
        """How many runs each cluster of the page has."""
        found = "return [...document.querySelectorAll('.clusters .count')].map(e => e.textContent)"
        return [int(text.replace(",", "")) for text in self.browser.run(found)]

    def _runs(self, status: str) -> int:
        return self.journal.counts().get("deliver_parcel", {}).get(status, 0)
