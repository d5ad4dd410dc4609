"""The benchmarks run from end to end and prove what they count; how fast anything is, is not asked here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import run, tally
from benchmarks.figure import Figure, Target, in_pairs, quantile
from benchmarks.size import QUICK
from benchmarks.stack import Servers, stack
from benchmarks.steps import STEPS, five_steps


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """The servers of a benchmark run."""
    found = Servers()
    try:
        yield found
    finally:
        found.close()


@pytest.mark.timeout(300)
def test_it_prints_one_json_object_of_figures(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["celery_chain_throughput", "dbos_in_process_throughput"]
    assert run.main(["--quick", "--json", "--only", names[0], "--only", names[1]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == names
    for figure in found.values():
        assert figure["ours"] > 0
        assert figure["peer"] > 0
        assert figure["ratio"] == pytest.approx(figure["ours"] / figure["peer"], rel=0.01)
        assert figure["unit"] == "runs/s"
        assert figure["settings"]["pairs"] == QUICK.pairs
        assert figure["settings"]["fsync"] == "on"


@pytest.mark.timeout(300)
def test_every_run_completes_and_every_effect_is_counted_once(servers: Servers) -> None:
    with stack(servers) as it:
        it.start_coordinator()
        it.start_worker()
        it.launch(five_steps, 25)
        it.wait_for_completed(25)
        assert it.effects()[:STEPS] == [25] * STEPS
        assert it.scalar("SELECT count(*) FROM saga_event WHERE type = 'StepSucceeded'") == 125
        assert list(it.journal.verify()) == []


def test_a_run_too_many_or_too_few_fails_the_measurement(servers: Servers) -> None:
    from benchmarks.over_celery import Effects

    with stack(servers) as it:
        effects = Effects(it)
        for step in range(STEPS):
            tally.count(step)
        effects.check(1)
        tally.count(2)
        with pytest.raises(RuntimeError, match="had the effects"):
            effects.check(1)


def test_effects_of_several_files_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tally.FOLDER_VARIABLE, str(tmp_path))
    assert tally.totals(tmp_path)[0] == 0
    (tmp_path / "1-1.tally").write_bytes((3).to_bytes(8, "little") * tally.SLOTS)
    (tmp_path / "2-2.tally").write_bytes((4).to_bytes(8, "little") * tally.SLOTS)
    assert tally.totals(tmp_path) == [7] * tally.SLOTS


def test_a_target_is_of_the_ratio_where_there_is_a_peer() -> None:
    against = Figure("a", 10.0, "runs/s", {}, peer=2.0, ratio=5.0, target=Target(5.0, "more"))
    alone = Figure("b", 10.0, "s", {}, target=Target(5.0, "less"))
    assert against.met is True
    assert alone.met is False
    assert Figure("c", 1.0, "s", {}).met is None


def test_pairs_are_measured_alternately() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    found = in_pairs(2, lambda: side("ours", 6.0), lambda: side("peer", 2.0))
    assert order == ["peer", "ours", "peer", "ours"]
    assert found == (6.0, 2.0, 3.0)
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.95) == 4.0


def test_an_unknown_figure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--only", "nothing"])
    assert "celery_chain_throughput" in capsys.readouterr().err
