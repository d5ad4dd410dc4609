"""`make screenshots`: the console's pictures in docs/images, taken in a headless Chromium from a live stack.

The stack is the one that the browser tests use, with runs that end each way; so a picture shows what a test has seen.
"""  # noqa: INP001 - a script beside its pages

from __future__ import annotations

import base64
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

from tests.integration.browsing import Browser, Desk, Order, browser, desk
from tests.waiting import eventually

IMAGES = Path(__file__).parent / "images"
WIDE, NARROW, HEIGHT = 1280, 400, 860
_LEVELS = 64
"""Of each colour: text stays as sharp, and a picture gets half as large."""


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
                data = _smaller(_taken(chromium, width))
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


def _taken(chromium: Browser, width: int) -> bytes:
    tall = chromium.run("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(int(tall), HEIGHT), "scale": 1}
    given = {"captureBeyondViewport": True, "clip": clip}
    shot = chromium.driver.execute_cdp_cmd("Page.captureScreenshot", given)
    return base64.b64decode(shot["data"])


def _smaller(png: bytes) -> bytes:
    """The same picture with fewer colours, packed as well as zlib can. Chromium's PNGs are 8-bit RGB or RGBA."""
    at, body, head = 8, b"", b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunk = png[at + 8 : at + 8 + length]
        head = chunk if kind == b"IHDR" else head
        body += chunk if kind == b"IDAT" else b""
        at += length + 12
    width, height, _, colours = struct.unpack(">IIBB", head[:10])
    pixel = 3 if colours == 2 else 4
    rows = _unfiltered(zlib.decompress(body), width * pixel, height, pixel)
    step = 256 // _LEVELS
    coarse = bytes(
        min(255, value // step * step + step // 2) if value < 250 else 255 for value in range(256)
    )
    packed, before = bytearray(), bytes(width * pixel)
    for row in rows:
        now = row.translate(coarse)
        packed.append(2)  # the difference to the row above
        packed += bytes((a - b) & 255 for a, b in zip(now, before, strict=True))
        before = now
    made = zlib.compress(bytes(packed), 9)
    return png[:8] + _chunk(b"IHDR", head) + _chunk(b"IDAT", made) + _chunk(b"IEND", b"")


def _unfiltered(data: bytes, length: int, height: int, pixel: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytes(length)
    for number in range(height):
        start = number * (length + 1)
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + length])
        for i in range(length):
            left = row[i - pixel] if i >= pixel else 0
            corner = above[i - pixel] if i >= pixel else 0
            row[i] = (row[i] + _guess(kind, left, above[i], corner)) & 255
        above = bytes(row)
        rows.append(above)
    return rows


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    away = left + up - corner
    return min((left, up, corner), key=lambda value: abs(away - value))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main()
