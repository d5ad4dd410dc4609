"""Counts effects over all processes, so that every scenario can prove that each step ran, and ran once.

A thread adds to a file of its own that it has mapped into memory: about 0.2 microseconds an effect, for ours and for
the peers alike.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path

FOLDER_VARIABLE = "BENCH_TALLY"
SLOTS = 16
_SIZE = SLOTS * 8


class _Mine(threading.local):
    pid = 0
    slots: memoryview


_mine = _Mine()


def count(slot: int) -> None:
    """Note one effect of the step that has this slot."""
    if _mine.pid != os.getpid():
        _open()
    _mine.slots[slot] += 1


def totals(folder: Path) -> list[int]:
    """The effects so far, by slot."""
    sums = [0] * SLOTS
    for path in folder.glob("*.tally"):
        data = path.read_bytes()
        if len(data) == _SIZE:
            for slot, value in enumerate(struct.unpack(f"{SLOTS}Q", data)):
                sums[slot] += value
    return sums


def _open() -> None:
    path = Path(os.environ[FOLDER_VARIABLE]) / f"{os.getpid()}-{threading.get_native_id()}.tally"
    path.write_bytes(bytes(_SIZE))
    with path.open("r+b") as file:
        _mine.slots = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("Q")
    _mine.pid = os.getpid()
