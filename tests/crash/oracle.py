"""What must hold after every schedule, whoever died in it: (a) to (f), counted in the databases themselves.

(a) the accepted launch has a run; (b) each step's net effect is 0 or 1 and the books balance; (c) the run has ended as
it would have without a crash; (d) offsets have no gap and hash chains hold; (e) the read model is a replay of the log;
(f) no transaction is left prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.events import Event, StepInDoubt
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.read_model import differences
from tests.crash.rehearsal import empty, engine
from tests.crash.scenes import RUN, Scene
from tests.crash.stores import Store


class Verdict(NamedTuple):
    """What became of the run, and what is wrong with it."""

    outcome: str
    complaints: Sequence[str]


def judge(scene: Scene, store: Store, folder: Path, *, in_doubt: bool) -> Verdict:
    """Everything at once; leaves no connection open.

    ``in_doubt``: something was lost but coordinators, so that a step's outcome may be unknown.
    """
    journal = SqlJournal(store.url("journal"))
    row = journal.find(RUN)
    events = [record.event for record in journal.history(RUN) if record.event is not None]
    databases = {name: engine(store.url(name)) for name in scene.databases}
    complaints = [
        *_run(row, events, scene, in_doubt=in_doubt),
        *scene.complaints(row.status, databases, folder),
        *(f"(d) {fault}" for fault in journal.verify()),
        *(f"(e) {difference}" for difference in differences(journal)),
        *store.complaints(),
    ]
    empty()
    return Verdict(row.status, complaints)


def _run(
    row: RunSummary, events: Sequence[Event], scene: Scene, *, in_doubt: bool
) -> Iterator[str]:
    if not events:
        yield f"(a) the launch was accepted and nothing came of it ({row.status})"
    if row.status == "stuck" and not row.reason:
        yield "(c) stuck without a reason"
    doubts = [event.step for event in events if isinstance(event, StepInDoubt)]
    undecided = row.status == "stuck" and scene.undecidable in doubts
    if row.status != scene.outcome and not undecided:
        yield f"(c) the run is {row.status} ({row.reason}) and not {scene.outcome}"
    if doubts and not in_doubt:
        yield f"(c) a deadline had to bring back {', '.join(doubts)}, though nothing was lost"
