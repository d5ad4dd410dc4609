"""The views of a run: each is checked against what the kernel says of the same events."""

import pytest
from msgspec.structs import replace

from orchestrator.journal.port import Recorded
from orchestrator.kernel.state import Status
from orchestrator.views.advice import advice
from orchestrator.views.attempts import History, _note_change
from orchestrator.views.read_model import differences
from orchestrator.views.replay import Change, replay, row_of, state_at
from orchestrator.views.spans import span_text
from orchestrator.views.statistics import quantiles, statistics
from orchestrator.views.steps import steps_of, tree
from orchestrator.views.timeline import timeline
from tests.unit.cli.stage import Stage


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.stuck()
    return made


def history(stage: Stage) -> list[Recorded]:
    return stage.store.history("aaaa1111")


def test_the_timeline_has_every_event_and_what_it_began(stage: Stage) -> None:
    entries = timeline(stage.store.plans()[0], history(stage))
    assert [entry.type for entry in entries] == [record.type for record in history(stage)]
    assert entries[0].began == ("reserve",)
    assert entries[1].began == ("charge",)
    assert [entry.undoing for entry in entries if entry.undoing] == [("reserve",)]


def test_the_state_at_a_time_is_the_fold_up_to_it(stage: Stage) -> None:
    plan, records = stage.store.plans()[0], history(stage)
    for moment in replay(plan, records):
        upto = [record for record in records if record.at <= moment.record.at]
        then = state_at(plan, records, moment.record.at)
        assert then is not None
        assert then.length == len(upto)
    assert state_at(plan, records, 0.0) is None


def test_steps_have_attempts_and_durations(stage: Stage) -> None:
    steps = {s.step: s for s in steps_of(tree(stage.store.plans()[0], history(stage), stage.clock))}
    reserve = steps["reserve"]
    assert reserve.status == Status.UNDO_PARKED.value
    assert [attempt.outcome for attempt in reserve.attempts] == ["succeeded", *["failed"] * 3]
    assert reserve.took_s == pytest.approx(0.01)
    assert reserve.undo_ended_at is None
    assert steps["charge"].reason == "no money"


def test_advice_is_what_the_kernel_allows(stage: Stage) -> None:
    state = state_at(stage.store.plans()[0], history(stage))
    assert state is not None
    assert [item.operation for item in advice(state, stage.clock)] == ["retry", "resolve as undone"]


def test_the_oracle_is_silent_and_finds_each_kind_of_difference(stage: Stage) -> None:
    assert list(differences(stage.store)) == []
    rows = stage.store._tables.runs
    row = rows["aaaa1111"]
    rows["aaaa1111"] = replace(row, status="completed")
    assert "status" in next(iter(differences(stage.store)))
    rows["aaaa1111"] = replace(row, updated_at=0.0)
    assert list(differences(stage.store)) == []
    del rows["aaaa1111"]
    assert "has no row" in next(iter(differences(stage.store)))
    rows["aaaa1111"] = row
    rows["ghost"] = replace(row, run_id="ghost")
    assert "no event" in next(iter(differences(stage.store)))


def test_the_row_of_a_replay_is_the_writers(stage: Stage) -> None:
    row = stage.store.find("aaaa1111")
    made = row_of(stage.store.plans()[0], history(stage))
    assert replace(made, updated_at=row.updated_at) == row


def test_statistics_read_no_more_than_they_may_and_say_so(stage: Stage) -> None:
    whole = statistics(stage.store, 2, stage.clock, 3600)
    assert not whole.shortened
    assert whole.sagas[0].launched == 1
    few = statistics(stage.store, 2, stage.clock, 3600, events_max=4)
    assert few.shortened
    assert few.since > whole.since
    assert few.sagas[0].launched == 0


def test_quantiles_by_nearest_rank() -> None:
    found = quantiles(float(n) for n in range(1, 101))
    assert found is not None
    assert (found.p50_s, found.p95_s, found.p99_s, found.max_s) == (50, 95, 99, 100)
    assert quantiles([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.012, "12 ms"), (1.2, "1.2 s"), (59.7, "1m"), (250, "4m 10s"), (7500, "2h 5m")],
)
def test_spans_read_well(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_a_step_undone_while_it_ran_stops_counting_forward_time() -> None:
    """Its change goes from running straight to undoing: both spans have to be told apart."""
    history = History()
    _note_change(history, Change("charge", None, Status.RUNNING), 10.0)
    _note_change(history, Change("charge", Status.RUNNING, Status.UNDOING), 12.0)
    _note_change(history, Change("charge", Status.UNDOING, Status.UNDO_PARKED), 15.0)
    do, undo = history.span("do"), history.span("undo")
    assert do is not None
    assert undo is not None
    assert do.duration_s(100.0) == 2.0
    assert undo.duration_s(100.0) == 88.0
