"""The program without one of its guards, each for the time of a ``with``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import pytest
from sqlalchemy import Connection

from orchestrator.coordinator.holds import Holds
from orchestrator.coordinator.loop import Coordinator
from orchestrator.coordinator.ownership import Ownership
from orchestrator.coordinator.turn import Arrival, Decisions
from orchestrator.errors import FencedError
from orchestrator.journal import memory
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.records import rows_of
from orchestrator.kernel import decide, decide_group, evolve_group, group
from orchestrator.kernel.events import CommitDecided
from orchestrator.kernel.messages import Expired, Reply
from orchestrator.kernel.state import EXECUTING, KIND, RunState, Status, StepState
from orchestrator.kernel.two_phase import branches_of
from orchestrator.participant import barrier
from orchestrator.participant.perform import WithoutDatabase
from orchestrator.participant.tables import CONFIRMED, TOMBSTONE
from orchestrator.participant.two_phase.branches import Branches
from orchestrator.participant.two_phase.group import GroupBarrier
from orchestrator.testing.simulation.ports import FlakyJournal

Remove = Callable[[pytest.MonkeyPatch], None]


@contextmanager
def without(guard: Remove) -> Iterator[None]:
    """The program without this guard."""
    with pytest.MonkeyPatch.context() as patch:
        guard(patch)
        yield


def barrier_row(patch: pytest.MonkeyPatch) -> None:
    """No row is inserted: every copy of a command is the first."""
    patch.setattr(barrier, "_claim", lambda connection, *_, **__: _first(connection))


def tombstone(patch: pytest.MonkeyPatch) -> None:
    """An undo that finds nothing leaves nothing."""
    claim = barrier._claim

    def claimed(connection: Connection, effect: Any, status: str, *rest: Any, **limit: Any) -> bool:
        if status == TOMBSTONE:
            return _first(connection)
        return claim(connection, effect, status, *rest, **limit)

    patch.setattr(barrier, "_claim", claimed)


def epoch_check(patch: pytest.MonkeyPatch) -> None:
    """Participants listen to every tenure, over or not."""
    perform = WithoutDatabase.perform

    def forgetful(self: WithoutDatabase, action: Any, work: Any) -> Any:
        self._epochs.clear()
        return perform(self, action, work)

    patch.setattr(WithoutDatabase, "perform", forgetful)
    barrier_epoch_check(patch)


def barrier_epoch_check(patch: pytest.MonkeyPatch) -> None:
    """Participants with a database, alone, listen to every tenure: none is noted, so none is too old."""
    patch.setattr(barrier.Barrier, "_too_old", lambda self, effect: None)


def primary_key_fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever writes has written."""
    patch.setattr(memory.MemoryJournal, "append", _unfenced)


def log_fence(patch: pytest.MonkeyPatch) -> None:
    """The epoch and a free place are enough to write: whether the log is the one that was known isn't asked."""

    def append(self: memory.MemoryJournal, writes: Sequence[ShardWrite]) -> list[Tenure]:
        for write in writes:
            shard = self._tables.shards[write.tenure.shard]
            free = write.tenure.next_offset > shard.end[0]
            if shard.epoch != write.tenure.epoch or not free:
                raise FencedError(write.tenure.shard)
        return _unfenced(self, writes)

    patch.setattr(memory.MemoryJournal, "append", append)


def looking_at_the_log(patch: pytest.MonkeyPatch) -> None:
    """A coordinator that has nothing to write believes that the log is as it left it."""
    patch.setattr(Ownership, "_overtaken", lambda self: set())


def held_back(patch: pytest.MonkeyPatch) -> None:
    """What a hold stops goes out until its run has been told."""
    patch.setattr(Holds, "stops", lambda *_: False)


