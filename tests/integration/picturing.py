"""Pictures of the console's pages, small enough to be kept beside the docs."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

from tests.integration.browsing import Browser

HEIGHT = 860
"""At most, of a picture."""
ROOT = Path(__file__).parents[2]
_UNPLACED = """
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(arguments[0], "");
"""
"""Where this checkout lies is in tracebacks, and nobody's business."""
_LEVELS = 64
"""Of each colour: text stays as sharp, and a picture gets half as large."""


def picture(chromium: Browser, width: int) -> bytes:
    """The top of the page, as a PNG of few bytes."""
    chromium.run(_UNPLACED, f"{ROOT}/")
    tall = chromium.run("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(int(tall), HEIGHT), "scale": 1}
    given = {"captureBeyondViewport": True, "clip": clip}
    shot = chromium.driver.execute_cdp_cmd("Page.captureScreenshot", given)
    return _smaller(base64.b64decode(shot["data"]))


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
