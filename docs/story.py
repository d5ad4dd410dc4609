"""`make story`: five hundred stuck runs, found, understood, repaired and audited in a headless Chromium alone.

Over real processes: a broker, workers, a coordinator, a console. It fails where a person wouldn't see what they need,
and takes the pictures of docs/incidents.md. ``--all FOLDER`` takes them at two widths, light and dark, into a folder.
"""  # noqa: INP001 - a script beside its pages

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import httpx

from orchestrator import wiring
from orchestrator.cli.broker import free_port
from orchestrator.cli.stack import SAGA, Stack
from orchestrator.settings import ConsoleSettings, Settings
from tests.e2e import delivery
from tests.e2e.story import Stage
from tests.integration.browsing import Browser, browser, tokens
from tests.integration.picturing import picture
from tests.waiting import eventually

IMAGES = Path(__file__).parent / "images"
APP = "tests.e2e.delivery"
WIDE, NARROW = 1280, 400


def main() -> None:
    """Tell it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="how many get stuck")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every look of every picture")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[delivery.FOLDER] = folder
        _told(Path(folder), given.runs, given.all)
    sys.stdout.write(
        f"{given.runs} stuck runs, none in the end: {time.monotonic() - began:.0f} s\n"
    )


def _told(folder: Path, runs: int, everything: Path | None) -> None:
    port = free_port()
    settings = Settings(
        actor="the shop",
        apps=(APP,),
        shards=2,
        log_level="WARNING",
        console=ConsoleSettings(tokens=tokens(), port=port),
    )
    url = f"http://127.0.0.1:{port}"
    console = {"console": [*SAGA, "console"]}
    with Stack(folder / "stack", settings, also=console, say=_say) as stack, browser(url) as page:
        eventually(lambda: _answers(url), 30)
        page.sign_in()
        page.look_as(WIDE, "light")
        client = wiring.client(stack.settings, stack.journal, wiring.definitions([APP]).sagas)
        pictures = _Pictures(page, everything)
        Stage(client, stack.journal, folder, page, pictures.take, within_s=120).told(runs)
        page.open("/services")
        page.see("answers")
        pictures.take("services")


class _Pictures:
    def __init__(self, page: Browser, everything: Path | None) -> None:
        self._page = page
        self._everything = everything

    def take(self, name: str) -> None:
        """The page as it is now."""
        self._page.run("window.scrollTo(0, 0); document.activeElement.blur()")
        if self._everything is None:
            self._write(IMAGES / f"{name}.png", WIDE)
            return
        self._everything.mkdir(parents=True, exist_ok=True)
        for width in (NARROW, WIDE):
            for scheme in ("dark", "light"):
                self._page.look_as(width, scheme)
                self._write(self._everything / f"{name}-{width}-{scheme}.png", width)

    def _write(self, path: Path, width: int) -> None:
        data = picture(self._page, width)
        path.write_bytes(data)
        _say(f"{path.name} {len(data):,} bytes")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
