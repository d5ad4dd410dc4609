"""The coordinator's turn on a real SQLite journal and a transport that does as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.coordinator import guard, timers
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.coordinator.outbox import BundleOptions
from orchestrator.definition.plan import Plan
from orchestrator.errors import JournalUnavailableError, OutcomeUnknownError
from orchestrator.journal.port import InboxItem, RunFilter, ShardWrite, Tenure
from orchestrator.journal.records import shard_of
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.decide import Turn, react
from orchestrator.kernel.events import Failure
from orchestrator.kernel.messages import Message, Retry, Signal
from orchestrator.kernel.state import RunState
from orchestrator.transport.messages import Answer, Work
from tests.tables import make_tables
from tests.unit.coordinator.scripted import ScriptedTransport, answer, done, plan_of, request

RUN = "a" * 32


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A journal, a transport, a clock, and coordinators on them."""

    def __init__(self, url: str) -> None:
        self.journal = SqlJournal(url)
        self.transport = ScriptedTransport()
        self.clock = Clock()

    def coordinator(self, owner: str = "one", bundle: BundleOptions | None = None) -> Coordinator:
        options = CoordinatorOptions(owner=owner, lease_s=10, bundle=bundle or BundleOptions())
        return Coordinator(self.journal, self.transport, options, self.clock)

    def launch(self, plan: Plan, run_id: str = RUN, key: str | None = None) -> None:
        self.journal.launch([request(plan, run_id, key)])

    def status(self, run_id: str = RUN) -> str:
        return self.journal.find(run_id).status

    def types(self, run_id: str = RUN) -> list[str]:
        return [record.type for record in self.journal.history(run_id)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 2)
    world = World(url)
    yield world
    world.journal.close()


def settle(coordinator: Coordinator, most: int = 60) -> None:
    """Take turns until three in a row have nothing to do."""
    quiet = 0
    for _ in range(most):
        quiet = quiet + 1 if coordinator.turn(0) == 0 else 0
        if quiet == 3:
            return
    pytest.fail("the coordinator never came to rest")


def refusing(step: str) -> ScriptedTransport:
    def handler(work: Work) -> Answer:
        if work.step == step and work.kind == "do":
            failure = Failure("Refused", "no", ("orchestrator.errors.Refused",))
            return answer(work, "refused", failure=failure)
        return done(work)

    return ScriptedTransport(handler)


def test_a_run_completes_with_one_event_a_step(world: World) -> None:
    world.launch(plan_of("a", "b", "c"))
    settle(world.coordinator())
    assert world.status() == "completed"
    assert world.types() == ["RunLaunched", *["StepSucceeded"] * 3, "RunCompleted"]
    assert [(w.step, w.kind) for w in world.transport.sent] == [
        ("a", "do"),
        ("b", "do"),
        ("c", "do"),
    ]


def test_a_refusal_undoes_in_reverse(world: World) -> None:
    world.transport = refusing("c")
    world.launch(plan_of("a", "b", "c"))
    settle(world.coordinator())
    assert world.status() == "compensated"
    assert [w.step for w in world.transport.sent if w.kind == "undo"] == ["b", "a"]


def test_a_lost_message_is_sent_again_after_its_deadline(world: World) -> None:
    lost: list[Work] = []

    def handler(work: Work) -> Answer | None:
        if not lost:
            lost.append(work)
            return None
        return done(work)

    world.transport.handler = handler
    world.launch(plan_of("a", timeout_s=30))
    coordinator = world.coordinator()
    settle(coordinator)
    assert world.status() == "running"
    world.clock.now += 31
    settle(coordinator)
    world.clock.now += 2
    settle(coordinator)
    assert world.status() == "completed"
    assert [w.attempt for w in world.transport.sent] == [1, 2]
    assert world.types()[1] == "StepInDoubt"


def test_a_publish_error_costs_no_attempt(world: World) -> None:
    world.transport.fail_publish = ConnectionError("broker away")
    world.launch(plan_of("a"))
    coordinator = world.coordinator()
    settle(coordinator)
    world.transport.fail_publish = None
    world.clock.now += 1.5
    settle(coordinator)
    assert world.status() == "completed"
    assert [w.attempt for w in world.transport.sent] == [1]
    assert coordinator.counts["publish errors"] == 1


