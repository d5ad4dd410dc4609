"""Finished runs move to files: nothing is lost, nothing unverified is removed, and the log still holds."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text

from orchestrator.errors import ArchiveError, InvalidInputError, RunNotFoundError
from orchestrator.journal import archiving
from orchestrator.journal.archive_check import archive_faults
from orchestrator.journal.archive_folder import ArchivedRuns, manifests
from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import ArchiveLimits, Archiver
from orchestrator.journal.port import Archived, RunFilter
from orchestrator.journal.schema import ANCHOR, EVENT, INBOX, RUN, TAG, TALLY
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.messages import Cancel, Signal
from orchestrator.views.forgotten import Known, forgotten
from orchestrator.views.read_model import differences
from orchestrator.views.replay import row_of
from orchestrator.views.statistics import statistics
from tests.contract.archive_samples import DAY, NOW, fill, open_in, stream
from tests.contract.journal_samples import SHARDS, request, run_in, write

RUNS = [f"run-{number}" for number in range(40)]
OLD = Wanted(before=NOW - 90 * DAY)


def archiver(journal: SqlJournal, folder: Path, runs: int = 15) -> Archiver:
    return Archiver(
        journal,
        folder,
        limits=ArchiveLimits(runs=runs),
        clock=lambda: NOW,
        pause=lambda _: None,
    )


def archive(journal: SqlJournal, folder: Path, runs: int = 15) -> int:
    return sum(step.removed.runs for step in archiver(journal, folder, runs).run(OLD))


def faults(journal: SqlJournal, folder: Path) -> list[str]:
    """Everything that is wrong: chain, read model, archive."""
    return [*journal.verify(), *differences(journal), *archive_faults(journal, folder)]


def ids(journal: SqlJournal) -> set[str]:
    return {run.run_id for run in journal.runs(RunFilter(), None, 1_000).runs}


def count(journal: SqlJournal, table: object) -> int:
    with journal.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def test_finished_runs_move_and_can_be_read_again(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    before = {run: (sql_journal.find(run), sql_journal.history(run)) for run in RUNS}
    assert archive(sql_journal, tmp_path / "to") == len(RUNS)
    archived = ArchivedRuns(tmp_path / "to")
    for run, (row, history) in before.items():
        assert archived.find(run) == row
        assert archived.history(run) == history
        assert row_of(archived.plan(row.plan), archived.history(run)).result == row.result
    assert ids(sql_journal) == {open_in(shard) for shard in range(SHARDS)}
    assert count(sql_journal, EVENT) == 2 * SHARDS  # each shard's tenure and its last record
    assert faults(sql_journal, tmp_path / "to") == []
    for shard in range(SHARDS):  # what follows a gap is still vouched for
        assert sql_journal.altered(shard, [open_in(shard)]) == {}
    assert sql_journal.archives() == Archived(3, len(RUNS), 3 * len(RUNS))


def test_neighbouring_stretches_become_one_anchor(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    archive(sql_journal, tmp_path, runs=4)
    assert count(sql_journal, ANCHOR) == SHARDS
    assert faults(sql_journal, tmp_path) == []


def test_the_check_holds_after_every_removal(
    sql_journal: SqlJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_CHUNK", 2)
    fill(sql_journal, RUNS, unfinished=7)
    looks: list[list[str]] = []
    run = Archiver(
        sql_journal,
        tmp_path,
        clock=lambda: NOW,
        pause=lambda _: looks.append([*sql_journal.verify(), *differences(sql_journal)]),
    ).run(OLD)
    assert sum(step.removed.runs for step in run) == len(RUNS) - 7
    assert len(looks) > 10
    assert [found for found in looks if found] == []
    assert faults(sql_journal, tmp_path) == []


def test_what_is_not_over_stays(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS[:20], unfinished=5)
    fill(sql_journal, RUNS[20:30], ended_at=NOW - DAY)
    fill(sql_journal, RUNS[30:], last=False)
    with sql_journal.engine.begin() as connection:
        connection.execute(text("UPDATE saga_run SET parked = '[\"x\"]' WHERE run_id = 'run-0'"))
        connection.execute(text("UPDATE saga_run SET reason = 'x' WHERE run_id = 'run-1'"))
    sql_journal.send("run-2", Cancel(at=NOW))
    working = archiver(sql_journal, tmp_path)
    list(working.run(OLD))
    left = ids(sql_journal) & set(RUNS)
    lasts = {RUNS[30 + n] for n in range(10)} & left
    assert {f"run-{n}" for n in (0, 1, 2, *range(15, 30))} <= left
    assert left - lasts == {f"run-{n}" for n in (0, 1, 2, *range(15, 30))}
    assert len(lasts) == len({sql_journal.find(run).shard for run in lasts})  # one each: the last
    assert working.kept["run-1"] == "its row isn't what its events make: reason"
    assert working.kept["run-2"] == "a message is waiting for it"
    assert all(working.kept[run].startswith("its events are the last") for run in lasts)
    assert list(sql_journal.verify()) == []


def test_young_runs_are_refused_before_anything_happens(
    sql_journal: SqlJournal, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="within the last hour"):
        list(archiver(sql_journal, tmp_path / "to").run(Wanted(NOW - 3_599)))
    assert not (tmp_path / "to").exists()


def test_only_the_saga_that_was_named(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    one = archiver(sql_journal, tmp_path)
    assert list(one.run(Wanted(OLD.before, "another"))) == []
    assert one.outlook(Wanted(OLD.before, "another")).runs == 0
    assert one.outlook(OLD).sagas == {"place_order": len(RUNS)}


def test_archiving_twice_gives_the_same_files(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    with sql_journal.engine.connect() as connection:
        rows = {t: connection.execute(select(t)).mappings().all() for t in (EVENT, RUN, TALLY)}
    archive(sql_journal, tmp_path / "one")
    with sql_journal.engine.begin() as connection:  # the journal is brought back
        for name in ("event", "run", "tally", "anchor", "archive", "archived_run"):
            connection.execute(text(f"DELETE FROM saga_{name}"))
        for table, old in rows.items():
            connection.execute(table.insert(), [dict(row) for row in old])
    assert archive(sql_journal, tmp_path / "two") == len(RUNS)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    assert len(one) == 6
    assert archive(sql_journal, tmp_path / "two") == 0
    assert faults(sql_journal, tmp_path / "two") == []


def test_no_tag_finds_what_was_archived(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS, unfinished=3, tags={"shop": "berlin", "day": "7"})
    assert faults(sql_journal, tmp_path) == []
    archive(sql_journal, tmp_path)
    left = sql_journal.runs(RunFilter(tags={"shop": "berlin"})).runs
    assert {run.run_id for run in left} == set(RUNS[-3:])
    assert count(sql_journal, TAG) == 2 * 3
    assert faults(sql_journal, tmp_path) == []


def test_a_launch_key_outlives_its_run(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS, keys={"run-3": "order-3"})
    archive(sql_journal, tmp_path)
    (again,) = sql_journal.launch([request("another", key="order-3")])
    assert (again.run_id, again.created) == ("run-3", False)
    for name in ("run-3", "order-3", "place_order:order-3"):
        with pytest.raises(RunNotFoundError, match=r"run-3 is completed and archived in runs-.*gz"):
            sql_journal.find(name)
        assert ArchivedRuns(tmp_path).find(name).run_id == "run-3"
    with pytest.raises(RunNotFoundError):
        sql_journal.send("run-3", Signal(at=NOW, name="x", data=None, signal_id="1"))
    assert count(sql_journal, INBOX) == 0


def test_appends_go_on_behind_what_was_archived(sql_journal: SqlJournal, tmp_path: Path) -> None:
    tenures = fill(sql_journal, RUNS)
    archive(sql_journal, tmp_path)
    late = run_in(1, number=50)
    written = sql_journal.append([write(tenures[1], [(late, stream(late, NOW)[0])])])
    assert sql_journal.begin_tenure(1, "two", NOW).next_offset == written[0].next_offset + 1
    assert list(sql_journal.verify()) == []


def test_the_read_model_is_rebuilt_without_them(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS, unfinished=5)
    archive(sql_journal, tmp_path)
    assert sql_journal.rebuild(row_of) == 5 + SHARDS
    assert faults(sql_journal, tmp_path) == []


def test_figures_count_each_event_once_beside_a_gap(
    sql_journal: SqlJournal, tmp_path: Path
) -> None:
    fill(sql_journal, RUNS, unfinished=5)
    archive(sql_journal, tmp_path)
    found = statistics(sql_journal, SHARDS, NOW, NOW - 1)
    (saga,) = found.sagas
    assert (saga.launched, saga.completed) == (5 + SHARDS, 0)


def test_effects_of_archived_runs_are_not_forgotten(
    sql_journal: SqlJournal, tmp_path: Path
) -> None:
    fill(sql_journal, RUNS)
    archive(sql_journal, tmp_path)
    known = [Known("inventory", run, "reserve", "done") for run in ("run-1", "run-2", "unheard-of")]
    with sql_journal.engine.begin() as connection:
        ended = "UPDATE saga_archived_run SET status = 'compensated' WHERE run_id = 'run-2'"
        connection.execute(text(ended))
    found = {one.run: one.what for one in forgotten(sql_journal, known)}
    assert set(found) == {"run-2", "unheard-of"}
    assert "undone" in found["run-2"]


# What doesn't fit


@pytest.fixture
def archived(sql_journal: SqlJournal, tmp_path: Path) -> tuple[SqlJournal, Path]:
    fill(sql_journal, RUNS)
    archive(sql_journal, tmp_path / "to")
    return sql_journal, tmp_path / "to"


def file_of(folder: Path, place: int = 0) -> Path:
    return folder / manifests(folder)[place].file


@pytest.mark.parametrize("how", ["cut off", "another byte", "gone", "other content"])
def test_a_file_that_was_changed_is_named(archived: tuple[SqlJournal, Path], how: str) -> None:
    journal, folder = archived
    file = file_of(folder)
    content = file.read_bytes()
    match how:
        case "cut off":
            file.write_bytes(content[:-20])
        case "another byte":
            file.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
        case "gone":
            file.unlink()
        case _:
            file.write_bytes(gzip.compress(gzip.decompress(content).replace(b"hold", b"fold")))
    found = list(archive_faults(journal, folder))
    assert file.name in found[0]
    assert any("no file of the archive has this record" in line for line in found)


def test_a_file_without_its_manifest_is_missed(archived: tuple[SqlJournal, Path]) -> None:
    journal, folder = archived
    (folder / f"{file_of(folder).name}.manifest.json").unlink()
    assert "isn't in" in next(archive_faults(journal, folder))


@pytest.mark.parametrize("column", ["hash", "before"])
def test_an_anchor_that_was_changed_is_named(
    archived: tuple[SqlJournal, Path], column: str
) -> None:
    journal, folder = archived
    with journal.engine.begin() as connection:
        connection.execute(text(f"UPDATE saga_anchor SET {column} = 'x' WHERE shard = 2"))
    assert any("shard 2" in line for line in journal.verify())
    assert any("shard 2" in line for line in archive_faults(journal, folder))


def test_records_that_no_anchor_stands_for_are_missed(archived: tuple[SqlJournal, Path]) -> None:
    journal, _ = archived
    with journal.engine.begin() as connection:
        connection.execute(delete(ANCHOR).where(ANCHOR.c.shard == 3))
    assert any("shard 3" in line and "missing" in line for line in journal.verify())


def test_a_record_that_is_wrong_is_never_archived(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    with sql_journal.engine.begin() as connection:
        connection.execute(
            text("UPDATE saga_event SET actor = 'x' WHERE run_id = 'run-5' AND type <> 'tenure'")
        )
    with pytest.raises(ArchiveError, match="isn't what was written"):
        archive(sql_journal, tmp_path, runs=100)
    assert set(RUNS) <= ids(sql_journal)


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b'{"line":"plan","hash":"x","plan":{}}\n'))
    (tmp_path / "y.gz").write_bytes(b"y")
    for path in (tmp_path / "x.gz", tmp_path / "y.gz", tmp_path / "z.gz", tmp_path):
        with pytest.raises(ArchiveError):
            ArchivedRuns(path)


# Beside others


def test_a_run_that_changed_since_it_was_written_stays(
    sql_journal: SqlJournal, tmp_path: Path
) -> None:
    tenures = fill(sql_journal, RUNS)
    changed = next(run for run in RUNS if sql_journal.find(run).shard == 1)
    late = stream(changed, NOW)[1]

    def change(_: float) -> None:
        if changed in ids(sql_journal) and tenures[1].next_offset:
            tenures[1] = sql_journal.append([write(tenures[1], [(changed, late)])])[0]

    monkey = Archiver(sql_journal, tmp_path, clock=lambda: NOW, pause=change)
    order = [step.removed.runs for step in monkey.run(OLD)]
    assert sum(order) in {len(RUNS) - 1, len(RUNS)}
    assert list(sql_journal.verify()) == []
    assert list(archive_faults(sql_journal, tmp_path)) == []
    if changed in ids(sql_journal):
        assert len(sql_journal.history(changed)) > 3


def test_several_archivers_at_once(sql_journal: SqlJournal, tmp_path: Path) -> None:
    fill(sql_journal, RUNS)
    removed: list[int] = []
    raised: list[Exception] = []
    begin = threading.Barrier(3)

    def work(runs: int) -> None:
        begin.wait()
        try:
            removed.append(archive(sql_journal, tmp_path, runs))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    threads = [threading.Thread(target=work, args=(runs,)) for runs in (5, 7, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert raised == []
    assert sum(removed) == len(RUNS)
    assert faults(sql_journal, tmp_path) == []
    assert {run.run_id for run in ArchivedRuns(tmp_path).runs(RunFilter(), None, 99).runs} == set(
        RUNS
    )
