"""What a coordinator does with a run that is paused: nothing new goes out, and what is out isn't sent again."""

from __future__ import annotations

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.coordinator.outbox import BundleOptions
from orchestrator.definition.plan import RetryPolicy
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel import messages as msg
from orchestrator.transport.messages import Answer, Work
from tests.unit.coordinator.scripted import ScriptedTransport, answer, done, plan_of, request
from tests.unit.kernel.scenario import branch, group, plan


class House:
    """A journal, one coordinator after another, and a clock."""

    def __init__(self, window: int = 1_000) -> None:
        self.now = 1_000.0
        self.journal = MemoryJournal(shards=1)
        self.transport = ScriptedTransport(self.answer)
        self.silent = True
        self.window = window
        self.begin("c1")

    def answer(self, work: Work) -> Answer | None:
        return None if self.silent else done(work)

    def begin(self, owner: str) -> None:
        bundle = BundleOptions(window=self.window)
        options = CoordinatorOptions(owner, lease_s=100.0, bundle=bundle)
        self.coordinator = Coordinator(self.journal, self.transport, options, lambda: self.now)

    def launch(self, run_id: str = "r1") -> None:
        self.journal.launch([request(plan_of("a", "b", timeout_s=10.0), run_id, at=self.now)])
        self.turns()

    def turns(self, number: int = 4) -> None:
        for _ in range(number):
            self.coordinator.turn(0)

    def send(self, kind: type[msg.Pause | msg.Resume], run_id: str = "r1") -> None:
        self.journal.send(run_id, kind(at=self.now, actor="ann"))
        self.now += 0.1
        self.turns()

    def out(self) -> list[tuple[str, int]]:
        return [(work.step, work.attempt) for work in self.transport.sent]


def test_what_is_under_way_is_answered_into_the_pause_and_the_rest_waits() -> None:
    house = House()
    house.launch()
    house.send(msg.Pause)
    house.transport.answers.append(done(house.transport.sent[0]))
    house.turns()
    assert [r.type for r in house.journal.history("r1")][-1] == "StepSucceeded"
    house.now += 1_000
    house.turns()
    assert house.out() == [("a", 1)]
    house.silent = False
    house.send(msg.Resume)
    assert house.out() == [("a", 1), ("b", 1)]
    assert house.journal.find("r1").status == "completed"


def test_what_is_under_way_is_not_sent_again_and_has_its_whole_time_from_then_on() -> None:
    house = House()
    house.launch()
    house.now += 6
    house.send(msg.Pause)
    house.now += 2
    house.send(msg.Resume)
    house.now += 8  # past the first deadline, not yet past the new one
    house.turns()
    assert house.out() == [("a", 1)]
    assert house.journal.find("r1").status == "running"
    house.now += 3
    house.turns()
    assert [r.type for r in house.journal.history("r1")][-1] == "StepInDoubt"


def test_what_waits_for_its_turn_is_not_sent_while_paused_and_once_after() -> None:
    house = House(window=1)
    house.launch("r1")
    house.launch("r2")
    assert len(house.out()) == 1
    waiting = next(r for r in ("r1", "r2") if r != house.transport.sent[0].run)
    house.journal.send(waiting, msg.Pause(at=house.now))
    house.turns(1)
    house.journal.send(waiting, msg.Resume(at=house.now + 1))
    house.now += 2
    house.silent = False
    house.transport.answers.append(done(house.transport.sent[0]))
    house.turns(12)
    assert [work.run for work in house.transport.sent].count(waiting) == 2
    assert house.journal.find(waiting).status == "completed"


def test_nobody_is_woken_again_and_again_for_a_group_that_a_pause_keeps_from_being_asked() -> None:
    house = House()
    again = RetryPolicy(attempts=2, initial_s=1.0)
    grouped = plan(group(branch("debit"), branch("credit"), timeout_s=20.0, retry=again))
    house.journal.launch([request(grouped, "r1", at=house.now)])
    house.turns()
    house.send(msg.Pause)
    house.transport.answers += [answer(work, "failed") for work in house.transport.sent]
    house.silent = False
    house.turns(6)
    assert [work.kind for work in house.transport.sent] == ["prepare", "prepare", "abort", "abort"]
    house.now += 2  # acknowledgements are kept for one
    house.turns()
    house.silent = True
    for _ in range(3):
        house.now += 21
        house.turns()
    assert len(house.coordinator._dispatcher._timers) == 0
    house.send(msg.Resume)
    assert [work.round for work in house.transport.sent[4:]] == [1, 1]
    assert len(house.coordinator._dispatcher._timers) > 0


def test_another_coordinator_keeps_the_run_paused() -> None:
    house = House()
    house.launch()
    house.send(msg.Pause)
    house.coordinator.close()
    house.begin("c2")
    house.now += 1_000
    house.turns()
    assert house.out() == [("a", 1)]
    assert house.journal.find("r1").status == "paused"
    house.silent = False
    house.send(msg.Resume)
    assert house.journal.find("r1").status == "completed"
    assert house.out() == [("a", 1), ("a", 1), ("b", 1)]  # whether it had gone out isn't known
