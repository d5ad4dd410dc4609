"""What every journal does, shown on PostgreSQL, SQLite and memory alike: writing, fencing, the log itself."""

from __future__ import annotations

import threading

import msgspec
import pytest

from orchestrator.errors import EncodingError, FencedError, RunNotFoundError, UnknownSagaError
from orchestrator.journal.port import Journal, RunFilter
from orchestrator.journal.records import TENURE
from orchestrator.kernel.events import Event
from orchestrator.kernel.messages import Cancel, Launch, Signal
from tests.contract.journal_samples import (
    PLAN,
    SHARDS,
    completed,
    done,
    launched,
    request,
    row,
    run_in,
    started,
    summarized,
    write,
)


def offsets(journal: Journal, shard: int) -> list[int]:
    return [record.offset for record in journal.feed(shard, 0, 1_000)]


class TestAppend:
    """One turn's write."""

    def test_events_come_back_as_written_in_order_and_without_gaps(self, journal: Journal) -> None:
        run_id = run_in(1)
        events: list[Event] = [
            launched(run_id),
            done(result={"x": [1, 'q"\\', None]}, actor='a"b\\c,{}'),
        ]
        tenure = journal.begin_tenure(1, "one", 0.5)
        tenure = journal.append([write(tenure, [(run_id, event) for event in events])])[0]
        journal.append([write(tenure, [(run_id, completed(at=3.25))])])
        found = journal.history(run_id)
        assert [record.event for record in found] == [*events, completed(at=3.25)]
        assert [record.at for record in found] == [1.0, 2.0, 3.25]
        assert found[1].actor == 'a"b\\c,{}'
        assert offsets(journal, 1) == [1, 2, 3, 4]
        assert list(journal.verify()) == []

    def test_a_tenure_tells_where_the_log_ends(self, journal: Journal) -> None:
        tenure = journal.begin_tenure(2, "one", 0.5)
        assert (tenure.epoch, tenure.next_offset, journal.end(2)) == (1, 2, 1)
        run_id = run_in(2)
        after = journal.append([write(tenure, [(run_id, launched(run_id))], cursor=(2, 7.5))])[0]
        assert (after.epoch, after.next_offset, journal.end(2)) == (1, 3, 2)
        assert (after.cursor_offset, after.cursor_at) == (2, 7.5)
        again = journal.begin_tenure(2, "two", 9.0)
        assert (again.epoch, again.next_offset) == (2, 4)
        assert (again.cursor_offset, again.cursor_at) == (2, 7.5)
        assert again.chain == journal.feed(2, 2, 1)[0].hash

    def test_a_turn_writes_several_shards_at_once(self, journal: Journal) -> None:
        tenures = [journal.begin_tenure(shard, "one", 0.5) for shard in range(3)]
        runs = [run_in(shard) for shard in range(3)]
        journal.append(
            [
                write(tenure, [(run_id, launched(run_id))], [row(run_id)])
                for tenure, run_id in zip(tenures, runs, strict=True)
            ]
        )
        assert [offsets(journal, shard) for shard in range(4)] == [[1, 2], [1, 2], [1, 2], []]
        assert [journal.open_runs(shard) for shard in range(3)] == [[run_id] for run_id in runs]
        assert list(journal.verify()) == []

    def test_a_turn_without_events_moves_the_cursor_and_consumes(self, journal: Journal) -> None:
        run_id = run_in(0)
        tenure = started(journal, run_id)
        journal.send(run_id, Cancel(at=2.0))
        (item,) = journal.inbox([0], {}, 10)
        journal.append([write(tenure, consumed=[item.id], cursor=(2, 9.0))])
        assert journal.inbox([0], {}, 10) == []
        assert journal.begin_tenure(0, "two", 3.0).cursor_at == 9.0

    def test_nothing_to_write_is_no_write(self, journal: Journal) -> None:
        assert journal.append([]) == []

    def test_the_read_model_shows_the_last_write(self, journal: Journal) -> None:
        run_id = run_in(0)
        tenure = started(journal, run_id)
        last = row(
            run_id,
            status="stuck",
            updated_at=4.5,
            reason="no\0 answer \"'\\",
            steps=("reserve[0]", "charge"),
            parked=("charge",),
            result={"a": 1},
        )
        journal.append([write(tenure, [(run_id, done())], [last])])
        found = journal.find(run_id)
        assert found.reason == "no\ufffd answer \"'\\"
        assert found == msgspec.structs.replace(last, reason=found.reason)

    def test_what_is_no_json_is_refused_before_anything_is_written(self, journal: Journal) -> None:
        run_id = run_in(0)
        tenure = started(journal, run_id)
        with pytest.raises(EncodingError):
            journal.append([write(tenure, [(run_id, done(result=object()))])])
        with pytest.raises(EncodingError):
            journal.append([write(tenure, [(run_id, done())], [row(run_id, result=object())])])
        assert offsets(journal, 0) == [1, 2]
        journal.append([write(tenure, [(run_id, done())])])


