"""``make demo``, ``python -m sagas.demo``: 300 orders on real servers and workers, from launch to repair, in a minute.

Exits 0 only if every run ended as it should and the books balance.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

MARK = "saga.toml"
"""A folder with this file is an earlier demo's."""


def main() -> int:
    """Run the demo; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sagas.demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(".demo"), help="for everything it makes; made anew"
    )
    folder: Path = parser.parse_args().folder.resolve()
    if not _emptied(folder):
        parser.error(f"{folder} has files that aren't an earlier demo's: name another --folder")
    os.environ["SHOP_FOLDER"] = str(folder / "shop")

    from sagas.tour import tour  # noqa: PLC0415 - the services read SHOP_FOLDER when they are imported

    return tour(folder)


def _emptied(folder: Path) -> bool:
    """Make the folder new; False if what is in it isn't ours to delete."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            return False
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return True


if __name__ == "__main__":
    sys.exit(main())
