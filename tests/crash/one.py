"""One campaign, in a process of its own: a scene on one kind of database.

    python -m tests.crash.one orders --part 0/2

Prints its report as JSON. A process plays one scene only, because the services read where their databases are when they
are imported.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.crash.campaign import Campaign, Report, prepared
from tests.crash.scenes import SCENES
from tests.crash.stage import Crash
from tests.mutation.guards import remove_named

WHAT: Mapping[str, Callable[[Campaign], Sequence[Crash]]] = {
    "points": Campaign.points,
    "singles": Campaign.singles,
    "kinds": Campaign.kinds,
    "pairs": Campaign.points,
}
"""The crashes there are, or the first ones of pairs."""


def main() -> int:
    """Play what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.one", description=__doc__)
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--server", default="", help="URL of a PostgreSQL; without one, SQLite")
    parser.add_argument("--what", choices=list(WHAT), default="singles")
    parser.add_argument("--every", type=int, default=1, help="of these, one in so many")
    parser.add_argument("--part", default="0/1", help="I/N: of those, the share of process I of N")
    parser.add_argument("--most", type=int, default=None, help="stop after so many violations")
    given = parser.parse_args()
    remove_named()
    logging.disable(logging.CRITICAL)  # what the processes say of their troubles, which are wanted
    with prepared(given.scene, given.server) as setting:
        database = "postgresql" if given.server else "sqlite"
        campaign = Campaign(setting, given.scene, database)
        play(campaign, given.what, given.every, given.part, given.most)
    sys.stdout.write(msgspec.json.encode(campaign.report).decode() + "\n")
    return 1 if campaign.report.violations else 0


def play(campaign: Campaign, what: str, every: int, part: str, most: int | None) -> Report:
    """Play a part of what there is to play."""
    number, parts = map(int, part.split("/"))
    report = campaign.report
    crashes = WHAT[what](campaign)
    for crash in itertools.islice(crashes[::every], number, None, parts):
        if most is not None and len(report.violations) >= most:
            break
        if what == "pairs":
            campaign.play_pairs(crash, every)
        else:
            campaign.play(crash)
    return report


if __name__ == "__main__":
    sys.exit(main())
