"""Open incidents in every journal: found by their cause with the runs' rows, counted, and told of by one caller."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import Plan
from orchestrator.errors import FencedError, InvalidInputError
from orchestrator.journal.port import Journal, Recorded, RunFilter, Tenure
from orchestrator.kernel.incidents import Incident
from orchestrator.kernel.summary import RunStatus, RunSummary
from tests.contract.journal_samples import (
    SHARDS,
    done,
    launched,
    request,
    row,
    run_in,
    started,
    summarized,
    write,
)


def incident(
    step: str = "reserve", cluster: str = "c1", since: float = 5.0, **more: object
) -> Incident:
    return replace(Incident(step, "do", cluster, since, 3, 'no "x"\n\\ ü', "Broken", "f"), **more)


def stuck(journal: Journal, number: int, *incidents: Incident, saga: str = "place_order") -> Tenure:
    run_id = run_in(number % SHARDS, number=number // SHARDS)
    tenure = started(journal, run_id)
    return shown(journal, tenure, run_id, *incidents, saga=saga)


def shown(
    journal: Journal,
    tenure: Tenure,
    run_id: str,
    *incidents: Incident,
    relieved: bool = False,
    saga: str = "place_order",
) -> Tenure:
    parked = tuple(one.step for one in incidents)
    status: RunStatus = "stuck" if parked else "running"
    rows = [row(run_id, status=status, parked=parked, incidents=incidents, saga=saga)]
    made = write(tenure, [(run_id, done())], rows)
    return journal.append([replace(made, relieved=(run_id,) if relieved else ())])[0]


def clusters(journal: Journal, **more: object) -> dict[str, int]:
    found = journal.clusters(**more).clusters  # type: ignore[arg-type]
    return {one.cluster: one.incidents for one in found}


def test_incidents_come_back_as_they_were_written(journal: Journal) -> None:
    one = incident(acked_at=7.5, acked_by="ann", ack_reason='"mine"')
    stuck(journal, 0, one)
    assert journal.find(run_in(0)).incidents == (one,)


def test_a_cluster_is_counted_and_told_in_the_words_of_its_newest(journal: Journal) -> None:
    stuck(journal, 0, incident(since=5.0), incident("other", since=6.0))
    stuck(journal, 1, incident("reserve[3]", since=9.0, message="newest", acked_at=9.5))
    stuck(journal, 2, incident("pay", "c2", since=1.0))
    first, second = journal.clusters().clusters
    assert (first.cluster, first.incidents, first.runs, first.acked) == ("c1", 3, 2, 1)
    assert (first.first, first.last, first.newest) == (5.0, 9.0, run_in(1))
    assert (first.message, first.step, first.error, first.frame) == (
        "newest",
        "reserve",
        "Broken",
        "f",
    )
    assert (second.cluster, second.kind, second.saga) == ("c2", "do", "place_order")


def test_what_nobody_is_on_comes_first_and_pages_follow_each_other(journal: Journal) -> None:
    for number in range(3):
        stuck(journal, number, incident(cluster="large", acked_at=1.0))
    stuck(journal, 3, incident("a", "small"), incident("b", "tiny-b"), incident("c", "tiny-a"))
    order, cursor = [], None
    while True:
        page = journal.clusters((), cursor, 1)
        order += [one.cluster for one in page.clusters]
        cursor = page.cursor
        if cursor is None:
            break
    assert order == ["small", "tiny-a", "tiny-b", "large"]
    with pytest.raises(InvalidInputError, match="isn't a cursor"):
        journal.clusters((), "junk")


def test_an_incident_that_is_closed_is_gone_and_others_stay(journal: Journal) -> None:
    run_id = run_in(0)
    tenure = stuck(journal, 0, incident("a", "c1"), incident("b", "c2"))
    tenure = shown(journal, tenure, run_id, incident("b", "c2", acked_at=3.0), relieved=True)
    assert clusters(journal) == {"c2": 1}
    assert journal.clusters().clusters[0].acked == 1
    tenure = shown(journal, tenure, run_id, incident("b", "c3", since=8.0), relieved=True)
    assert clusters(journal) == {"c3": 1}
    shown(journal, tenure, run_id, relieved=True)
    assert clusters(journal) == {}


def test_a_fenced_writer_opens_and_closes_nothing(journal: Journal) -> None:
    run_id = run_in(0)
    late = stuck(journal, 0, incident("a", "c1"))
    journal.begin_tenure(0, "two", 9.0)
    with pytest.raises(FencedError):
        shown(journal, late, run_id, incident("b", "c2"), relieved=True)
    assert clusters(journal) == {"c1": 1}


def test_clusters_and_runs_are_filtered(journal: Journal) -> None:
    stuck(journal, 0, incident(cluster="ab1"))
    stuck(journal, 1, incident(cluster="ab2"))
    stuck(journal, 2, incident(cluster="b1"))
    assert clusters(journal, prefix="ab") == {"ab1": 1, "ab2": 1}
    assert clusters(journal, sagas=("place_order",), prefix="b1") == {"b1": 1}
    assert clusters(journal, sagas=("other",)) == {}
    found = journal.runs(RunFilter(cluster="ab2")).runs
    assert [run.run_id for run in found] == [run_in(1)]
    assert journal.runs(RunFilter(cluster="ab")).runs == ()


def test_rebuilding_makes_the_index_anew(journal: Journal) -> None:
    stuck(journal, 0, incident(cluster="wrong"))
    stuck(journal, 1, incident(cluster="wrong"))

    def summarize(plan: Plan, events: list[Recorded]) -> RunSummary:
        made = summarized(plan, events)
        if made.run_id == run_in(0):
            return made
        return replace(
            made, status="stuck", parked=("reserve",), incidents=(incident(cluster="c9"),)
        )

    journal.rebuild(summarize)
    assert clusters(journal) == {"c9": 1}


def test_one_caller_tells_in_an_interval(journal: Journal) -> None:
    assert journal.noticed() == {}
    assert journal.claim_notice("c1", 100.0, 60.0)
    assert not journal.claim_notice("c1", 159.9, 60.0)
    assert journal.claim_notice("c2", 159.9, 60.0)
    assert journal.claim_notice("c1", 160.0, 60.0)
    assert journal.noticed() == {"c1": 160.0, "c2": 159.9}
    assert journal.claim_notice("c1", 50.0, 60.0), "a clock that was far ahead doesn't silence it"


def test_of_callers_at_once_one_tells(journal: Journal) -> None:
    barrier, won = threading.Barrier(4), []

    def caller() -> None:
        barrier.wait()
        won.append(journal.claim_notice("c1", 100.0, 60.0))

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(won) == [False, False, False, True]


def test_a_launch_has_no_incident(journal: Journal) -> None:
    run_id = run_in(0)
    journal.launch([request(run_id)])
    assert journal.find(run_id).incidents == ()
    tenure = journal.begin_tenure(0, "one", 1.0)
    journal.append([write(tenure, [(run_id, launched(run_id))], [row(run_id)])])
    assert journal.find(run_id).incidents == ()
