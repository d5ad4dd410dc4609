"""What is PostgreSQL's own about a branch: its transaction is begun and prepared past SQLAlchemy."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.participant.two_phase import postgresql
from orchestrator.participant.two_phase.wire import Statement, say, say_each
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer
from tests.contract.barrier_shop import Kept
from tests.contract.branch_ledger import TAKE, Ledger, by_hand, commit, opened, prepare

ONLY_PLAIN = pytest.mark.parametrize("ledger", ["postgres"], indirect=True)


@pytest.fixture(params=["postgres", "postgres async"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


def test_statements_that_a_pooler_has_lost_are_done_without(ledger: Ledger) -> None:
    def lose(session: Session) -> None:
        session.execute(text("DEALLOCATE ALL"))
        session.execute(text("ROLLBACK"))

    def keep(_session: Session) -> None:
        pass

    for number, act in enumerate((keep, lose, keep)):
        ledger.before_vote = act
        answer = ledger.one(prepare(step=f"step {number}"))
        assert answer.vote == (None if act is lose else "prepared")
        if act is keep:
            assert ledger.one(commit(step=f"step {number}")).outcome == "succeeded"
    assert ledger.balance == 100 - 2 * 30


def test_a_statement_lost_while_its_branch_is_at_work_costs_one_attempt(ledger: Ledger) -> None:
    def lose(session: Session) -> None:
        session.execute(text("DEALLOCATE ALL"))

    assert ledger.one(prepare(step="first")).vote == "prepared"
    ledger.before_vote = lose
    assert ledger.one(commit(step="first")).outcome == "succeeded"
    assert [ledger.one(prepare(step="second")).vote for _ in range(2)] == [None, "prepared"]


@ONLY_PLAIN
def test_a_statement_that_a_pooler_has_from_another_is_done_without(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        connection.exec_driver_sql("PREPARE saga_claim AS SELECT 1")
    assert ledger.one(prepare()).vote == "prepared"
    assert ledger.one(commit()).outcome == "succeeded"


@ONLY_PLAIN
def test_a_failure_costs_no_prepared_statement(ledger: Ledger) -> None:
    """A driver that has prepared statements itself drops everything that is prepared when it rolls back."""

    def fail(session: Session) -> None:
        for _ in range(7):
            session.execute(text("SELECT 1"))
        raise LookupError("no such account")

    kept = text("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'saga%'")
    ledger.one(prepare())
    ledger.one(commit())
    ledger.before_vote = fail
    assert ledger.one(prepare(step="second")).outcome == "failed"
    with ledger.engine.connect() as connection:
        assert connection.scalar(kept) == 2


def vote_of(database: str | Engine, function: Callable[[Session], Any]) -> Answer:
    """What a service's one participant answers to a prepare."""
    service = Service("teller", database=database, two_phase=True)
    service.participant(function)
    kept, executor = Kept(), WorkExecutor(Registry.of([service]))
    executor.execute([prepare(participant=f"teller.{function.__name__}", args={})], kept)
    executor.dispose()
    (answer,) = kept.answers
    return answer


@ONLY_PLAIN
def test_a_driver_that_is_to_prepare_nothing_prepares_nothing(ledger: Ledger) -> None:
    def debit(session: Session) -> int:
        session.execute(TAKE, {"amount": 30, "name": "ann"})
        return int(
            session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
        )

    more = {"prepare_threshold": None}
    answer = vote_of(create_engine(ledger.engine.url, connect_args=more), debit)
    assert (answer.vote, answer.result) == ("prepared", 0)


@ONLY_PLAIN
def test_an_engine_keeps_its_isolation(ledger: Ledger) -> None:
    def debit(session: Session) -> str:
        session.execute(TAKE, {"amount": 30, "name": "ann"})
        return str(session.scalar(text("SHOW transaction_isolation")))

    strict = create_engine(ledger.engine.url, isolation_level="REPEATABLE READ")
    answer = vote_of(strict, debit)
    assert (answer.vote, answer.result) == ("prepared", "repeatable read")


@ONLY_PLAIN
def test_a_notification_is_not_lost_with_a_vote_of_having_written_nothing(ledger: Ledger) -> None:
    def tell(session: Session) -> None:
        session.execute(text("NOTIFY news"))

    assert ledger.url is not None
    answer = vote_of(ledger.url, tell)
    assert (answer.outcome, answer.vote, ledger.pending) == ("failed", None, 0)


