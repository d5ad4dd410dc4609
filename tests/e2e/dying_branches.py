"""Imported by a worker as one of its apps: its process dies at the point of a branch's life where a test asks for it.

``arm(folder, "prepared", "mariadb")`` ends the next process that comes to this point with a branch in a MariaDB.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.participant.two_phase.mariadb import MariaBranches
from orchestrator.participant.two_phase.postgresql import PostgresBranches

FOLDER = Path(os.environ.get("DYING_FOLDER", "."))
POINTS = ("worked", "prepared", "committing", "committed", "rolling back", "rolled back")


def arm(folder: Path, point: str, database: str) -> Path:
    """Have the next process die there; the file is gone once it has."""
    file = folder / f"{point} on {database}"
    file.touch()
    return file


def _die_if_armed(point: str, database: str) -> None:
    file = FOLDER / f"{point} on {database}"
    if file.exists():
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _around(
    function: Callable[..., Any], database: str, before: str, after: str
) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        ending = str(arguments[-1])
        is_ending = ending in {"COMMIT", "ROLLBACK"}
        verb = {"COMMIT": "commit", "ROLLBACK": "roll"}.get(ending, "")
        names = {"commit": ("committing", "committed"), "roll": ("rolling back", "rolled back")}
        first, then = names[verb] if is_ending else (before, after)
        _die_if_armed(first, database)
        result = function(*arguments)
        _die_if_armed(then, database)
        return result

    return wrapped


for _kind, _name in ((PostgresBranches, "postgres"), (MariaBranches, "mariadb")):
    _kind.prepare = _around(_kind.prepare, _name, "worked", "prepared")  # type: ignore[method-assign]
    _kind.finish = _around(_kind.finish, _name, "", "")  # type: ignore[method-assign]
