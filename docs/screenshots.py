"""`make screenshots`: the console's pictures in docs/images, taken in a headless Chromium from a live stack.

The stack is the one that the browser tests use, with runs that end each way; so a picture shows what a test has seen.
"""  # noqa: INP001 - a script beside its pages

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.integration.browsing import Desk, Order, browser, desk
from tests.integration.picturing import picture
from tests.waiting import eventually

IMAGES = Path(__file__).parent / "images"
WIDE, NARROW = 1280, 400


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, desk(Path(folder)) as live:
        _fill(live)
        with browser(live.url) as chromium:
            chromium.sign_in()
            for name, path, width, scheme in _pictures(live):
                chromium.look_as(width, scheme)
                chromium.open(path)
                chromium.run("window.scrollTo(0, 0)")
                time.sleep(1.0)  # slow on purpose: a page's first live news has been shown
                data = picture(chromium, width)
                (IMAGES / f"{name}.png").write_bytes(data)
                sys.stdout.write(f"{name}.png {len(data):,} bytes\n")


def _pictures(live: Desk) -> list[tuple[str, str, int, str]]:
    stuck = live.it.client.get("order-1003").run_id
    waiting = live.it.client.get("order-1000").run_id
    return [
        ("overview", "/", WIDE, "light"),
        ("runs", "/runs", WIDE, "light"),
        ("run", f"/runs/{stuck}", WIDE, "light"),
        ("run-dark", f"/runs/{stuck}", WIDE, "dark"),
        ("run-narrow", f"/runs/{stuck}", NARROW, "light"),
        ("preview", f"/runs/{waiting}/act/cancel", WIDE, "light"),
        ("changes", f"/runs/{stuck}?since=3&after=8", WIDE, "light"),
        ("saga", "/sagas/fulfil_order", WIDE, "light"),
    ]


def _fill(live: Desk) -> None:
    client = live.it.client
    fulfil_order = client.saga("fulfil_order")
    for number in range(24):
        fate = "refused" if number % 8 == 3 else "good"
        name = f"order-{1000 + number}"
        tags = {"shop": ("berlin", "lisbon")[number % 2]}
        client.launch(fulfil_order, Order(name, fate), key=name, tags=tags)
    for number in range(24):
        name = f"order-{1000 + number}"
        if number % 8 == 3:
            eventually(lambda key=name: client.get(key).status == "stuck", 30)  # type: ignore[misc]
            continue
        eventually(lambda key=name: client.get(key).steps == ("approval",), 30)  # type: ignore[misc]
        if number % 4:
            client.signal(name, "approval", True)


if __name__ == "__main__":
    main()