class TestFence:
    """Only the latest tenure writes."""

    def test_a_paused_writer_can_append_nothing_after_its_successor_began(
        self, journal: Journal
    ) -> None:
        run_id = run_in(0)
        paused = started(journal, run_id)
        journal.send(run_id, Cancel(at=2.0))
        (item,) = journal.inbox([0], {}, 10)
        successor = journal.begin_tenure(0, "two", 2.0)
        for attempt in (
            write(
                paused, [(run_id, done())], [row(run_id, status="completed")], [item.id], (9, 9.0)
            ),
            write(paused, consumed=[item.id]),
            write(paused, cursor=(9, 9.0)),
            write(paused, runs=[row(run_id, status="completed")]),
        ):
            with pytest.raises(FencedError) as fenced:
                journal.append([attempt])
            assert fenced.value.shard == 0
        assert offsets(journal, 0) == [1, 2, 3]
        assert journal.find(run_id).status == "running"
        assert journal.inbox([0], {}, 10) == [item]
        journal.append([write(successor, [(run_id, done())], consumed=[item.id])])
        assert list(journal.verify()) == []

    def test_one_fenced_shard_keeps_the_whole_turn_out(self, journal: Journal) -> None:
        mine, lost = journal.begin_tenure(0, "one", 1.0), journal.begin_tenure(3, "one", 1.0)
        journal.begin_tenure(3, "two", 2.0)
        turn = [
            write(mine, [(run_in(0), launched(run_in(0)))], [row(run_in(0))]),
            write(lost, [(run_in(3), launched(run_in(3)))], [row(run_in(3))]),
        ]
        with pytest.raises(FencedError) as fenced:
            journal.append(turn)
        assert fenced.value.shard == 3
        assert offsets(journal, 0) == [1]
        with pytest.raises(RunNotFoundError):
            journal.find(run_in(0))
        journal.append(turn[:1])

    def test_a_tenure_that_was_written_with_can_not_be_used_again(self, journal: Journal) -> None:
        tenure = journal.begin_tenure(1, "one", 1.0)
        other = journal.begin_tenure(0, "one", 1.0)
        run_id = run_in(1)
        journal.append([write(tenure, [(run_id, launched(run_id))])])
        with pytest.raises(FencedError) as fenced:
            journal.append([write(other), write(tenure, [(run_id, launched(run_id))])])
        assert fenced.value.shard == 1
        assert offsets(journal, 1) == [1, 2]

    def test_two_writers_race_and_the_log_has_one_winner_per_place(self, journal: Journal) -> None:
        run_id = run_in(0)
        started(journal, run_id)
        barrier = threading.Barrier(2)
        appended: list[float] = []
        broken: list[Exception] = []

        def writer(name: str, base: int) -> None:
            barrier.wait()
            try:
                tenure = journal.begin_tenure(0, name, 1.0)
                for turn in range(30):
                    at = float(base + turn)
                    try:
                        tenure = journal.append([write(tenure, [(run_id, done(at=at))])])[0]
                        appended.append(at)
                    except FencedError:
                        tenure = journal.begin_tenure(0, name, at)
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                broken.append(error)

        threads = [threading.Thread(target=writer, args=(f"w{n}", n * 1000)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert broken == []
        log = journal.feed(0, 0, 10_000)
        assert [record.offset for record in log] == list(range(1, len(log) + 1))
        assert sorted(r.at for r in log if r.type == "StepSucceeded") == sorted(appended)
        assert list(journal.verify()) == []


class TestInbox:
    """Messages from clients to a shard's writer."""

    def test_messages_wait_in_order_until_they_are_consumed(self, journal: Journal) -> None:
        run_id, other = run_in(0), run_in(1)
        tenure = started(journal, run_id)
        started(journal, other)
        journal.send(run_id, Signal(at=2.0, actor="ann", name="go", data={"x": 1}))
        journal.send(other, Cancel(at=2.5))
        journal.send(run_id, Cancel(at=3.0, actor="ann", reason='why "\\'))
        first, last = journal.inbox([0], {}, 10)
        assert (first.run_id, first.shard) == (run_id, 0)
        assert first.message == Signal(at=2.0, actor="ann", name="go", data={"x": 1})
        assert last.message == Cancel(at=3.0, actor="ann", reason='why "\\')
        assert [item.shard for item in journal.inbox([0, 1], {}, 10)] == [0, 1, 0]
        assert journal.inbox([0, 1], {}, 1) == [first]
        assert journal.inbox([0], {0: first.id}, 10) == [last]
        assert journal.inbox([], {}, 10) == []
        journal.append([write(tenure, consumed=[first.id])])
        assert journal.inbox([0], {}, 10) == [last]

    def test_an_id_is_never_used_again(self, journal: Journal) -> None:
        run_id = run_in(0)
        tenure = started(journal, run_id)
        journal.send(run_id, Cancel(at=2.0))
        (item,) = journal.inbox([0], {}, 10)
        journal.append([write(tenure, consumed=[item.id])])
        journal.send(run_id, Cancel(at=3.0))
        assert journal.inbox([0], {}, 10)[0].id > item.id

    @pytest.mark.parametrize("run_id", ["nobody", "no\0body"])
    def test_a_message_for_no_run_is_refused(self, journal: Journal, run_id: str) -> None:
        with pytest.raises(RunNotFoundError, match="there is no run"):
            journal.send(run_id, Cancel(at=1.0))

    def test_a_message_that_is_no_json_is_refused(self, journal: Journal) -> None:
        started(journal, run_in(0))
        with pytest.raises(EncodingError):
            journal.send(run_in(0), Signal(at=1.0, name="go", data=object()))
        assert journal.inbox([0], {}, 10) == []

    def test_a_launch_is_a_message(self, journal: Journal) -> None:
        wanted = request(run_in(2), key="k", shop="berlin")
        journal.launch([wanted])
        (item,) = journal.inbox([2], {}, 10)
        assert isinstance(item.message, Launch)
        assert item.message == wanted.message


class TestRecovery:
    """Reading back what is there."""

    def test_open_runs_are_those_in_the_log_that_are_not_at_rest(self, journal: Journal) -> None:
        runs = [run_in(0, number=number) for number in range(4)]
        tenure = journal.begin_tenure(0, "one", 1.0)
        shown = [
            row(runs[0], launched_at=2.0),
            row(runs[1], status="completed"),
            row(runs[2], status="completed", open=True, launched_at=1.0),
        ]
        journal.append([write(tenure, [(run, launched(run)) for run in runs[:3]], shown)])
        journal.launch([request(runs[3])])
        assert journal.open_runs(0) == [runs[2], runs[0]]
        assert journal.open_runs(1) == []

    def test_histories_of_many_runs_come_at_once(self, journal: Journal) -> None:
        runs = [run_in(0, number=number) for number in range(1_200)]
        tenure = journal.begin_tenure(0, "one", 1.0)
        tenure = journal.append([write(tenure, [(run, launched(run)) for run in runs])])[0]
        journal.append([write(tenure, [(run, done()) for run in reversed(runs)])])
        found = journal.histories(0, [*runs, "nobody"])
        assert found.pop("nobody") == []
        assert all(
            [record.event for record in found[run]] == [launched(run), done()] for run in runs
        )
        assert len(found) == 1_200

    def test_the_feed_continues_where_it_was_left(self, journal: Journal) -> None:
        run_id = run_in(0)
        started(journal, run_id)
        first = journal.feed(0, 0, 1)
        assert [(record.type, record.event) for record in first] == [(TENURE, None)]
        rest = journal.feed(0, first[-1].offset, 10)
        assert [record.event for record in rest] == [launched(run_id)]
        assert journal.feed(0, rest[-1].offset, 10) == []

    def test_the_read_model_can_be_made_anew(self, journal: Journal) -> None:
        runs = [run_in(shard, number=number) for shard in range(2) for number in range(2)]
        for run_id in runs[::2]:
            tenure = started(journal, run_id)
            journal.append(
                [write(tenure, [(run_id, completed())], [row(run_id, reason="to be forgotten")])]
            )
        journal.launch([request(runs[1], key="k")])
        waiting = journal.find(runs[1])
        assert journal.rebuild(summarized) == 3
        assert journal.find(runs[1]) == waiting
        for run_id in runs[::2]:
            assert journal.find(run_id) == summarized(PLAN, journal.history(run_id))
        assert len(journal.runs(RunFilter()).runs) == 3

    def test_plans_are_kept(self, journal: Journal) -> None:
        journal.launch([request(run_in(0))])
        assert journal.plan(PLAN.hash) == PLAN
        assert [stored.hash for stored in journal.plans()] == [PLAN.hash]
        with pytest.raises(UnknownSagaError, match="feed"):
            journal.plan("feed")

    def test_an_empty_journal_is_whole(self, journal: Journal) -> None:
        assert journal.shards() == SHARDS
        assert list(journal.verify()) == []
        assert journal.rebuild(summarized) == 0
        assert journal.history("nobody") == []


class TestLeases:
    """Who should write."""

    def test_shards_are_shared_out(self, journal: Journal) -> None:
        assert journal.take_leases("a", 0.0, 10.0, 4) == [0, 1, 2, 3]
        assert journal.take_leases("b", 1.0, 10.0, 2) == []
        assert journal.coordinators(1.0) == ["a", "b"]
        assert journal.take_leases("a", 2.0, 10.0, 2) == [0, 1]
        assert journal.take_leases("b", 3.0, 10.0, 2) == [2, 3]
        assert journal.take_leases("a", 4.0, 10.0, 2) == [0, 1]
        assert [(lease.shard, lease.owner, lease.expires_at) for lease in journal.leases()] == [
            (0, "a", 14.0),
            (1, "a", 14.0),
            (2, "b", 13.0),
            (3, "b", 13.0),
        ]

    def test_what_has_run_out_can_be_taken(self, journal: Journal) -> None:
        journal.take_leases("a", 0.0, 10.0, 3)
        assert journal.take_leases("b", 9.9, 10.0, 4) == [3]
        assert journal.take_leases("b", 10.0, 10.0, 4) == [0, 1, 2, 3]
        assert journal.coordinators(10.0) == ["b"]
        assert journal.take_leases("a", 10.5, 10.0, 4) == []

    def test_an_owner_that_is_late_keeps_what_nobody_took(self, journal: Journal) -> None:
        journal.take_leases("a", 0.0, 10.0, 2)
        assert journal.take_leases("a", 50.0, 10.0, 2) == [0, 1]

    def test_leases_are_given_back_at_once(self, journal: Journal) -> None:
        journal.take_leases("a", 0.0, 10.0, 4)
        journal.drop_leases("b", [0])
        journal.drop_leases("a", [1, 2])
        assert journal.take_leases("b", 1.0, 10.0, 4) == [1, 2]
        journal.drop_leases("a", [0, 1, 3])
        assert journal.coordinators(1.0) == ["b"]
        assert [lease.shard for lease in journal.leases()] == [1, 2]

    def test_a_lease_shows_the_epoch_of_its_shard(self, journal: Journal) -> None:
        journal.take_leases("a", 0.0, 10.0, 1)
        journal.begin_tenure(0, "a", 0.0)
        assert [(x.shard, x.epoch, x.end) for x in journal.leases()] == [(0, 1, 1)]

    def test_expired_shards_go_to_one_taker_only(self, journal: Journal) -> None:
        barrier = threading.Barrier(4)
        taken: dict[str, list[int]] = {}

        def taker(owner: str) -> None:
            barrier.wait()
            taken[owner] = journal.take_leases(owner, 1.0, 10.0, 4)

        threads = [threading.Thread(target=taker, args=(f"o{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(shard for shards in taken.values() for shard in shards) == [0, 1, 2, 3]
        assert len(taken) == 4
