"""Ends a stack's processes when the process that started them is gone, however it went: even killed.

Run as a script, in a session of its own. Its standard input is a pipe from the stack: lines ``+1234`` and ``-1234``
say which process groups there are. The pipe's end is the stack's end. Uses the standard library alone, so that it is
up at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 5.0
"""How long the processes may take to end by themselves."""
_LOOK_EVERY_S = 0.05


def groups_left(lines: Iterable[str]) -> set[int]:
    """The process groups that were told of and not taken back."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def end_groups(groups: set[int], grace_s: float = GRACE_S) -> None:
    """Ask every process group to end; after ``grace_s`` seconds end it."""
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(_exists(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    end_groups(groups_left(sys.stdin))
