"""`saga stats` of atomic groups: what was decided, tried again, and how long branches were prepared."""

from __future__ import annotations

from orchestrator.kernel.events import Failure
from orchestrator.transport.messages import Answer, Work
from tests.unit.cli.stage import Stage
from tests.unit.coordinator.scripted import answer, request
from tests.unit.kernel.scenario import branch, group, plan

TRANSFER = plan(group(branch("debit"), branch("credit")))


def test_stats_has_a_table_of_groups_and_one_of_how_long_branches_were_prepared() -> None:
    stage = Stage()
    stage.start()

    def handler(work: Work) -> Answer:
        if work.kind == "prepare" and work.step == "credit" and work.run == "bad":
            return answer(work, "failed", failure=Failure("E", "no"))
        stage.clock += 0.5
        return answer(work, vote="prepared" if work.kind == "prepare" else None)

    stage.transport.handler = handler
    for run in ("good", "better", "bad"):
        stage.store.launch([request(TRANSFER, run, at=stage.clock)])
    for _ in range(10):
        stage.turns(1)
        stage.clock += 1.0
    (found,) = stage.json("stats")["groups"]
    assert (found["committed"], found["retried"], found["given_up"]) == (2, 0, 1)
    rows = [line.split() for line in stage.run("stats").stdout.splitlines()]
    assert ["saga", "atomic", "group", "committed", "tried", "again", "given", "up"] in rows
    assert ["buy", "atomic", "2", "-", "1"] in rows
    assert ["saga", "branch", "prepared", "p50", "p95", "p99", "longest"] in rows
    assert [row[:3] for row in rows if row[:2] == ["buy", "debit"]] == [["buy", "debit", "2"]]
