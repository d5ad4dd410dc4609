"""Any journal keeps bulk operations: a change takes its messages along, an outdated one does nothing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orchestrator.errors import BulkNotFoundError
from orchestrator.journal.audit import audit
from orchestrator.journal.bulk import Bulk, BulkItem, BulkLimits, BulkNote, Sent
from orchestrator.journal.port import Journal, OperationFilter
from orchestrator.journal.records import shard_of
from orchestrator.kernel import messages as msg
from orchestrator.kernel.events import BulkSteered
from orchestrator.kernel.messages import Noted
from tests.contract.journal_samples import SHARDS, request, run_in, started, write

RUNS = (run_in(0), run_in(1), run_in(1, number=1))


def bulk(bulk_id: str = "b1", at: float = 5.0) -> Bulk:
    message = msg.Retry(at=at, actor="ann", step="reserve", reason="mended")
    return Bulk(bulk_id, message, ("place_order",), len(RUNS), BulkLimits())


def test_a_bulk_operation_is_read_back_with_its_runs(journal: Journal) -> None:
    assert journal.add_bulk(bulk(), RUNS)
    assert not journal.add_bulk(replace(bulk(), total=9), RUNS[:1])
    assert journal.bulk("b") == replace(bulk(), counts={"waiting": 3})
    assert journal.bulk_items("b1") == [BulkItem(at, run) for at, run in enumerate(RUNS)]
    assert [item.run_id for item in journal.bulk_items("b1", after=0, limit=1)] == [RUNS[1]]
    assert journal.bulk_items("b1", outcome="sent") == []


def test_one_that_is_not_there_or_fits_several_is_an_error(journal: Journal) -> None:
    journal.add_bulk(bulk("b1"), RUNS)
    journal.add_bulk(bulk("b2"), RUNS)
    for wanted in ("x", "", "b", "\0"):
        with pytest.raises(BulkNotFoundError):
            journal.bulk(wanted)


def test_the_newest_come_first_and_the_running_alone(journal: Journal) -> None:
    for number in range(3):
        journal.add_bulk(bulk(f"b{number}", at=float(number)), RUNS)
    journal.write_bulk(replace(journal.bulk("b1"), state="done"), (), ())
    assert [one.id for one in journal.bulks()] == ["b2", "b1", "b0"]
    assert [one.id for one in journal.bulks(limit=1)] == ["b2"]
    assert [one.id for one in journal.bulks(running=True)] == ["b2", "b0"]


def test_a_change_takes_its_messages_along_and_an_outdated_one_does_nothing(
    journal: Journal,
) -> None:
    started(journal, RUNS[0])
    journal.launch([request(RUNS[1])])
    taken = len(journal.inbox([0, 1], {}, 10))
    journal.add_bulk(bulk(), RUNS)
    read = journal.bulk("b1")
    retry = msg.Retry(at=6.0, actor="ann", request="x")
    marked = [replace(journal.bulk_items("b1")[0], wave=1, outcome="sent")]
    assert journal.write_bulk(replace(read, wave=1), marked, [Sent(RUNS[0], retry)])
    assert not journal.write_bulk(replace(read, wave=7), marked, [Sent(RUNS[0], retry)])
    now = journal.bulk("b1")
    assert (now.wave, now.revision, now.counts) == (1, 1, {"waiting": 2, "sent": 1})
    waiting = journal.inbox([0, 1], {}, 10)
    assert len(waiting) == taken + 1
    assert (waiting[-1].run_id, waiting[-1].shard, waiting[-1].message) == (RUNS[0], 0, retry)
    assert {row.run_id for row in journal.rows(RUNS)} == set(RUNS[:2])


def test_what_somebody_does_to_one_waits_for_the_log_in_the_same_transaction(
    journal: Journal,
) -> None:
    made = replace(bulk(), notes=(BulkNote(5.0, "started", "ann", "mended"),))
    assert journal.add_bulk(made, RUNS)
    assert not journal.add_bulk(made, RUNS)
    known = journal.bulk(made.id)
    paused = replace(known, state="paused", notes=(*known.notes, BulkNote(6.0, "paused", "bob")))
    assert journal.write_bulk(paused, (), (paused.said(),))
    assert not journal.write_bulk(paused, (), (paused.said(),)), "it was changed since"
    items = journal.inbox(range(SHARDS), {}, 10)
    place = (made.subject, shard_of(made.subject, SHARDS))
    assert [(item.run_id, item.shard) for item in items] == [place, place]
    messages = [item.message for item in items]
    events = [message.event for message in messages if isinstance(message, Noted)]
    assert [(e.what, e.actor, e.reason) for e in events if isinstance(e, BulkSteered)] == [
        ("started", "ann", "mended"),
        ("paused", "bob", ""),
    ]
    tenure = journal.begin_tenure(place[1], "c2", 6.0)
    journal.append([write(tenure, [(place[0], event) for event in events], [])])
    page = audit(journal, OperationFilter(operation="bulk"))
    assert [(one.run_id, one.step) for one in page.entries] == [
        (made.subject, "paused"),
        (made.subject, "started"),
    ]
    assert list(journal.verify()) == []