def looking_for_holds(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks what is in force."""
    patch.setattr(Holds, "look", lambda _: None)


def watchdog(patch: pytest.MonkeyPatch) -> None:
    """Deadlines pass without a word."""
    take = Decisions.take

    def deaf(self: Decisions, arrival: Arrival) -> None:
        if not isinstance(arrival.message, Expired):
            take(self, arrival)

    patch.setattr(Decisions, "take", deaf)


def commit_before_publish(patch: pytest.MonkeyPatch) -> None:
    """What was decided is sent before it is in the journal."""
    append = Coordinator._append

    def hasty(self: Coordinator, decisions: Decisions) -> int | None:
        for draft in decisions.drafts.values():
            self._install(draft.owned, draft.changed)
        self._dispatcher.publish()
        return append(self, decisions)

    patch.setattr(Coordinator, "_append", hasty)


def duplicate_filter(patch: pytest.MonkeyPatch) -> None:
    """``decide`` takes every reply to a step that was ever begun."""

    def outstanding(run: RunState, message: Reply | Expired) -> StepState | None:
        return run.steps.get(message.step)

    patch.setattr(decide, "_outstanding", outstanding)


def match_on_kind(patch: pytest.MonkeyPatch) -> None:
    """A reply to the action counts for its undo."""

    def outstanding(run: RunState, message: Reply | Expired) -> StepState | None:
        step = run.steps.get(message.step)
        executing = step is not None and step.status in EXECUTING
        return step if executing and step and step.attempt == message.attempt else None

    patch.setattr(decide, "_outstanding", outstanding)


def match_on_attempt(patch: pytest.MonkeyPatch) -> None:
    """A reply to an earlier attempt counts for this one."""

    def outstanding(run: RunState, message: Reply | Expired) -> StepState | None:
        step = run.steps.get(message.step)
        executing = step is not None and step.status in EXECUTING
        return step if executing and step and KIND[step.status] == message.kind else None

    patch.setattr(decide, "_outstanding", outstanding)


def presumed_abort(patch: pytest.MonkeyPatch) -> None:
    """A successor goes on with groups that it finds undecided."""
    patch.setattr(decide_group, "recovered", lambda run, at: [])


def recall(patch: pytest.MonkeyPatch) -> None:
    """The others are aborted although the last one may have committed."""
    for module in (decide_group, group):
        patch.setattr(module, "must_recall", lambda run, key: False)


def unanimity(patch: pytest.MonkeyPatch) -> None:
    """One yes is enough for a commit."""

    def early(run: RunState, key: str) -> bool:
        return any(step.status is Status.PREPARED for _, step, _ in branches_of(run, key))

    patch.setattr(decide_group, "all_said_yes", early)
    patch.setattr(evolve_group, "VOTED", frozenset(Status))


def written_decision(patch: pytest.MonkeyPatch) -> None:
    """A decision is kept as long as a vote may be, and told meanwhile: it is written with whatever comes next."""
    append = FlakyJournal.append
    kept: WeakKeyDictionary[FlakyJournal, Sequence[ShardWrite]] = WeakKeyDictionary()

    def behind(self: FlakyJournal, writes: Sequence[ShardWrite]) -> list[Tenure]:
        before = kept.pop(self, None)
        if before is not None:
            append(self, before)
        elif any(isinstance(event, CommitDecided) for one in writes for _, event in one.events):
            kept[self] = writes
            return [rows_of(write)[1] for write in writes]
        return append(self, writes)

    patch.setattr(FlakyJournal, "append", behind)


def numbered_questions(patch: pytest.MonkeyPatch) -> None:
    """A branch's questions are numbered from one again, so that a late vote answers another round."""
    asked = group._asked
    patch.setattr(
        group,
        "_asked",
        lambda step, to, at: asked(msgspec.structs.replace(step, attempt=0), to, at),
    )


def proof_row(patch: pytest.MonkeyPatch) -> None:
    """Nothing tells what became of a branch that isn't there."""
    patch.setattr(Branches, "_proof", lambda self, connection, effect: None)


def confirm_row(patch: pytest.MonkeyPatch) -> None:
    """A try is confirmed as often as asked."""
    claim = GroupBarrier.claim

    def claimed(
        self: GroupBarrier, connection: Connection, effect: Any, status: str, *rest: Any
    ) -> bool:
        return status == CONFIRMED or claim(self, connection, effect, status, *rest)

    patch.setattr(GroupBarrier, "claim", claimed)


def _unfenced(journal: memory.MemoryJournal, writes: Sequence[ShardWrite]) -> list[Tenure]:
    tables, tenures = journal._tables, []
    for write in writes:
        rows, after = rows_of(write)
        shard = tables.shards[after.shard]
        for row in rows:
            shard.add(row)
        shard.cursor_offset, shard.cursor_at = after.cursor_offset, after.cursor_at
        tables.runs.update({run.run_id: run for run in write.runs})
        for consumed in write.consumed:
            tables.inbox.pop(consumed, None)
        tenures.append(after)
    return tenures


def _first(connection: Connection) -> bool:
    connection.exec_driver_sql("SELECT 1")  # begins the transaction, as the insert would
    return True
