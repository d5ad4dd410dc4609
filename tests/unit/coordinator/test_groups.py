"""Atomic groups through the coordinator: what is written when, and what a successor does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.plan import Plan, RetryPolicy
from orchestrator.errors import JournalUnavailableError
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.transport.messages import Answer, Work
from tests.tables import make_tables
from tests.unit.coordinator.scripted import answer, request
from tests.unit.coordinator.test_loop import RUN, World
from tests.unit.kernel.scenario import branch, group, plan

TRANSFER = plan(group(branch("debit"), branch("credit"), retry=RetryPolicy(jitter=0.0)))


def obedient(work: Work) -> Answer:
    if work.kind == "prepare":
        vote = "committed" if work.one_phase else "prepared"
        return answer(work, vote=vote)
    return answer(work, result=work.step if work.kind == "commit" else None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 1)
    made = World(url)
    made.transport.handler = obedient
    yield made
    made.journal.close()


def coordinator(world: World, owner: str = "one", keep_s: float = 1.0) -> Coordinator:
    options = CoordinatorOptions(owner=owner, lease_s=10, keep_s=keep_s)
    return Coordinator(world.journal, world.transport, options, world.clock)


def launched(world: World, plan_: Plan = TRANSFER) -> Coordinator:
    world.journal.launch([request(plan_, RUN, at=world.clock.now)])
    one = coordinator(world)
    one.turn(0)
    return one


def turn_with(one: Coordinator, world: World, step: str) -> int:
    """One turn that hears of ``step`` alone; the number of events written."""
    transport = world.transport
    mine = next(found for found in transport.answers if found.step == step)
    others = [found for found in transport.answers if found is not mine]
    transport.answers = [mine]
    written = one.turn(0)
    transport.answers += others
    return written


def test_a_transfer_takes_one_write_before_its_second_phase_and_one_at_its_end(
    world: World,
) -> None:
    one = launched(world)
    writes = one.counts["transactions"]
    assert turn_with(one, world, "debit") == 0
    assert world.transport.acknowledged == []
    assert turn_with(one, world, "credit") == 3
    assert one.counts["transactions"] == writes + 1
    assert [work.kind for work in world.transport.sent[2:]] == ["commit", "commit"]
    assert len(world.transport.acknowledged) == 2
    assert turn_with(one, world, "credit") == 0
    assert turn_with(one, world, "debit") == 3
    assert one.counts["transactions"] == writes + 2
    assert world.status() == "completed"


def test_no_commit_goes_out_before_the_decision_is_in_the_journal(world: World) -> None:
    one = launched(world)
    known: list[list[str]] = []
    handler = world.transport.handler

    def looking(work: Work) -> Answer | None:
        if work.kind == "commit":
            known.append(world.types())
        return handler(work)

    world.transport.handler = looking
    one.turn(0)
    assert all("CommitDecided" in types for types in known)
    assert len(known) == 2


def test_a_vote_is_kept_no_longer_than_allowed(world: World) -> None:
    one = launched(world)
    assert turn_with(one, world, "debit") == 0
    kept, world.transport.answers = world.transport.answers, []
    world.clock.now += 0.5
    assert one.turn(0) == 0
    world.clock.now += 0.5
    assert one.turn(0) == 1
    assert world.types()[-1] == "BranchVoted"
    assert len(world.transport.acknowledged) == 1
    world.transport.answers = kept
    one.turn(0)
    one.turn(0)
    assert world.status() == "completed"


def test_whatever_is_written_takes_a_kept_vote_along(world: World) -> None:
    one = launched(world)
    turn_with(one, world, "debit")
    kept, world.transport.answers = world.transport.answers, []
    world.journal.launch([request(TRANSFER, "b" * 32, at=world.clock.now)])
    world.clock.now += 0.3
    assert one.turn(0) == 2
    assert world.types()[-1] == "BranchVoted"
    assert len(kept) == 1


def test_a_successor_takes_an_undecided_group_back_and_tries_it_again(world: World) -> None:
    launched(world)
    world.transport.answers = []
    world.clock.now += 20
    two = coordinator(world, "two")
    two.turn(0)
    assert world.types()[-1] == "AbortDecided"
    assert [work.kind for work in world.transport.sent[2:]] == ["abort", "abort"]
    for _ in range(4):
        two.turn(0)
    assert [work.round for work in world.transport.sent] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert world.status() == "completed"


def test_a_successor_tells_a_decision_again(world: World) -> None:
    one = launched(world)
    one.turn(0)
    world.transport.answers = []
    world.clock.now += 20
    two = coordinator(world, "two")
    two.turn(0)
    assert "AbortDecided" not in world.types()
    world.clock.now += 20
    two.turn(0)
    two.turn(0)
    assert world.status() == "completed"


def test_c10_without_a_journal_nothing_is_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = launched(world)

    def down(_writes: list[ShardWrite]) -> list[Tenure]:
        raise JournalUnavailableError("down")

    with monkeypatch.context() as patched:
        patched.setattr(world.journal, "append", down)
        with pytest.raises(JournalUnavailableError):
            one.turn(0)
    assert {work.kind for work in world.transport.sent} == {"prepare"}
    assert world.types()[-1] == "RunLaunched"


def test_a_last_is_asked_only_once_the_votes_are_in_the_journal(world: World) -> None:
    world.journal.launch(
        [request(plan(group(branch("debit"), branch("post", "last"))), RUN, at=1_000.0)]
    )
    one = coordinator(world)
    one.turn(0)
    assert one.turn(0) == 1
    assert world.types()[-1] == "BranchVoted"
    assert [(work.step, work.one_phase) for work in world.transport.sent] == [
        ("debit", False),
        ("post", True),
    ]
    one.turn(0)
    one.turn(0)
    assert world.status() == "completed"


def test_a_groups_time_begins_when_it_is_asked(world: World) -> None:
    """Else an overload would make groups time out unasked, and taking them back be all that workers do."""
    brief = plan(group(branch("debit"), branch("credit"), timeout_s=4.0))
    for number in range(60):
        world.journal.launch([request(brief, f"run-{number}", at=world.clock.now)])
    one = coordinator(world)
    sent = world.transport.sent
    world.transport.handler = lambda _: None
    one.turn(0)
    first = {work.run for work in sent}
    world.clock.now += 3.0
    one.turn(0)
    second = {work.run for work in sent} - first
    assert first
    assert second
    world.clock.now += 1.5
    one.turn(0)
    assert {work.run for work in sent if work.kind == "abort"} == first
    world.clock.now += 3.0
    one.turn(0)
    assert {work.run for work in sent if work.kind == "abort"} >= first | second