def test_a_successor_dispatches_what_was_never_dispatched(world: World) -> None:
    """Killed between commit and publish: picked up at once, not only at a deadline."""
    world.transport.fail_publish = ConnectionError("killed here")
    world.launch(plan_of("a"))
    world.coordinator("one").turn(0)
    world.transport.fail_publish = None
    world.clock.now += 11
    settle(world.coordinator("two"))
    assert world.status() == "completed"


def test_a_successor_sends_what_fell_due_while_its_predecessor_appended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry whose time comes between collecting and appending hasn't been sent by that turn."""
    world.transport.handler = lambda work: answer(
        work, "failed" if work.attempt == 1 else "succeeded"
    )
    world.launch(plan_of("a", timeout_s=3600))
    shard = shard_of(RUN, 2)
    other = next(name * 32 for name in "bcdef0123" if shard_of(name * 32, 2) == shard)
    first = world.coordinator("one")
    settle(first)
    world.launch(plan_of("a", timeout_s=3600), other)
    append, inbox = world.journal.append, world.journal.inbox

    def slow(shards: list[int], after: dict[int, int], limit: int) -> list[InboxItem]:
        world.clock.now += 1.5
        return inbox(shards, after, limit)

    def last(writes: list[ShardWrite]) -> list[Tenure]:
        append(writes)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(world.journal, "inbox", slow)
        patched.setattr(world.journal, "append", last)
        with pytest.raises(KeyboardInterrupt):
            first.turn(0)
    world.clock.now += 11
    settle(world.coordinator("two"))
    assert world.status() == "completed"
    assert world.status(other) == "running"


def test_a_successor_does_not_send_again_what_is_under_way(world: World) -> None:
    world.transport.handler = lambda work: None
    world.launch(plan_of("a"))
    first = world.coordinator("one")
    settle(first)
    first.close()
    settle(world.coordinator("two"))
    assert [w.attempt for w in world.transport.sent] == [1]


def test_a_paused_coordinator_that_wakes_up_can_append_nothing(world: World) -> None:
    world.transport.held = True
    world.launch(plan_of("a", "b"))
    paused = world.coordinator("paused")
    settle(paused)
    world.clock.now += 11
    successor = world.coordinator("successor")
    settle(successor)
    world.transport.held = False
    before = world.types()
    paused._ownership._renew_at = float("inf")
    paused.turn(0)
    assert world.types() == before
    assert paused.counts["fenced"] == 1
    assert not set(paused.shards) & {world.journal.find(RUN).shard}
    assert list(world.journal.verify()) == []


def test_commands_carry_the_epoch_of_the_tenure(world: World) -> None:
    world.transport.handler = lambda work: None
    world.launch(plan_of("a", timeout_s=5))
    settle(world.coordinator("one"))
    world.clock.now += 11
    settle(world.coordinator("two"))
    world.clock.now += 2
    epochs = [work.epoch for work in world.transport.sent]
    assert epochs == sorted(epochs)
    assert world.transport.sent[0].epoch == 1


def test_a_rejection_of_an_older_epoch_is_dropped(world: World) -> None:
    world.transport.handler = lambda work: None
    world.launch(plan_of("a"))
    settle(world.coordinator("one"))
    world.clock.now += 11
    second = world.coordinator("two")
    settle(second)
    world.transport.answers.append(answer(world.transport.sent[0], "rejected"))
    settle(second)
    assert world.types() == ["RunLaunched"]
    assert second.counts["dropped: an older epoch was rejected"] == 1


def test_a_late_duplicate_after_the_end_runs_nothing(world: World) -> None:
    world.launch(plan_of("a", "b"))
    coordinator = world.coordinator()
    settle(coordinator)
    sent = len(world.transport.sent)
    world.transport.answers.append(done(world.transport.sent[0]))
    settle(coordinator)
    assert len(world.transport.sent) == sent
    assert coordinator.counts["dropped: the run has ended"] == 1


def test_answers_are_acknowledged_only_when_the_journal_has_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.launch(plan_of("a"))
    coordinator = world.coordinator()
    coordinator.turn(0)

    def away(writes: list[ShardWrite]) -> list[Tenure]:
        raise JournalUnavailableError("gone")

    monkeypatch.setattr(world.journal, "append", away)
    with pytest.raises(JournalUnavailableError):
        coordinator.turn(0)
    assert world.transport.acknowledged == []
    assert world.journal.find(RUN).shard in world.transport.released


