"""What coordinators do while a saga or a service is held: nothing that it stops goes out, by whichever of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.coordinator.outbox import BundleOptions
from orchestrator.definition.plan import Atomic, Call, Finish, Plan, RetryPolicy, Sequence
from orchestrator.journal.hold import Hold
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel import messages as msg
from orchestrator.transport.messages import Answer, Work
from tests.unit.coordinator.scripted import ScriptedTransport, answer, done, plan_of, request

_END = Finish("end", 30.0, RetryPolicy())


class Counting(MemoryJournal):
    """Knows how often it was asked for holds."""

    asked = 0

    def holds(self, limit: int = 1_000, *, in_force: bool = True) -> list[Hold]:
        self.asked += 1
        return super().holds(limit, in_force=in_force)


class House:
    """A journal of two shards, coordinators, and a clock."""

    def __init__(self, *owners: str, window: int = 1_000) -> None:
        self.now = 1_000.0
        self.journal = Counting(shards=2)
        self.transport = ScriptedTransport(self.answer)
        self.silent = False
        self.window = window
        self.coordinators = [self.begin(owner) for owner in owners or ("c1",)]

    def answer(self, work: Work) -> Answer | None:
        return None if self.silent else done(work)

    def begin(self, owner: str) -> Coordinator:
        bundle = BundleOptions(window=self.window)
        options = CoordinatorOptions(owner, lease_s=100.0, bundle=bundle)
        return Coordinator(self.journal, self.transport, options, lambda: self.now)

    def launch(self, run_id: str = "r1", plan: Plan | None = None) -> None:
        plan = plan or plan_of("a", "b", saga="shop", timeout_s=10.0)
        self.journal.launch([request(plan, run_id, at=self.now)])

    def turns(self, number: int = 5) -> None:
        for _ in range(number):
            self.now += 0.2
            for coordinator in self.coordinators:
                coordinator.turn(0)

    def hold(self, kind: str = "saga", name: str = "shop", **more: object) -> Hold:
        hold = Hold(f"{kind} {name}", kind, name, self.now, "ann", "why", **more)  # type: ignore[arg-type]
        assert self.journal.place_hold(hold)
        return hold

    def hold_now(self) -> Hold:
        hold = self.hold()
        self.turns()
        return hold

    def release(self, hold: Hold) -> None:
        ended = replace(hold, released_at=self.now, released_by="bob", release_reason="mended")
        assert self.journal.release_hold(ended)
        self.turns()

    def out(self) -> list[tuple[str, str]]:
        return [(work.step, work.kind) for work in self.transport.sent]

    def events(self, run_id: str = "r1") -> list[str]:
        return [record.type for record in self.journal.history(run_id)]


def test_a_launch_into_a_held_saga_is_taken_and_waits() -> None:
    house = House()
    hold = house.hold()
    house.turns(1)
    house.launch()
    house.turns()
    assert house.events() == ["RunLaunched", "RunHeld"]
    assert (house.out(), house.journal.find("r1").status) == ([], "paused")
    house.now += 1_000
    house.turns()
    house.release(hold)
    assert house.out() == [("a", "do"), ("b", "do")]
    assert house.journal.find("r1").status == "completed"
    [released] = [r for r in house.journal.history("r1") if r.type == "RunReleased"]
    assert released.event is not None
    assert (released.actor, getattr(released.event, "reason", "")) == ("bob", "mended")


def test_a_hold_is_in_the_log_once_with_who_and_why() -> None:
    house = House("c1", "c2")
    hold = house.hold("service", "bank")
    house.turns()
    house.release(hold)
    log = [r for shard in (0, 1) for r in house.journal.feed(shard, 0, 99) if r.event is not None]
    assert [(r.run_id, r.type, r.actor) for r in log] == [
        ("service:bank", "HoldPlaced", "ann"),
        ("service:bank", "HoldReleased", "bob"),
    ]
    assert list(house.journal.verify()) == []
    assert house.journal.inbox((0, 1), {}, 9) == []


def test_it_reaches_all_coordinators_within_a_second() -> None:
    house = House("c1", "c2")
    house.silent = True
    runs = [f"run-{number}" for number in range(8)]
    for run_id in runs:
        house.launch(run_id)
    house.turns()
    hold = house.hold()
    began = house.now
    house.silent = False
    while not all("RunHeld" in house.events(run_id) for run_id in runs):
        house.turns(1)
        assert house.now < began + 1
    house.transport.answers += [done(work) for work in house.transport.sent]
    house.turns()
    assert {step for step, _ in house.out()} == {"a"}
    house.release(hold)
    assert {house.journal.find(run_id).status for run_id in runs} == {"completed"}
    assert len(house.out()) == 2 * len(runs)  # what was under way wasn't sent again


def test_another_coordinator_sends_nothing_that_is_held() -> None:
    house = House()
    hold = house.hold()
    house.launch()
    house.turns()
    house.coordinators[0].close()
    house.launch("r2")
    house.coordinators = [house.begin("c2")]
    house.turns()
    assert house.out() == []
    house.release(hold)
    assert len(house.out()) == 4


def test_a_run_that_nobody_told_is_told_by_the_successor() -> None:
    house = House()
    house.silent = True
    house.launch(plan=plan_of("a", saga="shop", timeout_s=100.0))
    house.turns(1)
    house.hold()
    house.coordinators.append(house.begin("c2"))
    house.coordinators[1].turn(0)  # knows of it, and holds no shard
    house.coordinators.pop(0).close()
    assert house.events() == ["RunLaunched"]
    house.now += 20  # when it looks for free leases
    house.turns()
    assert house.events() == ["RunLaunched", "RunHeld"]


def test_what_was_under_way_is_not_sent_again_on_release() -> None:
    house = House()
    house.silent = True
    house.launch()
    house.turns()
    house.release(house.hold_now())
    assert house.out() == [("a", "do")]


def test_a_hold_that_is_placed_while_nobody_runs_is_in_force_from_the_first_turn_on() -> None:
    house = House()
    house.silent = True
    house.launch()
    house.coordinators[0].turn(0)
    house.coordinators[0].close()
    house.transport.sent.clear()
    house.hold()
    house.coordinators = [house.begin("c2")]
    house.turns()
    assert house.out() == []


def test_what_waits_for_its_turn_in_the_outbox_is_not_sent() -> None:
    house = House(window=1)
    house.silent = True
    for run_id in ("r1", "r2"):
        house.launch(run_id)
    house.turns()
    assert len(house.out()) == 1
    house.hold()
    house.silent = False
    house.now += 1
    house.transport.answers.append(done(house.transport.sent[0]))
    house.turns()
    assert len(house.out()) == 1


def test_undos_go_on_in_a_held_saga_and_not_to_a_held_service() -> None:
    for kind, name, out in (("saga", "shop", [("a", "undo")]), ("service", "svc", [])):
        house = House()
        house.silent = True
        house.launch()
        house.turns(2)
        house.transport.answers.append(done(house.transport.sent[0]))
        house.turns(2)
        hold = house.hold(kind, name)
        house.turns()
        house.transport.answers.append(answer(house.transport.sent[1], "refused"))
        house.silent = False
        house.turns()
        assert house.out()[2:] == out
        house.release(hold)
        assert house.out()[2:] == [("a", "undo")]
        assert house.journal.find("r1").status == "compensated"


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_of_two_held_services_neither_gets_anything(order: tuple[str, str]) -> None:
    house = House()
    both = plan_of("a", "b", saga="shop", timeout_s=10.0)
    assert isinstance(both.body, Sequence)
    calls = [node for node in both.body.nodes if isinstance(node, Call)]
    for_two = [replace(call, service=name) for call, name in zip(calls, order, strict=True)]
    holds = {name: house.hold("service", name) for name in ("one", "two")}
    house.turns(1)
    house.launch(plan=replace(both, body=Sequence(tuple(for_two))))
    house.turns()
    assert house.out() == []
    house.release(holds[order[0]])
    assert house.out() == [("a", "do")]
    house.release(holds[order[1]])
    assert house.out() == [("a", "do"), ("b", "do")]


def test_a_group_reached_under_a_hold_asks_nobody() -> None:
    calls = plan_of("x", "y").body.nodes
    branches = tuple(replace(call, branch="database") for call in calls if isinstance(call, Call))
    group = Atomic("both", branches, 20.0, RetryPolicy())
    house = House()
    hold = house.hold("service", "svc")
    house.launch(plan=replace(plan_of("x"), body=Sequence((group,))))
    house.turns()
    assert house.out() == []
    house.journal.send("r1", msg.Cancel(at=house.now))
    house.turns()
    assert (house.out(), house.journal.find("r1").status) == ([], "compensated")
    house.release(hold)
    assert house.out() == []


def test_a_clock_that_is_set_back_keeps_nobody_from_looking() -> None:
    house = House()
    house.turns(1)
    house.now -= 50
    house.hold()
    house.launch()
    house.turns()
    assert house.out() == []


def test_a_group_that_an_earlier_coordinator_asked_is_taken_back_as_asked() -> None:
    calls = [replace(c, barrier=False) for c in plan_of("x", "y").body.nodes if isinstance(c, Call)]
    branches = tuple(replace(call, branch="tcc", confirm=_END, cancel=_END) for call in calls)
    group = Atomic("both", branches, 20.0, RetryPolicy())
    house = House()
    house.silent = True
    house.launch(plan=replace(plan_of("x"), body=Sequence((group,))))
    house.turns()
    assert house.out() == [("x", "prepare"), ("y", "prepare")]
    house.coordinators[0].close()
    house.hold("service", "svc")
    house.coordinators = [house.begin("c2")]
    house.turns()
    assert "AbortDecided" in house.events()
    [x, y] = house.transport.sent[:2]
    house.transport.answers.append(answer(x, vote="prepared"))
    house.transport.answers.append(answer(y, vote="prepared"))
    house.turns()
    assert sorted(house.out()[-2:]) == [("x", "abort"), ("y", "abort")]


def test_without_holds_the_journal_is_asked_twice_a_second() -> None:
    house = House()
    house.turns(10)
    assert house.journal.asked <= 6