def test_what_a_participant_was_given_and_gave_stands_in_no_statement(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server writes statements that fail to its log, with all that stands in them."""
    said = say
    messages: list[bytes] = []

    def noted(connection: Connection, *statements: Statement) -> Any:
        messages.append(b"; ".join(statement.text for statement in statements))
        return said(connection, *statements)

    monkeypatch.setattr(postgresql, "say", noted)
    ledger.one(prepare(args={"amount": 7_654, "name": "ann"}))
    ledger.one(commit())
    assert ledger.balance == 100 - 7_654
    assert len(messages) == 3, "begin and claim, seal and prepare, commit"
    assert not [message for message in messages if b"7654" in message]


def does_not_vote(ledger: Ledger, act: Callable[[Session], None], *, because: str) -> None:
    ledger.before_vote = act
    answer = ledger.one(prepare())
    assert (answer.outcome, answer.vote, ledger.pending) == ("failed", None, 0)
    assert answer.failure is not None
    assert because in answer.failure.message


def test_a_participant_that_commits_in_its_own_words_does_not_vote(ledger: Ledger) -> None:
    def end(session: Session) -> None:
        session.execute(text("COMMIT"))

    does_not_vote(ledger, end, because="ended its transaction itself")


def test_a_participant_that_begins_anew_in_its_own_words_does_not_vote(ledger: Ledger) -> None:
    """The transaction it is in then has no proof row, though there is one."""

    def begin_anew(session: Session) -> None:
        session.execute(text("COMMIT"))
        session.execute(TAKE, {"amount": 1, "name": "bob"})

    does_not_vote(ledger, begin_anew, because="ended its transaction itself")


def test_a_participant_that_deletes_its_proof_does_not_vote(ledger: Ledger) -> None:
    def delete(session: Session) -> None:
        session.execute(text("DELETE FROM saga_barrier"))

    does_not_vote(ledger, delete, because="went away while its action ran")


class TooLongError(Exception):
    """Raised out of the blue, as a soft time limit is."""


@ONLY_PLAIN
def test_a_connection_left_in_the_middle_of_a_message_is_not_used_again(ledger: Ledger) -> None:
    def interrupt(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ledger.engine.connect() as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TooLongError):
                say(connection, Statement(b"SELECT pg_sleep(2)"))
            assert connection.invalidated
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ledger.one(prepare()).vote == "prepared"


@ONLY_PLAIN
def test_what_comes_after_a_statement_that_failed_is_not_carried_out(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="division by zero"):
            say(connection, Statement(b"SELECT 1 / 0"), Statement(b"CREATE TABLE after ()"))
        (found,) = say(connection, Statement(b"SELECT to_regclass($1), $2::int", ("after", None)))
    assert (found.get_value(0, 0), found.get_value(0, 1)) == (None, None)


@pytest.fixture
def several(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Answer]]:
    """Sends one message with a commit of each step; what PostgreSQL is asked together is noted in ``ledger.calls``."""
    said = say_each

    def noted(connection: Connection, statements: Sequence[Statement]) -> Any:
        ledger.calls.append(f"{len(statements)} together")
        return said(connection, statements)

    monkeypatch.setattr(postgresql, "say_each", noted)
    for step in ("a", "b", "c"):
        account = {"amount": 10, "name": step}
        with ledger.session() as session:
            session.execute(text("INSERT INTO account VALUES (:name, 10, 0)"), {"name": step})
            session.commit()
        assert ledger.one(prepare(step=step, args=account)).vote == "prepared"
    ledger.calls.clear()

    def send(**changes: Any) -> list[Answer]:
        kept = Kept()
        ledger.executor.execute([commit(step=step, **changes) for step in "abc"], kept)
        return kept.answers

    return send


@ONLY_PLAIN
def test_commits_of_one_message_are_said_together(
    ledger: Ledger, several: Callable[..., list[Answer]]
) -> None:
    answers = several()
    told = {"amount": 30, "name": "ann"}
    expected = [("succeeded", told, False)] * 3
    assert [(one.outcome, one.result, one.duplicate) for one in answers] == expected
    assert all(one.took_s > 0 for one in answers)
    assert (ledger.calls, ledger.pending) == (["3 together"], 0)


@ONLY_PLAIN
def test_what_cannot_be_committed_together_is_looked_at_by_itself(
    ledger: Ledger, several: Callable[..., list[Answer]]
) -> None:
    assert ledger.url is not None
    by_hand(ledger.url, f"ROLLBACK PREPARED '{Gid(3, 0, 'r1', 'a')}'")
    by_hand(ledger.url, f"COMMIT PREPARED '{Gid(3, 0, 'r1', 'b')}'")
    outcomes = [(one.step, one.outcome, one.duplicate) for one in several()]
    assert outcomes == [
        ("a", "heuristic_rollback", False),
        ("b", "succeeded", True),
        ("c", "succeeded", False),
    ]
    assert (ledger.calls, ledger.pending) == (["3 together"], 0)


@ONLY_PLAIN
def test_commits_of_a_tenure_that_is_over_are_refused_however_many(
    ledger: Ledger, several: Callable[..., list[Answer]]
) -> None:
    ledger.one(prepare(step="later", epoch=9, args={"amount": 1, "name": "bob"}))
    ledger.calls.clear()
    assert [one.outcome for one in several()] == ["rejected"] * 3
    assert ledger.pending == 4


@ONLY_PLAIN
def test_a_connection_lost_among_several_commits_costs_none(
    ledger: Ledger, several: Callable[..., list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are committed when it goes; nobody has heard of any."""
    together = ledger.branches._resources.commit_together

    def lost(engine: Engine, gids: Sequence[Gid]) -> Any:
        together(engine, gids[:2])
        raise OperationalError("COMMIT PREPARED", None, Exception("the connection is lost"))

    monkeypatch.setattr(ledger.branches._resources, "commit_together", lost)
    assert [(one.outcome, one.duplicate) for one in several()] == [
        ("succeeded", True),
        ("succeeded", True),
        ("succeeded", False),
    ]
    assert ledger.pending == 0


@ONLY_PLAIN
def test_commits_that_are_traced_go_one_by_one(
    ledger: Ledger, several: Callable[..., list[Answer]]
) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert [one.outcome for one in several(trace=trace)] == ["succeeded"] * 3
    assert (ledger.calls, ledger.pending) == ([], 0)