def test_a_commit_of_unknown_outcome_is_read_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.launch(plan_of("a", "b"))
    coordinator = world.coordinator()
    coordinator.turn(0)
    append = world.journal.append

    def unknown(writes: list[ShardWrite]) -> list[Tenure]:
        append(writes)
        monkeypatch.setattr(world.journal, "append", append)
        raise OutcomeUnknownError("lost in the middle of COMMIT")

    monkeypatch.setattr(world.journal, "append", unknown)
    settle(coordinator)
    assert world.status() == "completed"
    assert world.types().count("StepSucceeded") == 2


def test_a_defect_stops_only_its_own_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = react

    def broken(run: RunState, message: Message) -> Turn:
        if run.run_id == RUN:
            raise ZeroDivisionError("a defect")
        return sound(run, message)

    monkeypatch.setattr(guard, "react", broken)
    other = "b" * 32
    world.launch(plan_of("a"))
    world.launch(plan_of("a"), other)
    coordinator = world.coordinator()
    settle(coordinator)
    assert world.status(other) == "completed"
    assert world.status() == "stuck"
    assert "a defect" in world.journal.find(RUN).reason
    assert coordinator.counts["defects"] == 1


def test_two_coordinators_share_the_shards_and_hand_over_at_once(world: World) -> None:
    one, two = world.coordinator("one"), world.coordinator("two")
    one.turn(0)
    two.turn(0)
    world.clock.now += 4
    one.turn(0)
    two.turn(0)
    assert len(one.shards) == 1
    assert len(two.shards) == 1
    one.close()
    world.clock.now += 4
    two.turn(0)
    assert two.shards == [0, 1]


def test_messages_for_a_run_come_through_the_inbox(world: World) -> None:
    world.transport.handler = lambda work: answer(
        work, "unregistered" if len(world.transport.sent) < 2 else "succeeded"
    )
    world.launch(plan_of("a"))
    coordinator = world.coordinator()
    settle(coordinator)
    assert world.status() == "stuck"
    assert "svc.a" in world.journal.find(RUN).reason
    assert world.journal.runs(RunFilter(stuck=True)).runs[0].run_id == RUN
    world.journal.send(RUN, Retry(at=world.clock(), actor="me"))
    settle(coordinator)
    assert world.status() == "completed"
    retried = next(r for r in world.journal.history(RUN) if r.type == "StepRetried")
    assert retried.actor == "me"


def test_a_late_operation_is_on_record_as_refused(world: World) -> None:
    world.launch(plan_of("a"))
    coordinator = world.coordinator()
    settle(coordinator)
    world.journal.send(RUN, Retry(at=world.clock(), actor="me"))
    world.journal.send(RUN, Signal(at=world.clock(), name="x"))
    settle(coordinator)
    assert world.types()[-1] == "OperationRefused"


def test_the_window_bounds_what_is_under_way(world: World) -> None:
    world.transport.handler = lambda work: None
    for number in range(10):
        world.launch(plan_of("a"), f"{number:032d}")
    settle(world.coordinator(bundle=BundleOptions(window=4)))
    assert len(world.transport.sent) == 4


def test_short_commands_share_a_message_once_their_duration_is_known(world: World) -> None:
    coordinator = world.coordinator()
    world.launch(plan_of("a"), "f" * 32)
    settle(coordinator)
    assert [len(bundle.work) for bundle in world.transport.bundles] == [1]
    for number in range(40):
        world.launch(plan_of("a"), f"{number:032d}")
    settle(coordinator)
    assert max(len(bundle.work) for bundle in world.transport.bundles) == 20


def test_alarms_that_mean_nothing_any_more_are_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_ROOM", 10)
    coordinator = world.coordinator()
    for number in range(50):
        world.launch(plan_of("a", "b", timeout_s=3600), f"{number:032d}")
    settle(coordinator)
    assert world.journal.counts() == {"s": {"completed": 50}}
    assert len(coordinator._dispatcher._timers) <= 110
    coordinator._dispatcher._timers._crowded_at = 10
    settle(coordinator)
    assert len(coordinator._dispatcher._timers) == 0
