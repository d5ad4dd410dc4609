"""The sweep: prepared branches that have been in doubt for long are asked about, and told of in the log.

It decides nothing, as it has no journal: the coordinator answers with a commit or an abort, or not at all while the
run is under way, for then its own commands are.
"""

from __future__ import annotations

import logging
import os
import socket
import time

import msgspec

from orchestrator.participant.two_phase.branches import Branches
from orchestrator.participant.two_phase.port import Found
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer

logger = logging.getLogger(__name__)

INQUIRY = 0
"""The attempt of a vote that is an inquiry; real attempts begin with 1."""


class SweepOptions(msgspec.Struct, frozen=True):
    """When the sweep comes by, and what it leaves alone."""

    every_s: float = 30.0
    safety_age_s: float = 120.0
    """A branch younger than this is between its vote and its decision, as it should be."""
    alert_age_s: float = 600.0
    """One that is older is a warning in the log, each time."""


class Sweep:
    """The sweep over one service's branches, in one process."""

    def __init__(self, service: str, queue: str, branches: Branches, options: SweepOptions) -> None:
        self.service = service
        self.prepared = (0, 0.0)
        """How many branches there were when it last looked, and the age of the oldest in seconds."""
        self._queue = queue
        self._branches = branches
        self._options = options
        self._seen: dict[Gid, float] = {}
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def inquiries(self) -> list[Answer]:
        """A question for each branch that is old enough. Raises the database's errors."""
        old = self._old()
        if not old:
            return []
        heard_of = self._branches.heard_of()
        for found, age_s in old:
            if age_s >= self._options.alert_age_s:
                logger.warning("%s: %s", self.service, described(found, age_s))
        return [self._inquiry(found.gid, heard_of, age_s) for found, age_s in old]

    def _old(self) -> list[tuple[Found, float]]:
        now = time.monotonic()
        everything = self._branches.found()
        self._seen = {one.gid: self._seen.get(one.gid, now) for one in everything}
        ages = [(one, self._age_s(one, now)) for one in everything]
        self.prepared = (len(ages), max((age_s for _, age_s in ages), default=0.0))
        return [(one, age_s) for one, age_s in ages if age_s >= self._options.safety_age_s]

    def _age_s(self, found: Found, now: float) -> float:
        """Where the database doesn't tell, it is as old as this process has known it."""
        return now - self._seen[found.gid] if found.age_s is None else found.age_s

    def _inquiry(self, gid: Gid, heard_of: dict[int, int], age_s: float) -> Answer:
        return Answer(
            run=gid.run,
            shard=gid.shard,
            epoch=heard_of.get(gid.shard, 0),
            step=gid.step,
            kind="prepare",
            attempt=INQUIRY,
            outcome="succeeded",
            vote="prepared",
            participant=f"{self.service}.",
            result={"round": gid.round, "queue": self._queue, "age_s": round(age_s, 1)},
            worker=self._worker,
            duplicate=True,
        )


def described(found: Found, age_s: float) -> str:
    """A prepared branch in one line, for logs."""
    locks = f", holding {', '.join(found.locks)}" if found.locks else ""
    waiting = f", {found.waiting} sessions waiting for it" if found.waiting else ""
    return f"branch {found.gid} has been prepared for {age_s:.0f} s{locks}{waiting}"
