"""What happened lately: found from the ends of the logs, the same in every journal."""

from __future__ import annotations

import pytest

from orchestrator.journal import recent
from orchestrator.journal.port import Journal
from orchestrator.kernel.events import Event
from tests.contract.journal_samples import completed, done, launched, row, run_in, write


def fill(journal: Journal) -> None:
    """In two shards a run each: a step every ten seconds from 0 to 590, then its end; one began in the middle."""
    for shard, saga in ((0, "a"), (2, "b")):
        run, later = run_in(shard), run_in(shard, number=1)
        tenure = journal.begin_tenure(shard, "one", 0.0)
        events: list[tuple[str, Event]] = [(run, launched(run, at=0.0))]
        events += [(run, done(at=10.0 * n)) for n in range(60)]
        events.insert(31, (later, launched(later, at=300.0)))
        events.append((run, completed(at=600.0)))
        rows = [row(one, saga=saga) for one in (run, later)]
        journal.append([write(tenure, events, rows)])


@pytest.mark.parametrize("step", [1, 7, 1_000])
@pytest.mark.parametrize("since", [-5.0, 0.0, 295.0, 300.0, 595.0, 601.0])
def test_records_since_a_time_are_all_found(
    journal: Journal, since: float, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_STEP", step)
    fill(journal)
    found = journal.recent(since, 1_000)
    whole = [record for shard in (0, 2) for record in journal.feed(shard, 0, 1_000)]
    assert found.records == [record for record in whole if record.at >= since]
    assert found.covered == since


def test_of_too_many_records_the_newest_are_found(journal: Journal) -> None:
    fill(journal)
    found = journal.recent(0.0, 11)
    assert found.covered == 490.0
    assert {record.at for record in found.records} == {10.0 * n for n in range(50, 61)}
    assert journal.recent(550.0, 11).covered == 550.0


def test_a_clock_that_was_ahead_hides_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_STEP", 1)
    run = run_in(0)
    tenure = journal.begin_tenure(0, "one", 0.0)
    times = (0.0, 100.0, 141.0, 99.0, 130.0)
    journal.append([write(tenure, [(run, done(at=at)) for at in times], [row(run)])])
    assert [record.at for record in journal.recent(100.0, 100).records] == [100.0, 141.0, 130.0]


def test_what_happened_is_counted_by_minute_and_saga(journal: Journal) -> None:
    fill(journal)
    types = ("RunLaunched", "RunCompleted")
    assert journal.happened(0.0, 1_000, types).numbers == {
        ("RunLaunched", 0): 2,
        ("RunLaunched", 5): 2,
        ("RunCompleted", 10): 2,
    }
    some = journal.happened(241.0, 1_000, types, ("b", "c"))
    assert some.numbers == {("RunLaunched", 0): 1, ("RunCompleted", 5): 1}
    assert some.covered == 241.0
    assert journal.happened(0.0, 11, types).numbers == {("RunCompleted", 10): 2}
    assert journal.happened(0.0, 11, types).covered == 490.0
    assert journal.happened(0.0, 1_000, types, ("nobody",)).numbers == {}
