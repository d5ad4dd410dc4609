"""Finding runs by their tags: in every journal exactly those, and in a database from an index."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, delete, insert, select

from orchestrator.journal.port import Journal, RunFilter
from orchestrator.journal.schema import RUN, TAG
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.tags import TagRow, tag_rows
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.summary import summarize
from orchestrator.views.read_model import differences
from orchestrator.views.replay import row_of
from tests.contract.archive_samples import PROGRAM
from tests.contract.journal_samples import (
    PLAN,
    launched,
    plan,
    request,
    request_of,
    run_in,
    write,
)
from tests.contract.tag_samples import LONG, TAGGED, index, launch_all
from tests.statements import explained, statements


def found(journal: Journal, **where: object) -> list[float]:
    """When the runs that are listed were launched."""
    return [run.launched_at for run in journal.runs(RunFilter(**where)).runs]  # type: ignore[arg-type]


def due(journal: SqlJournal) -> set[TagRow]:
    """What the index should hold."""
    columns = select(RUN.c.run_id, RUN.c.launched_at, RUN.c.tags)
    with journal.engine.connect() as connection:
        return set(tag_rows(tuple(row) for row in connection.execute(columns)))


def test_a_tag_finds_the_runs_that_have_it_and_no_others(journal: Journal) -> None:
    launch_all(journal)
    pairs = {pair for tags in TAGGED for pair in tags.items()}
    for name, value in sorted(pairs):
        having = [float(n) for n, tags in enumerate(TAGGED) if tags.get(name) == value]
        assert found(journal, tags={name: value}) == having[::-1], (name, value)
    for name, value in (("customer", "a"), ("customer", ""), ("long", f"{LONG}c"), ("Null", "")):
        assert found(journal, tags={name: value}) == []


def test_of_several_tags_all_have_to_fit(journal: Journal) -> None:
    launch_all(journal)
    for number, tags in enumerate(TAGGED):
        if tags:
            assert found(journal, tags=tags) == [float(number)]
    assert found(journal, tags={"customer": "ada lovelace", "shop": "bonn"}) == []
    assert found(journal, tags={"shop": "bonn", "long": LONG}) == []


def test_tags_go_with_the_other_filters(journal: Journal) -> None:
    other = plan("book_trip")
    tags = {"shop": "berlin"}
    journal.launch(
        [request_of((PLAN, other)[n % 2], f"r{n}", at=float(n // 2), tags=tags) for n in range(8)]
    )
    assert found(journal, tags=tags, saga="book_trip") == [3.0, 2.0, 1.0, 0.0]
    assert found(journal, tags=tags, launched_after=1.0, launched_before=3.0) == [2, 2, 1, 1]
    assert found(journal, tags=tags, status=("completed",)) == []
    assert found(journal, tags=tags, ids=("r3", "r4", "x"), text="trip") == [1.0]


def test_pages_of_a_tag_follow_one_another(journal: Journal) -> None:
    tags = {"shop": "berlin"}
    journal.launch(
        [
            request_of(PLAN, f"r{n}", at=float(n // 3), tags=tags if n % 4 else {"shop": "bonn"})
            for n in range(20)
        ]
    )
    whole = [run.run_id for run in journal.runs(RunFilter(tags=tags)).runs]
    wanted = sorted((n // 3, f"r{n}") for n in range(20) if n % 4)
    assert whole == [run_id for _, run_id in reversed(wanted)]
    paged, cursor = list[str](), None
    while True:
        page = journal.runs(RunFilter(tags=tags), cursor, 4)
        paged += [run.run_id for run in page.runs]
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == whole


def test_a_launch_that_lost_to_another_is_in_no_index(journal: Journal) -> None:
    journal.launch([request("one", key="k", shop="berlin")])
    journal.launch([request("two", key="k", shop="bonn"), request("three", shop="bremen")])
    journal.launch([request("three", shop="bremen")])
    assert [len(found(journal, tags={"shop": at})) for at in ("berlin", "bonn", "bremen")] == [
        1,
        0,
        1,
    ]


def test_tags_commit_and_roll_back_with_the_callers_transaction(journal: Journal) -> None:
    with journal.transaction() as session:
        journal.launch([request("one", shop="berlin")], session=session)
    with suppress(ZeroDivisionError), journal.transaction() as session:
        journal.launch([request("two", shop="berlin")], session=session)
        raise ZeroDivisionError
    assert [run.run_id for run in journal.runs(RunFilter(tags={"shop": "berlin"})).runs] == ["one"]


def test_the_index_is_made_anew_with_the_read_model(sql_journal: SqlJournal) -> None:
    run_id, tags = run_in(0), {"shop": "berlin", "long": LONG}
    launch_all(sql_journal)  # those wait in the inbox
    sql_journal.launch([request_of(PLAN, run_id, tags=tags)])
    tenure = sql_journal.begin_tenure(0, "one", 1.0)
    taken = [one.id for one in sql_journal.inbox([0], {}, 100) if one.run_id == run_id]
    made = launched(run_id, tags=tags)
    shown = summarize(fold(PROGRAM, [made]), 0, 1.0)
    sql_journal.append([write(tenure, [(run_id, made)], [shown], taken)])
    assert index(sql_journal) == due(sql_journal)
    assert list(differences(sql_journal)) == []
    with sql_journal.engine.begin() as connection:
        connection.execute(delete(TAG).where(TAG.c.name.in_(("shop", "customer"))))
        connection.execute(insert(TAG), TagRow("shop", "bonn", 1.0, run_id)._asdict())
        connection.execute(insert(TAG), TagRow("shop", "bonn", 1.0, "nobody")._asdict())
    assert found(sql_journal, tags={"shop": "bonn"}) == []  # whatever the index says
    assert f"run {run_id} (place_order): it isn't found by its tags" in differences(sql_journal)
    sql_journal.rebuild(row_of)
    assert index(sql_journal) == due(sql_journal)
    assert list(differences(sql_journal)) == []


def test_only_tags_cost_a_launch_something(sql_journal: SqlJournal) -> None:
    sql_journal.launch([request("first", shop="berlin")])  # stores the plan

    def sent(prefix: str, **tags: str) -> list[tuple[str, object]]:
        with statements(sql_journal.engine) as seen:
            sql_journal.launch([request_of(PLAN, f"{prefix}{n}", tags=tags) for n in range(5)])
        return seen

    plain, tagged = sent("plain"), sent("tagged", shop="berlin", day="7")
    assert [sql for sql, _ in plain if "saga_run_tag" in sql] == []
    assert [sql for sql, _ in tagged if "saga_run_tag" in sql] == [tagged[-1][0]]
    assert len(tagged) - len(plain) == (sql_journal.engine.dialect.name == "sqlite")


def test_a_page_of_a_tag_is_read_from_the_index(sql_journal: SqlJournal) -> None:
    engine = sql_journal.engine
    with engine.begin() as connection:
        _fill(connection, 5_000)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    for shop in ("berlin", "nowhere"):
        for place in (None, sql_journal.runs(RunFilter(), None, 2_000).cursor):
            with statements(engine) as seen:
                sql_journal.runs(RunFilter(tags={"shop": shop}), place, 20)
            lines = explained(engine, *seen[-1])
            assert "saga_run_tag" in lines
            for slow in ("Seq Scan", "SCAN", "Sort", "TEMP B-TREE", "saga_run_launched"):
                assert slow not in lines, lines


def test_of_several_tags_the_rarest_is_looked_up(sql_journal: SqlJournal) -> None:
    with sql_journal.engine.begin() as connection:
        _fill(connection, 100)
    sql_journal.launch([request("one", shop="berlin", order="o-1", day="7")])
    with statements(sql_journal.engine) as seen:
        page = sql_journal.runs(RunFilter(tags={"shop": "berlin", "order": "o-1", "day": "7"}))
    assert [run.run_id for run in page.runs] == ["one"]
    values = seen[-1][1]
    given = values.values() if isinstance(values, dict) else values
    assert {"shop", "order", "day"} & set(given) == {"order"}


def _fill(connection: Connection, runs: int) -> None:
    """Finished runs, every third one with two tags."""
    tags = '{"shop":"berlin","day":"7"}'
    places = [(f"run-{n:08}", float(n), tags if n % 3 == 0 else "{}") for n in range(runs)]
    plain = {"shard": 0, "saga": "place_order", "version": 1, "plan": "p", "status": "completed"}
    plain |= {"open": False, "updated_at": 1.0, "ended_at": 1.0, "result": "null", "reason": ""}
    plain |= {"steps": "[]", "parked": "[]", "incidents": "[]"}
    rows = [plain | {"run_id": r, "launched_at": at, "tags": t} for r, at, t in places]
    connection.execute(insert(RUN), rows)
    connection.execute(insert(TAG), [row._asdict() for row in tag_rows(places)])
