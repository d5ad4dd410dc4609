"""The log is an older one: a database restored from a backup, or a replica that lagged and took over."""

from __future__ import annotations

import pytest

from orchestrator.errors import FencedError
from orchestrator.journal.port import Journal
from tests.contract.journal_samples import done, forgetting, row, run_in, started, write


def offsets(journal: Journal, shard: int) -> list[int]:
    return [record.offset for record in journal.feed(shard, 0, 1_000)]


def test_a_writer_that_lives_on_can_not_append_behind_what_was_forgotten(
    journal: Journal,
) -> None:
    run_id = run_in(0)
    tenure = started(journal, run_id)
    forget = forgetting(journal)
    (ahead,) = journal.append([write(tenure, [(run_id, done())])])
    forget(0, 2)
    for attempt in (
        write(ahead, [(run_id, done(at=3.0))], [row(run_id, status="completed")]),
        write(ahead, cursor=(3, 9.0)),
    ):
        with pytest.raises(FencedError) as fenced:
            journal.append([attempt])
        assert fenced.value.shard == 0
    assert offsets(journal, 0) == [1, 2]
    assert journal.find(run_id).status == "running"
    assert list(journal.verify()) == []
    journal.append([write(tenure, [(run_id, done())])])


def test_nor_where_another_log_has_grown_to_the_same_length_in_the_same_epoch(
    journal: Journal,
) -> None:
    run_id = run_in(0)
    started(journal, run_id)
    forget = forgetting(journal)
    forgotten = journal.begin_tenure(0, "one", 2.0)
    forget(0, 2)
    present = journal.begin_tenure(0, "two", 3.0)
    assert (present.epoch, present.next_offset) == (forgotten.epoch, forgotten.next_offset)
    with pytest.raises(FencedError):
        journal.append([write(forgotten, [(run_id, done())])])
    journal.append([write(present, [(run_id, done())])])
    assert list(journal.verify()) == []


def test_a_tenure_can_begin_beyond_one_that_was_forgotten(journal: Journal) -> None:
    run_id = run_in(0)
    started(journal, run_id)
    tenure = journal.begin_tenure(0, "two", 2.0, 7)
    assert tenure.epoch == 8
    assert list(journal.verify()) == []
    assert journal.begin_tenure(0, "three", 3.0, 7).epoch == 9
    assert list(journal.verify()) == []


def test_a_message_that_was_forgotten_can_not_be_taken_in(journal: Journal) -> None:
    """A launch, say, which was read before the log was restored: its plan is gone as well."""
    run_id = run_in(0)
    tenure = started(journal, run_id)
    with pytest.raises(FencedError) as fenced:
        journal.append([write(tenure, [(run_id, done())], consumed=[1_000_000])])
    assert fenced.value.shard == 0
    assert offsets(journal, 0) == [1, 2]
    journal.append([write(tenure, [(run_id, done())])])
