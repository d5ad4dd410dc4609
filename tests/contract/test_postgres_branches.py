"""What is PostgreSQL's own about a branch: its transaction is begun and prepared past SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.participant.two_phase import postgresql
from tests.contract.barrier_shop import Kept
from tests.contract.branch_ledger import TAKE, Ledger, commit, opened, prepare


@pytest.fixture(params=["postgres", "postgres async"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


def test_a_statement_that_a_pooler_has_lost_is_done_without(ledger: Ledger) -> None:
    def lose(session: Session) -> None:
        session.execute(text("DEALLOCATE ALL"))

    def keep(_session: Session) -> None:
        pass

    for number, act in enumerate((keep, lose, keep)):
        ledger.before_vote = act
        assert ledger.one(prepare(step=f"step {number}")).vote == "prepared"
        assert ledger.one(commit(step=f"step {number}")).outcome == "succeeded"
    assert ledger.balance == 100 - 3 * 30


@pytest.mark.parametrize("ledger", ["postgres"], indirect=True)
def test_a_driver_that_is_to_prepare_nothing_prepares_nothing(ledger: Ledger) -> None:
    more = {"prepare_threshold": None}
    engine = create_engine(ledger.engine.url, connect_args=more)
    service = Service("pooled", database=engine, two_phase=True)

    @service.participant
    def debit(session: Session) -> int:
        session.execute(TAKE, {"amount": 30, "name": "ann"})
        return int(
            session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
        )

    kept, executor = Kept(), WorkExecutor(Registry.of([service]))
    executor.execute([prepare(participant="pooled.debit", args={})], kept)
    assert [(one.vote, one.result) for one in kept.answers] == [("prepared", 0)]
    engine.dispose()


@pytest.mark.parametrize("ledger", ["postgres"], indirect=True)
def test_an_engine_keeps_its_isolation(ledger: Ledger) -> None:
    engine = create_engine(ledger.engine.url, isolation_level="REPEATABLE READ")
    service = Service("strict", database=engine, two_phase=True)

    @service.participant
    def debit(session: Session) -> str:
        session.execute(TAKE, {"amount": 30, "name": "ann"})
        return str(session.scalar(text("SHOW transaction_isolation")))

    kept, executor = Kept(), WorkExecutor(Registry.of([service]))
    executor.execute([prepare(participant="strict.debit", args={})], kept)
    assert [(one.vote, one.result) for one in kept.answers] == [("prepared", "repeatable read")]
    engine.dispose()


def test_what_a_participant_was_given_and_gave_stands_in_no_statement(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server writes statements that fail to its log, with all that stands in them."""
    sent = postgresql._sent
    statements: list[str] = []

    def noted(connection: Any, statement: str, values: Any = None) -> Any:
        statements.append(statement)
        return sent(connection, statement, values)

    monkeypatch.setattr(postgresql, "_sent", noted)
    ledger.one(prepare(args={"amount": 7_654, "name": "ann"}))
    ledger.one(commit())
    assert ledger.balance == 100 - 7_654
    assert len(statements) == 5, "prepare the claim; begin and claim, seal, prepare, commit"
    assert not [statement for statement in statements if "7654" in statement]


def test_a_participant_that_commits_in_its_own_words_does_not_vote(ledger: Ledger) -> None:
    def end(session: Session) -> None:
        session.execute(text("COMMIT"))

    ledger.before_vote = end
    answer = ledger.one(prepare())
    assert (answer.outcome, answer.vote, ledger.pending) == ("failed", None, 0)
    assert answer.failure is not None
    assert "ended its transaction itself" in answer.failure.message
