"""What a coordinator's load says of incidents, of what waits for a second person, and of what nobody answers."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.client import Client, ClientOptions
from orchestrator.coordinator.gauges import CLUSTERS_MAX
from orchestrator.coordinator.metering import Load
from orchestrator.coordinator.metrics import PrometheusMeter
from orchestrator.kernel.incidents import Incident
from orchestrator.kernel.second import TwoPeople
from orchestrator.kernel.summary import RunSummary
from tests.unit.cli.stage import Stage


def stuck(number: int, *incidents: Incident, saga: str = "shop") -> RunSummary:
    row = RunSummary(
        f"r{number}", 0, saga, 1, "hash", "stuck", open=True, launched_at=1, updated_at=2
    )
    return replace(row, incidents=incidents)


def incident(step: str, cluster: str, *, acked: bool = False) -> Incident:
    return Incident(step, "do", cluster, 1.0, 2, "why", acked_at=3.0 if acked else None)


def gauges(load: Load, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
    meter = PrometheusMeter()
    meter.watch(lambda: load)
    return {
        tuple(sample.labels[name] for name in labels): sample.value
        for family in text_string_to_metric_families(generate_latest(meter.registry).decode())
        for sample in family.samples
        if sample.name == metric
    }


def told(runs: Sequence[RunSummary]) -> dict[tuple[str, ...], float]:
    load = Load(10.0, 1, runs, {}, {}, {})
    return gauges(load, "saga_open_incidents", "saga", "step", "cluster", "taken")


def test_incidents_are_counted_by_cause_and_by_whether_somebody_is_on_them() -> None:
    runs = [
        stuck(1, incident("charge[3]", "aa"), incident("charge[4]", "aa")),
        stuck(2, incident("charge[0]", "aa", acked=True), incident("mail", "bb")),
    ]
    assert told(runs) == {
        ("shop", "charge", "aa", "no"): 2,
        ("shop", "charge", "aa", "yes"): 1,
        ("shop", "mail", "bb", "no"): 1,
    }


def test_beyond_the_largest_causes_they_are_counted_together() -> None:
    many = [stuck(n, incident("mail", f"c{n:03d}")) for n in range(CLUSTERS_MAX + 7)]
    large = [stuck(1_000 + n, incident("charge", "zz"), saga="other") for n in range(3)]
    found = told([*many, *large])
    assert len(found) == CLUSTERS_MAX + 1
    assert found["other", "charge", "zz", "no"] == 3, "the largest is named"
    assert found["shop", "other", "other", "no"] == 8
    assert sum(found.values()) == len(many) + len(large)


class Desk(Stage):
    """Where retrying and acknowledging take two people."""

    def __init__(self) -> None:
        super().__init__()
        self.two_people = TwoPeople(frozenset({"retry", "acknowledge"}), expires_s=100.0)

    def says(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        assert self.coordinator is not None
        return gauges(self.coordinator.load(), metric, *labels)

    def waiting(self) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
        return (
            self.says("saga_waiting_approvals", "saga", "operation"),
            self.says("saga_oldest_approval_seconds", "saga"),
        )

    def person(self, name: str) -> Client:
        return Client(self.store, {}, options=ClientOptions(name), clock=self.now)


def test_what_waits_for_a_second_person_is_told_until_it_is_answered_or_too_old() -> None:
    desk = Desk()
    one, two = (desk.stuck(f"{n:04d}{'a' * 28}") for n in range(2))
    ann, bob = desk.person("ann"), desk.person("bob")
    assert desk.waiting() == ({}, {})
    ann.retry(one)
    desk.turns(2)
    desk.clock += 30
    ann.acknowledge(two)
    desk.turns(2)
    assert desk.waiting() == ({("shop", "retry"): 1, ("shop", "acknowledge"): 1}, {("shop",): 30})
    [asked] = bob.approvals.list(run=one)
    bob.approvals.deny(one, asked.number)
    desk.turns(2)
    assert desk.waiting() == ({("shop", "acknowledge"): 1}, {("shop",): 0})
    desk.clock += 101
    assert desk.waiting() == ({}, {})


def test_a_command_that_nobody_answers_grows_old_however_often_it_is_tried() -> None:
    desk = Desk()
    desk.start()
    desk.transport.handler = lambda work: None
    asked = desk.clock
    desk.launch("a" * 32)  # its step may be tried three times, for 30 seconds each
    desk.turns(2)
    desk.launch("b" * 32)
    for _ in range(4):
        desk.clock += 10
        desk.turns(2)
    assert [work.attempt for work in desk.transport.sent if work.run == "a" * 32] == [1, 2]
    assert desk.says("saga_oldest_command_seconds", "service") == {("svc",): desk.clock - asked}
    desk.mend()
    for _ in range(8):
        desk.clock += 10
        desk.turns(2)
    assert desk.says("saga_oldest_command_seconds", "service") == {}
