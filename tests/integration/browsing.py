"""A live stack with a console on it, and a Chromium to look at it with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import uvicorn
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from orchestrator import Refused, Retry, Service, parallel, saga, wait_for
from orchestrator.console.access import digest
from orchestrator.definition.action import Action
from orchestrator.settings import ConsoleSettings, Settings, TokenSettings
from orchestrator.wiring import Definitions, Embedded, console_app, embedded
from tests.tables import make_tables
from tests.waiting import eventually

SECRETS = {"viewer": "look", "operator": "repair"}
SECOND = "approve"
"""Of somebody else, who is an operator too."""
HEIGHT = 900
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""By how many pixels the page is wider than the window."""
AXE = files("axe_core_python").joinpath("axe.min.js").read_text()
BRIEF = Retry(attempts=2, initial=0.01, cap=0.02)


class Order(msgspec.Struct):
    """What is bought."""

    id: str
    fate: str = "good"


class Desk(NamedTuple):
    """The running stack, where its console is, and what its bank does."""

    it: Embedded
    url: str
    bank: dict[str, bool]


def money(bank: dict[str, bool]) -> tuple[Service, Action[[Order], str]]:
    """A bank that gives nothing back while it is closed."""
    service = Service("money")

    @service.participant(retry=BRIEF)
    def charge(order: Order) -> str:
        return "receipt"

    @charge.undo(retry=BRIEF)
    def refund(order: Order) -> None:
        if not bank["open"]:
            raise ConnectionError("the bank is closed")

    return service, charge


def shop(bank: dict[str, bool]) -> Definitions:
    """One saga of five steps over two services; ``fate`` says what becomes of an order."""
    goods = Service("goods")
    service, charge = money(bank)

    @goods.participant
    def reserve(order: Order) -> str:
        return f"hold {order.id}"

    @reserve.undo
    def release(order: Order) -> None: ...

    @goods.participant(read_only=True)
    def weigh(order: Order) -> int:
        return 7

    @goods.participant(retry=BRIEF)
    def ship(order: Order, weight: int) -> str:
        if order.fate == "refused":
            raise Refused("no such address")
        return "parcel"

    @ship.undo
    def recall(order: Order, weight: int) -> None: ...

    @goods.participant(retry=BRIEF)
    def tell(order: Order) -> None:
        if order.fate == "mute" and not bank["open"]:
            raise ConnectionError("the post is closed")

    @saga(version=1)
    def fulfil_order(order: Order) -> str:
        reserve(order)
        with parallel():
            charge(order)
            weight = weigh(order)
        parcel = ship(order, weight)
        wait_for("approval", bool)
        tell.pivot(order)
        return parcel

    return Definitions({"fulfil_order": fulfil_order}, [goods, service])


def tokens() -> tuple[TokenSettings, ...]:
    """Those whom the console lets in."""
    ann = (
        TokenSettings(name=f"ann the {role}", sha256=digest(secret), role=role)  # type: ignore[arg-type]
        for role, secret in SECRETS.items()
    )
    return (*ann, TokenSettings(name="bob", sha256=digest(SECOND), role="operator"))


@contextmanager
def desk(folder: Path, **settings: Any) -> Iterator[Desk]:
    """Run it all."""
    bank = {"open": False}
    definitions = shop(bank)
    with embedded_desk(folder, definitions, **settings) as (it, url):
        yield Desk(it, url, bank)


@contextmanager
def embedded_desk(
    folder: Path, definitions: Definitions, services: Sequence[Any] = (), **more: Any
) -> Iterator[tuple[Embedded, str]]:
    """These sagas in this process, and where their console is; ``services`` may hold branches in doubt."""
    settings = Settings(
        journal_url=f"sqlite:///{folder}/journal.db",
        actor="the shop",
        shards=2,
        console=ConsoleSettings(tokens=tokens()),
        **more,
    )
    make_tables(settings.journal_url, settings.shards)
    with embedded(definitions, settings) as it:
        app = console_app(settings, it.journal, definitions.sagas, poke=it.poke, services=services)
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, name="console")
        thread.start()
        try:
            eventually(lambda: server.started, 20)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield it, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


class Browser:
    """A headless Chromium."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        """Go to a page of the console."""
        self.driver.get(self.url + path)

    def sign_in(self, secret: str = SECRETS["operator"]) -> None:
        """As a person would, in a browser that knows nobody."""
        self.driver.delete_all_cookies()
        self.open("/")
        self.find("input[name=token]").send_keys(secret)
        self.press("Sign in")
        self.see("Overview")

    def look_as(self, width: int, scheme: str) -> None:
        """Have a window so wide, and the system light or dark."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False},
        )
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # what fades in is grey at first
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, css: str) -> WebElement:
        """One element, that has to be there."""
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def press(self, text: str) -> None:
        """The first button or link that begins so."""
        path = f"//*[self::a or self::button][starts-with(normalize-space(.), '{text}')]"
        self.driver.find_element(By.XPATH, path).click()

    @property
    def text(self) -> str:
        """All that can be read."""
        found = self.driver.execute_script("return document.body.innerText")
        return " ".join(str(found).split())

    def see(self, text: str, within_s: float = 15) -> None:
        """Wait until the page says this."""
        try:
            eventually(lambda: text in self.text, within_s)
        except AssertionError as error:
            raise AssertionError(f"not within {within_s:g} s: {text!r} in {self.text!r}") from error

    def run(self, script: str, *given: Any) -> Any:
        """The value of some JavaScript."""
        return self.driver.execute_script(script, *given)

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.1 AA, and against good practice."""
        self.driver.execute_script(AXE)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(r => done(r.violations));"
        )
        return [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]]

    def errors(self) -> list[str]:
        """What the browser complained about since the last time."""
        return [
            entry["message"]
            for entry in self.driver.execute("getLog", {"type": "browser"})["value"]
        ]


@contextmanager
def browser(url: str) -> Iterator[Browser]:
    """Start one; skips where there is no Chromium, which in CI is a failure."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs a browser: install chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    chrome = Chrome(options=options, service=Driver(driver))
    try:
        yield Browser(chrome, url)
    finally:
        chrome.quit()
