"""The one place where what takes two people is stopped, whatever sent it: each way around it is tried."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from orchestrator import wiring
from orchestrator.client import Client, ClientOptions
from orchestrator.errors import OperationRefusedError, SettingsError
from orchestrator.journal.bulk import Bulk, BulkLimits
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.kernel.second import NAMES, NOBODY, TwoPeople
from orchestrator.settings import Settings, TwoPeopleOperation, load
from tests.unit.cli.stage import Stage

RETRIES = TwoPeople(frozenset({"retry"}))
BULKS = TwoPeople(frozenset({"bulk"}))


class House(Stage):
    """Stuck runs, and people by name."""

    def __init__(self, rule: TwoPeople, runs: int = 3) -> None:
        super().__init__()
        self.two_people = rule
        self.runs = [self.stuck(f"{n:04d}{'a' * 28}") for n in range(runs)]
        self.mend()

    def person(self, name: str) -> Client:
        return Client(self.store, {}, options=ClientOptions(name), clock=self.now)

    def types(self, run: str) -> list[str]:
        return [record.type for record in self.store.history(run)]

    def retried(self) -> list[str]:
        return [run for run in self.runs if "StepRetried" in self.types(run)]

    def waiting(self) -> list[str]:
        return [run for run in self.runs if "ApprovalAsked" in self.types(run)]

    def pass_time(self, times: int = 8) -> None:
        for _ in range(times):
            self.clock += 0.6
            self.turns(3)

    def bulk(self, rule: TwoPeople | None = None, runs: int = 3) -> Bulk:
        retry = msg.Retry(at=self.clock, actor="ann", reason="mended")
        limits = BulkLimits((1,), batch=2)
        return self.person("ann").bulk.start(retry, RunFilter(stuck=True), limits=limits)


def test_from_python_it_waits_until_another_person_approves() -> None:
    house = House(RETRIES, runs=1)
    [run] = house.runs
    ann, bob = house.person("ann"), house.person("bob")
    ann.retry(run, reason="mended")
    house.turns()
    assert house.retried() == []
    [waits] = bob.approvals.list()
    assert (waits.actor, waits.operation, waits.reason, waits.answer) == (
        *("ann", "retry", "mended", "waiting"),
    )
    judged = bob.approvals.get(run, waits.number)
    assert judged.now is not None
    assert (judged.now.events, judged.now.undoes) == (judged.then.events, judged.then.undoes)
    assert judged.then.events == ("StepRetried",)
    with pytest.raises(OperationRefusedError, match="can't be the second person"):
        ann.approvals.approve(run, waits.number)
    bob.approvals.approve(run, waits.number, reason="seen")
    house.turns()
    assert house.store.find(run).status == "compensated"
    assert bob.approvals.list() == []
    judged = bob.approvals.get(run, waits.number)
    assert (judged.approval.answer, judged.approval.second, judged.approval.why) == (
        *("approved", "bob", "seen"),
    )
    assert judged.now is None
    [done] = [one for one in ann.audit().entries if one.operation == "retry"]
    assert (done.actor, done.second, done.intact) == ("ann", "bob", True)


def test_past_the_client_it_waits_all_the_same() -> None:
    house = House(RETRIES, runs=1)
    [run] = house.runs
    for message in (
        msg.Retry(at=house.clock, actor="ann"),
        msg.Retry(at=house.clock, actor="carl", step="reserve", request="q"),
        msg.Retry(at=house.clock, actor="dora", bulk="no such bulk operation"),
        msg.Retry(at=house.clock, actor="emil", bulk=msg.MANY),
    ):
        house.store.send(run, message)
    house.store.send(run, msg.Approve(at=house.clock, actor="ann", number=10_000))
    house.turns()
    assert house.retried() == []
    assert house.types(run)[-5:] == [*["ApprovalAsked"] * 4, "OperationRefused"]


def test_what_needs_no_second_person_is_done() -> None:
    house = House(replace(RETRIES, sagas=frozenset({"another"})))
    for run in house.runs:
        house.person("ann").retry(run)
    house.bulk()
    house.turns()
    assert house.retried() == house.runs


@pytest.mark.parametrize("rule", [RETRIES, BULKS])
def test_a_recorded_bulk_operation_waits_as_a_whole_and_is_then_carried_out(
    rule: TwoPeople,
) -> None:
    house = House(rule)
    ann, bob = house.person("ann"), house.person("bob")
    made = house.bulk()
    house.pass_time()
    held = ann.bulk.get(made.id)
    assert (held.state, held.counts, house.retried()) == ("waiting", {"waiting": 3}, [])
    with pytest.raises(OperationRefusedError, match="can't be the second person"):
        ann.bulk.approve(made.id)
    with pytest.raises(OperationRefusedError, match="waits for a second person"):
        ann.bulk.resume(made.id)
    bob.bulk.approve(made.id, reason="seen")
    house.pass_time()
    done = ann.bulk.get(made.id)
    assert (done.state, done.counts, done.second) == ("done", {"done": 3}, "bob")
    assert house.waiting() == []
    done_by = {(one.actor, one.second) for one in ann.audit().entries if one.is_on_run}
    assert done_by == {("ann", "bob")}
    steered = [(one.actor, one.step) for one in ann.audit().entries if not one.is_on_run]
    assert steered == [("bob", "approved"), ("ann", "started")]
    with pytest.raises(OperationRefusedError, match="is done"):
        bob.bulk.approve(made.id)


def test_who_may_not_approve_a_bulk_operation_does_not_get_it_going() -> None:
    house = House(replace(BULKS, approvers=frozenset({"carl"})))
    made = house.bulk()
    house.pass_time(2)
    house.person("bob").bulk.approve(made.id)
    house.pass_time()
    held = house.store.bulk(made.id)
    assert (held.state, held.second, house.retried()) == ("waiting", "", [])
    assert "bob isn't one of those" in held.notes[-1].reason
    house.person("carl").bulk.approve(made.id)
    house.pass_time()
    assert house.retried() == house.runs


def test_a_bulk_operation_that_says_it_was_approved_by_its_own_starter_waits() -> None:
    house = House(BULKS)
    message = msg.Retry(at=house.clock, actor="ann")
    forged = Bulk("b1", message, ("shop",), 3, BulkLimits(), second="ann")
    house.store.add_bulk(forged, house.runs)
    house.pass_time()
    assert (house.store.bulk("b1").state, house.retried()) == ("waiting", [])


def test_a_bulk_operation_does_not_wait_for_ever() -> None:
    house = House(replace(BULKS, expires_s=60.0))
    made = house.bulk()
    house.pass_time(2)
    house.clock += 61
    with pytest.raises(OperationRefusedError, match="waited too long"):
        house.person("bob").bulk.approve(made.id)
    house.person("ann").bulk.abort(made.id)
    assert house.store.bulk(made.id).state == "aborted"


def test_a_bulk_operation_that_a_slow_clock_approved_too_late_does_not_begin() -> None:
    house = House(replace(BULKS, expires_s=60.0))
    made = house.bulk()
    house.pass_time(2)
    held = house.store.bulk(made.id)
    house.clock += 61
    assert house.store.write_bulk(replace(held, state="running", second="bob"), (), ())
    part = held.part(house.runs[0], house.clock)
    house.store.send(house.runs[0], part)
    house.pass_time()
    ended = house.store.bulk(made.id)
    assert (ended.state, ended.second, house.retried()) == ("aborted", "", [])
    assert "bob approved it when its time was over" in ended.why
    assert house.waiting() == house.runs[:1], "and it vouches for nothing"


def test_an_approved_bulk_operation_vouches_for_nothing_before_it_has_begun() -> None:
    house = House(RETRIES)
    made = house.bulk()
    house.pass_time(2)
    house.person("bob").bulk.approve(made.id)
    bulk = house.store.bulk(made.id)
    house.store.send(house.runs[0], bulk.part(house.runs[0], house.clock))
    house.turns()  # the clock stands: nobody has looked at the approval yet
    assert (house.retried(), house.waiting()) == ([], house.runs[:1])


def test_a_bulk_operation_that_has_begun_may_go_on_after_its_time_to_be_approved() -> None:
    house = House(replace(BULKS, expires_s=60.0))
    made = house.bulk()
    house.pass_time(2)
    house.person("bob").bulk.approve(made.id)
    house.pass_time(1)
    assert 0 < len(house.retried()) < 3
    house.clock += 61
    house.pass_time()
    assert (house.retried(), house.store.bulk(made.id).state) == (house.runs, "done")


def test_what_only_looks_like_a_part_of_an_approved_bulk_operation_waits() -> None:
    house = House(RETRIES)
    outside, inside = house.runs[0], house.runs[1]
    retry = msg.Retry(at=house.clock, actor="ann", reason="mended")
    made = house.person("ann").bulk.start(retry, house.runs[1:])
    house.pass_time(2)
    house.person("bob").bulk.approve(made.id)
    bulk = house.store.bulk(made.id)
    house.store.send(outside, bulk.part(outside, house.clock))
    house.store.send(inside, replace(bulk.part(inside, house.clock), request="q", reason="mine"))
    house.pass_time()
    assert house.retried() == house.runs[1:]
    assert house.waiting() == [outside, inside]
    assert "mine" not in str(house.store.history(inside)[-3:])


def test_a_bulk_operation_that_nobody_approved_yet_vouches_for_nothing() -> None:
    house = House(RETRIES)
    made = house.bulk()
    house.pass_time(2)
    bulk = house.store.bulk(made.id)
    house.store.send(house.runs[0], bulk.part(house.runs[0], house.clock))
    house.turns()
    assert (house.retried(), house.waiting()) == ([], house.runs[:1])


def test_the_settings_say_what_takes_two_people() -> None:
    given = {"operations": ["skip", "bulk"], "sagas": ["shop"], "approvers": ["bob"]}
    settings = load(second_person=given | {"expires_s": 60})
    assert wiring.coordinator_options(settings).two_people == TwoPeople(
        frozenset({"skip", "bulk"}), frozenset({"shop"}), frozenset({"bob"}), 60.0
    )
    assert wiring.client_options(settings).two_people == wiring.two_people(settings)
    assert wiring.coordinator_options(Settings()).two_people == NOBODY
    assert get_args(TwoPeopleOperation) == NAMES


@pytest.mark.parametrize(
    "given",
    [
        {"operations": ["dance"]},
        {"sagas": ["shop"]},
        {"approvers": ["bob"]},
        {"operations": ["skip"], "expires_s": 31 * 86_400},
    ],
)
def test_settings_that_would_do_nothing_are_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="second_person"):
        load(second_person=given)
