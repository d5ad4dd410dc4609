"""``Oblivion``: what the journal forgets when it is restored from a backup, so that the oracle excuses that alone.

The log that was is looked at once more before it goes: a run that loses no event has no excuse for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.errors import RunNotFoundError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.memory_tables import Backup
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.kernel.state import KIND, RunState
from orchestrator.testing.simulation.ledger import Key
from orchestrator.transport.messages import Work


class Restorable(MemoryJournal):
    """A journal that can be set back under a writer, at the moment when it writes."""

    def __init__(self, shards: int, before_append: Callable[[], None]) -> None:
        super().__init__(shards)
        self._before_append = before_append

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """See the port."""
        self._before_append()
        return super().append(writes)


class Oblivion:
    """One schedule's journal: which runs it was asked for, and what it doesn't know any more."""

    def __init__(self, journal: MemoryJournal, state: Callable[[str], RunState | None]) -> None:
        self.launched: list[str] = []
        """Every accepted launch's run."""
        self.forgotten: list[str] = []
        """Those that a restored journal knows nothing of."""
        self.restored = False
        self.bereft: set[str] = set()
        """Runs that lost events, forgotten ones among them."""
        self._lost: set[Key] = set()
        self._ordered: set[Key] = set()
        self._journal = journal
        self._state = state
        self._backup: Backup | None = None

    def back_up(self) -> None:
        """Keep the journal as it is now."""
        self._backup = self._journal.backup()

    def restore(self) -> None:
        """The journal is what it was at the backup."""
        assert self._backup is not None
        accepted = self.launched + self.forgotten
        before = {run_id: self._journal.history(run_id) for run_id in accepted}
        self._journal.restore(self._backup)
        self.restored = True
        for run_id, records in before.items():
            lost = records[len(self._journal.history(run_id)) :]
            if lost or not self._is_known(run_id):
                self.bereft.add(run_id)
            self._lost |= {(run_id, getattr(record.event, "step", None) or "") for record in lost}
        self.take_stock()

    def take_stock(self) -> None:
        """Who is forgotten now. A coordinator that had just taken a launch in when the log was set back under it may
        write it all the same.
        """
        accepted = self.launched + self.forgotten
        known = {run_id for run_id in accepted if self._is_known(run_id)}
        self.launched = [run_id for run_id in accepted if run_id in known]
        self.forgotten = [run_id for run_id in accepted if run_id not in known]

    def note(self, command: Work) -> None:
        """A command is about to be carried out. An undo that the restored log wants can't be of the one that was."""
        if self.restored and command.kind == "undo" and command.run in self.bereft:
            state = self._state(command.run)
            step = None if state is None else state.steps.get(command.step)
            if step is not None and KIND.get(step.status) == "undo":
                self._ordered.add((command.run, command.step))

    def lost(self, run_id: str, *steps: str) -> bool:
        """Whether an event of one of these steps is lost."""
        return any((run_id, step) in self._lost for step in steps)

    def is_ordered(self, key: Key) -> bool:
        """Whether the log as it is since it was restored has asked for the undo of a step."""
        return key in self._ordered

    def _is_known(self, run_id: str) -> bool:
        try:
            self._journal.find(run_id)
        except RunNotFoundError:
            return False
        return True
