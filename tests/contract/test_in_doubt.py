"""`saga in-doubt` and `saga doctor` about prepared branches. Rows C11 and R2 of the matrix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import make_url, text

from orchestrator.wiring import Definitions
from tests.contract.branch_ledger import Ledger, opened
from tests.contract.branch_orphans import PLAN, RUN, orphan
from tests.servers import Postgres
from tests.unit.cli.stage import Stage
from tests.unit.coordinator.scripted import request


@pytest.fixture(params=["postgres", "mariadb"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


def test_lists_and_leaves_alone(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    ledger.one(orphan())
    (one,) = stage.json("in-doubt", "--app", "x")
    assert (one["service"], one["run"], one["step"]) == ("ledger", RUN, "debit")
    assert (one["decision"], one["came_to"]) == ("no record", "")
    assert RUN[:8] in stage.run("in-doubt", "--app", "x").stdout
    assert ledger.pending == 1


def test_resolve_leaves_a_young_orphan(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    ledger.one(orphan())
    (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
    assert (one["decision"], one["came_to"]) == ("no record", "")
    assert ledger.pending == 1


def test_resolve_ends_what_is_decided(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    stage.transport.handler = ledger.one
    stage.store.launch([request(PLAN, RUN, at=stage.clock)])
    stage.turns()
    assert ledger.balance == 70
    stage.transport.handler = lambda _work: None
    with ledger.session() as session:
        session.execute(text("DELETE FROM saga_barrier"))
        session.commit()
    ledger.one(orphan(step="one"))
    (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
    assert (one["decision"], one["came_to"]) == ("commit", "committed")
    assert (ledger.balance, ledger.pending) == (40, 0)
    refused = stage.run("in-doubt", "--app", "x", "--abort", one["gid"])
    assert refused.exit_code == 2
    assert "nothing called" in refused.output


@pytest.mark.parametrize(("decided", "balance"), [("commit", 40), ("abort", 70)])
def test_c11_what_the_journal_forgot_a_person_decides(
    ledger: Ledger, decided: str, balance: int
) -> None:
    stage = _stage(ledger)
    stage.start()
    ledger.one(replace(orphan(step="one"), one_phase=True))
    ledger.one(orphan())
    assert (ledger.balance, ledger.pending) == (70, 1)
    result = stage.run("--json", "in-doubt", "--app", "x", "--resolve")
    (one,) = json.loads(result.stdout)
    assert (result.exit_code, one["decision"], one["came_to"]) == (1, "no record", "")
    assert one["why"].endswith("this has taken effect: one in ledger")
    (one,) = stage.json("in-doubt", "--app", "x", f"--{decided}", one["gid"])
    assert one["came_to"] == {"commit": "committed", "abort": "rolled back"}[decided]
    assert (ledger.balance, ledger.pending) == (balance, 0)


def test_an_undecided_one_is_left(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    stage.transport.handler = lambda _work: None
    stage.store.launch([request(PLAN, RUN, at=stage.clock)])
    stage.turns()
    ledger.one(replace(orphan(), step="one"))
    (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
    assert (one["decision"], one["came_to"], ledger.pending) == ("undecided", "", 1)
    refused = stage.run("in-doubt", "--app", "x", "--commit", one["gid"])
    assert (refused.exit_code, ledger.pending) == (2, 1)
    assert "the journal says: undecided" in refused.output


def test_c11_presumes_nothing_and_says_so(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    ledger.one(orphan(epoch=9))
    result = stage.run("in-doubt", "--app", "x", "--resolve")
    assert result.exit_code == 1
    assert "older than this branch" in result.output
    assert ledger.pending == 1


def test_nothing_in_doubt(ledger: Ledger) -> None:
    result = _stage(ledger).run("in-doubt", "--app", "x")
    assert (result.exit_code, "nothing is in doubt" in result.output) == (0, True)


def test_without_apps_it_says_what_is_missing() -> None:
    result = Stage().run("in-doubt")
    assert result.exit_code == 2
    assert "--app" in result.output


def test_the_doctor_looks_at_two_phase_databases(ledger: Ledger) -> None:
    stage = _stage(ledger)
    stage.start()
    findings = stage.json("doctor", "--app", "x")["findings"]
    (one,) = [f for f in findings if f["check"] == "two-phase ledger"]
    assert one["level"] == "ok"
    assert ledger.pending == 0


def test_the_doctor_tries_with_the_services_own_user(own_postgres: Postgres) -> None:
    owner = Ledger("postgres", own_postgres.url)
    owner.one(orphan())
    own_postgres.execute("CREATE USER clerk")
    own_postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk")
    url = make_url(own_postgres.url).set(username="clerk").render_as_string()
    clerks = Ledger("postgres", url, fresh=False)
    stage = _stage(clerks)
    stage.start()
    result = stage.run("--json", "doctor", "--app", "x")
    for ledger in (owner, clerks):
        ledger.executor.dispose()
    assert result.exit_code == 1
    assert "permission denied for table saga_barrier" in result.stdout


def test_the_doctor_names_what_has_been_in_doubt_for_long(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = _stage(ledger)
    stage.start()
    ledger.one(orphan())
    (found,) = ledger.branches.found()
    aged = [replace(found, age_s=1_000.0)]
    monkeypatch.setattr(type(ledger.branches._resources), "found", lambda *_: aged)
    output = stage.run("doctor", "--app", "x").output
    assert "1 branches have been prepared for longer than 2m" in output
    assert "saga in-doubt" in output
    stage.transport.handler = lambda _work: None
    (one,) = stage.json("in-doubt", "--app", "x", "--resolve")
    assert (one["decision"], one["came_to"]) == ("no record", "rolled back")


def _stage(ledger: Ledger) -> Stage:
    stage = Stage()
    stage.defined = Definitions({}, [ledger.service])
    return stage
