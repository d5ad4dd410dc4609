"""A coordinator that dies by SIGKILL at one point of its loop.

    python -m tests.e2e.dying_coordinator POINT

POINT is an event and where in the turn that writes it the process dies, as ``StepSucceeded:appended``:

- ``arrived``: what led to the event is here, nothing is written;
- ``appended``: the event is in the journal, nothing that follows from it has been dispatched;
- ``dispatched``: what follows from it has been dispatched, and nothing recorded of that.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from orchestrator import wiring
from orchestrator.coordinator.loop import Coordinator
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.sql import SqlJournal
from orchestrator.settings import load
from orchestrator.transport.celery_transport import CeleryTransport
from orchestrator.transport.port import Bundle


class DyingJournal(SqlJournal):
    """Dies as it appends the event, or when it has."""

    point: tuple[str, str] = ("", "")
    written = False

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """See the port."""
        event, moment = self.point
        now = any(type(one).__name__ == event for write in writes for _, one in write.events)
        if now and moment == "arrived":
            _die()
        tenures = super().append(writes)
        if now and moment == "appended":
            _die()
        DyingJournal.written |= now
        return tenures


class DyingTransport(CeleryTransport):
    """Dies when what follows from the event is dispatched."""

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """See the port."""
        errors = super().dispatch(bundles)
        if DyingJournal.written and DyingJournal.point[1] == "dispatched":
            _die()
        return errors


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(point: str) -> None:
    """Run a coordinator until it dies."""
    event, moment = point.split(":")
    DyingJournal.point = (event, moment)
    settings = load()
    transport = DyingTransport(
        wiring.celery_app(settings),
        namespace=settings.namespace,
        keys=wiring.signing_keys(settings),
    )
    journal = DyingJournal(settings.journal_url)
    Coordinator(journal, transport, wiring.coordinator_options(settings), time.time).run()


if __name__ == "__main__":
    main(sys.argv[1])
