"""What every journal does for clients: launching once, finding, listing."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from orchestrator.errors import (
    AmbiguousRunError,
    InvalidInputError,
    PlanConflictError,
    RunNotFoundError,
)
from orchestrator.journal.port import Journal, Launched, LaunchRequest, RunFilter
from orchestrator.journal.records import shard_of
from tests.contract.journal_samples import (
    PLAN,
    SHARDS,
    launch_of,
    launched,
    plan,
    request,
    request_of,
    row,
    run_in,
    write,
)


def waiting(journal: Journal) -> list[str]:
    return [item.run_id for item in journal.inbox(range(SHARDS), {}, 10_000)]


class TestLaunch:
    """A launch is durable, and its key makes it one."""

    def test_a_launched_run_is_found_before_any_coordinator_saw_it(self, journal: Journal) -> None:
        wanted = request("run-7", key="order-7", at=3.5, shop="berlin")
        assert journal.launch([wanted]) == [Launched("run-7", shard_of("run-7", SHARDS), True)]
        found = journal.find("run-7")
        assert found == row(
            "run-7",
            status="accepted",
            launched_at=3.5,
            updated_at=3.5,
            key="order-7",
            tags={"shop": "berlin"},
        )
        assert journal.runs(RunFilter(status=("accepted",))).runs == (found,)
        assert journal.counts() == {"place_order": {"accepted": 1}}
        assert waiting(journal) == ["run-7"]

    def test_a_key_that_is_taken_gives_the_run_that_has_it(self, journal: Journal) -> None:
        journal.launch([request("one", key="k")])
        again = journal.launch([request("two", key="k"), request("three", key='k"\\,')])
        assert again == [
            Launched("one", shard_of("one", SHARDS), False),
            Launched("three", shard_of("three", SHARDS), True),
        ]
        with pytest.raises(RunNotFoundError):
            journal.find("two")
        assert waiting(journal) == ["one", "three"]

    def test_a_key_counts_once_within_a_call(self, journal: Journal) -> None:
        found = journal.launch([request("one", key="k"), request("two", key="k"), request("three")])
        assert [(made.run_id, made.created) for made in found] == [
            ("one", True),
            ("one", False),
            ("three", True),
        ]
        assert waiting(journal) == ["one", "three"]

    def test_two_sagas_may_use_the_same_key(self, journal: Journal) -> None:
        other = plan("book_trip")
        journal.launch([request("one", key="k"), request_of(other, "two", key="k")])
        assert waiting(journal) == ["one", "two"]
        assert journal.find("book_trip:k").run_id == "two"
        with pytest.raises(AmbiguousRunError, match=r"one \(place_order\), two \(book_trip\)"):
            journal.find("k")

    @pytest.mark.parametrize("key", [None, "k"])
    def test_the_same_launch_again_is_one_run(self, journal: Journal, key: str | None) -> None:
        journal.launch([request("one", key=key)])
        assert journal.launch([request("one", key=key)]) == [
            Launched("one", shard_of("one", SHARDS), False)
        ]
        assert waiting(journal) == ["one"]

    def test_eight_launches_at_once_with_one_key_are_one_run(self, journal: Journal) -> None:
        barrier = threading.Barrier(8)
        found: list[Launched] = []

        def launch(number: int) -> None:
            barrier.wait()
            found.extend(journal.launch([request(f"run-{number}", key="k")]))

        threads = [threading.Thread(target=launch, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 8
        assert len({made.run_id for made in found}) == 1
        assert [made.created for made in found].count(True) == 1
        assert waiting(journal) == [found[0].run_id]

    def test_a_thousand_launches_are_one_call(self, journal: Journal) -> None:
        requests = [request(f"run-{n}", key=f"k{n}" if n % 2 else None) for n in range(1_000)]
        assert all(made.created for made in journal.launch(requests))
        assert waiting(journal) == [f"run-{n}" for n in range(1_000)]
        assert journal.counts() == {"place_order": {"accepted": 1_000}}
        assert not any(made.created for made in journal.launch(requests))
        assert journal.launch([]) == []

    def test_a_changed_plan_under_an_old_version_is_refused(self, journal: Journal) -> None:
        journal.launch([request("one")])
        changed = plan(timeout_s=60.0)
        with pytest.raises(
            PlanConflictError, match=r"place_order version 1 .*30 s is now 60 s"
        ) as error:
            journal.launch([request_of(changed, "two")])
        assert "source" not in str(error.value)
        assert waiting(journal) == ["one"]
        journal.launch([request_of(plan(version=2, timeout_s=60.0), "two")])
        assert [(kept.saga, kept.version) for kept in journal.plans()] == [
            ("place_order", 1),
            ("place_order", 2),
        ]

    def test_a_plan_that_only_moved_in_its_file_is_the_same(self, journal: Journal) -> None:
        journal.launch([request("one")])
        journal.launch([request_of(plan(), "two")])
        assert len(journal.plans()) == 1

    @pytest.mark.parametrize(
        "requests",
        [
            [request("")],
            [request("a\0b")],
            [request("one", key="a\0b")],
            [request("one"), request("one")],
            [LaunchRequest(launch_of(plan(version=2), "one"), PLAN)],
        ],
        ids=["no id", "null in id", "null in key", "twice", "another plan"],
    )
    def test_a_launch_that_can_not_be_kept_is_refused(
        self, journal: Journal, requests: list[LaunchRequest]
    ) -> None:
        with pytest.raises(InvalidInputError):
            journal.launch(requests)
        assert waiting(journal) == []

    def test_a_session_must_be_of_the_journal(self, journal: Journal) -> None:
        with pytest.raises(InvalidInputError, match="session"):
            journal.launch([request("one")], session=object())

    def test_a_launch_in_a_transaction_is_kept_or_dropped_with_it(self, journal: Journal) -> None:
        with journal.transaction() as session:
            made = journal.launch([request("one", key="k")], session=session)
        assert made[0].created
        with suppress(ZeroDivisionError), journal.transaction() as session:
            journal.launch([request("two", key="k2")], session=session)
            raise ZeroDivisionError
        with journal.transaction() as session:
            assert journal.launch([request("three", key="k")], session=session)[0].run_id == "one"
        assert waiting(journal) == ["one"]
        assert journal.launch([request("two", key="k2")])[0].created


class TestFind:
    """Ids may be shortened, as in git."""

    @pytest.fixture(autouse=True)
    def _runs(self, journal: Journal) -> None:
        journal.launch(
            [request("abc1"), request("abc10", key="order-1"), request("abd%"), request("é")]
        )

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("abc1", "abc1"),
            ("abc10", "abc10"),
            ("abd", "abd%"),
            ("order-1", "abc10"),
            ("place_order:order-1", "abc10"),
            ("é", "é"),
        ],
    )
    def test_finds(self, journal: Journal, wanted: str, found: str) -> None:
        assert journal.find(wanted).run_id == found

    @pytest.mark.parametrize("wanted", ["", "ABC1", "b", "%", "order", "x:order-1", "a\0"])
    def test_does_not_find(self, journal: Journal, wanted: str) -> None:
        with pytest.raises(RunNotFoundError):
            journal.find(wanted)

    def test_an_ambiguous_prefix_names_the_candidates(self, journal: Journal) -> None:
        with pytest.raises(
            AmbiguousRunError, match=r"'ab' fits several runs: abc1 .*, abc10 .*, abd%"
        ):
            journal.find("ab")


class TestList:
    """Filters, and pages that neither skip nor repeat."""

    @pytest.fixture(autouse=True)
    def _runs(self, journal: Journal) -> None:
        tenure = journal.begin_tenure(0, "one", 1.0)
        ids = [run_in(0, number=number) for number in range(4)]
        shown = [
            row(ids[0], launched_at=1.0, status="completed", tags={"shop": "berlin", "a": "b"}),
            row(ids[1], launched_at=2.0, status="stuck", parked=("charge",), reason="50% Off_er"),
            row(ids[2], launched_at=2.0, saga="book_trip", steps=("charge[0,1]", "hotel")),
            row(
                ids[3], launched_at=3.0, status="compensating", tags={"x": '"a":"b"'}, parked=("o",)
            ),
        ]
        tagged = [shown[0], shown[3]]  # a launch writes tags, and no later write changes them
        journal.launch(
            [request_of(PLAN, run.run_id, at=run.launched_at, tags=run.tags) for run in tagged]
        )
        journal.append([write(tenure, [(run, launched(run)) for run in ids], shown)])
        journal.launch([request(run_in(1), at=4.0, key="Order-9")])

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            (RunFilter(), [4.0, 3.0, 2.0, 2.0, 1.0]),
            (RunFilter(status=("completed", "accepted")), [4.0, 1.0]),
            (RunFilter(saga="book_trip"), [2.0]),
            (RunFilter(saga="book_trip", status=("stuck",)), []),
            (RunFilter(sagas=("book_trip", "other")), [2.0]),
            (RunFilter(sagas=("other",)), []),
            (RunFilter(tags={"a": "b"}), [1.0]),
            (RunFilter(tags={"a": "b", "shop": "berlin"}), [1.0]),
            (RunFilter(tags={"shop": "bonn"}), []),
            (RunFilter(tags={"x": '"a":"b"'}), [3.0]),
            (RunFilter(key="Order-9"), [4.0]),
            (RunFilter(key="order-9"), []),
            (RunFilter(launched_after=2.0, launched_before=4.0), [3.0, 2.0, 2.0]),
            (RunFilter(stuck=True), [3.0, 2.0]),
            (RunFilter(step="charge"), [2.0, 2.0]),
            (RunFilter(step="hotel"), [2.0]),
            (RunFilter(step="hot"), []),
            (RunFilter(text="0% OFF_"), [2.0]),
            (RunFilter(text="order-9"), [4.0]),
            (RunFilter(text="TRIP"), [2.0]),
            (RunFilter(text="0x Off"), []),
            (RunFilter(ids=(run_in(1), run_in(0), "nobody")), [4.0, 1.0]),
        ],
        ids=str,
    )
    def test_filters(self, journal: Journal, where: RunFilter, found: list[float]) -> None:
        assert [run.launched_at for run in journal.runs(where).runs] == found

    @pytest.mark.parametrize("limit", [1, 2, 5, 6])
    def test_pages_follow_one_another(self, journal: Journal, limit: int) -> None:
        whole = journal.runs(RunFilter()).runs
        paged, cursor = list[str](), None
        while True:
            page = journal.runs(RunFilter(), cursor, limit)
            paged += [run.run_id for run in page.runs]
            cursor = page.cursor
            if cursor is None:
                break
            assert len(page.runs) == limit
        assert paged == [run.run_id for run in whole]

    def test_a_page_is_not_shifted_by_new_runs(self, journal: Journal) -> None:
        first = journal.runs(RunFilter(), limit=2)
        journal.launch([request("newer", at=9.0)])
        rest = journal.runs(RunFilter(), first.cursor)
        assert [run.launched_at for run in rest.runs] == [2.0, 2.0, 1.0]

    @pytest.mark.parametrize("cursor", ["", "nonsense", "e30=", "é"])
    def test_what_is_no_cursor_is_refused(self, journal: Journal, cursor: str) -> None:
        with pytest.raises(InvalidInputError, match="cursor"):
            journal.runs(RunFilter(), cursor)

    def test_counts(self, journal: Journal) -> None:
        assert journal.counts() == {
            "book_trip": {"running": 1},
            "place_order": {"accepted": 1, "compensating": 1, "completed": 1, "stuck": 1},
        }
