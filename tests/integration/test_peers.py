"""What was seen to break in other packages, on ours: real participants, real databases, one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator import Call, Compensated, Refused, Retry, Service, parallel, saga, wait_for
from orchestrator.client import Run
from orchestrator.definition.saga import Registry, Saga
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.sql import SqlJournal
from tests.integration.embedding import asked, embedding, ended, file_url, made, types
from tests.waiting import eventually

ENTRY = "CREATE TABLE entry (who TEXT, amount INTEGER)"
ONCE = Retry(attempts=1)
TWICE = Retry(attempts=2, initial=0.01, jitter=0)
RUNS = 20
SIDES = ("left", "right")


class Pair:
    """Two branches that end at the same moment, each with an effect in a database; the right one may refuse."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._meet = threading.Barrier(2)
        self.service = Service("pair", database=url, retry=ONCE, timeout=60)
        left, right = (self._branch(side) for side in SIDES)

        @saga(registry=Registry())
        def both(who: str, refuse: str) -> list[str]:
            with parallel():
                one = left(who, "")
                two = right(who, refuse)
            return [one, two]

        self.both: Saga[[str, str], list[str]] = both

    def left_over(self) -> dict[str, int]:
        """Who has what, if it isn't nothing."""
        query = "SELECT who, sum(amount) FROM entry GROUP BY who HAVING sum(amount) <> 0"
        return dict(asked(self.url, query))

    def _branch(self, side: str) -> Any:
        @self.service.participant(name=side)
        def act(session: Session, who: str, refuse: str) -> str:
            session.execute(text("INSERT INTO entry VALUES (:who, 1)"), {"who": who})
            self._meet.wait(30)
            if refuse:
                raise Refused(refuse)
            return f"{who} {side}"

        @act.undo
        def undo(session: Session, who: str) -> None:
            session.execute(text("INSERT INTO entry VALUES (:who, -1)"), {"who": who})

        return act


@pytest.fixture
def pair(postgres_url: str) -> Pair:
    """On PostgreSQL: on SQLite two branches never write at the same moment."""
    return Pair(made(postgres_url, ENTRY))


def test_s11_parallel_branches_that_finish_at_the_same_moment_all_count(pair: Pair) -> None:
    with embedding(MemoryJournal(shards=2), [pair.both], pair.service, bundle=1) as it:
        for number in range(RUNS):
            run = it.client.launch(pair.both, f"r{number}", "")
            assert run.result(timeout=60) == [f"r{number} left", f"r{number} right"]
    assert pair.left_over() == {f"r{number}": 2 for number in range(RUNS)}


def test_s11_a_branch_that_finishes_as_the_other_fails_is_undone(pair: Pair) -> None:
    with embedding(MemoryJournal(shards=2), [pair.both], pair.service, bundle=1) as it:
        for number in range(RUNS):
            run = it.client.launch(pair.both, f"r{number}", "no")
            with pytest.raises(Compensated, match="right: no"):
                run.result(timeout=60)
    assert pair.left_over() == {}


def test_s9_eight_launches_at_once_with_one_key_are_one_run_and_one_effect(
    postgres_url: str, tmp_path: Path
) -> None:
    """From eight clients with connections of their own, while a coordinator takes what comes."""
    url = made(file_url(tmp_path, "bank"), ENTRY)
    bank, buy = _bank(url)
    runs: list[Run[Any]] = []
    start = threading.Barrier(8)
    with embedding(postgres_url, [buy], bank) as it:

        def launch() -> None:
            journal = SqlJournal(postgres_url)
            try:
                own = type(it.client)(journal, {"buy": buy})
                start.wait(30)
                runs.append(own.launch(buy, "ann", key="order-1"))
            finally:
                journal.close()

        threads = [threading.Thread(target=launch) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len({run.id for run in runs}) == 1
        assert [run.created for run in runs].count(True) == 1
        assert it.client.run(runs[0].id).result(timeout=60) == "ann"
        assert len(it.client.list().runs) == 1
    assert asked(url, "SELECT count(*) FROM entry") == [(1,)]


def test_a_key_of_a_compensated_run_gives_that_run_and_not_a_false_success(
    tmp_path: Path,
) -> None:
    url = made(file_url(tmp_path, "bank"), ENTRY)
    bank, buy = _bank(url)
    with embedding(MemoryJournal(shards=2), [buy], bank) as it:
        first = it.client.launch(buy, "nobody", key="k")
        again: list[Run[str]] = []
        for _ in range(2):
            with pytest.raises(Compensated, match="no such customer"):
                (again or [first])[-1].result(timeout=60)
            again.append(it.client.launch(buy, "nobody", key="k"))
        assert [(run.id, run.created) for run in again] == [(first.id, False)] * 2
    assert asked(url, "SELECT coalesce(sum(amount), 0) FROM entry") == [(0,)]


@pytest.mark.parametrize("missing", ["undo", "participant", "undo outside"])
def test_s6_an_undo_that_no_worker_has_is_stuck_by_name_until_it_is_deployed(
    tmp_path: Path, missing: str
) -> None:
    url = made(file_url(tmp_path, "bank"), ENTRY)
    journal = file_url(tmp_path, "journal")
    whole, buy = _shop(url, outside=missing == "undo outside")
    with embedding(journal, [buy], *whole) as it:
        run = it.client.launch(buy, "ann")
        eventually(lambda: "StepSucceeded" in types(it, run), 60)
    with embedding(journal, [buy], *_without(missing, url)) as it:
        it.client.signal(run.id, "answer", "no")
        assert ended(it.client.run(run.id)) == "stuck"
        reason = it.client.get(run.id).reason
        if missing == "undo":  # the barrier knows that the effect is there
            assert "pay took effect" in reason
            assert "no undo: deploy one" in reason
        else:
            assert "undo of shop.pay (queue saga.shop): deploy it" in reason
        assert "RunCompensated" not in types(it, run)
    with embedding(journal, [buy], *whole) as it:
        it.client.retry(run.id, reason="deployed")
        eventually(lambda: it.client.get(run.id).status == "compensated", 60)
    if missing != "undo outside":
        assert asked(url, "SELECT count(*), sum(amount) FROM entry") == [(2, 0)]


def test_every_undo_that_can_be_done_is_done_beside_one_that_keeps_failing(
    tmp_path: Path,
) -> None:
    """Also those of earlier steps."""
    url = made(file_url(tmp_path, "bank"), ENTRY)
    service = Service("shop", database=url, retry=ONCE)
    steps = [_entry(service, name) for name in ("first", "second", "third")]
    steps[1].undo(retry=TWICE)(_fails)

    @service.participant
    def refuse() -> None:
        raise Refused("no")

    @saga(registry=Registry())
    def row() -> None:
        for step in steps:
            step("ann")
        refuse()

    with embedding(MemoryJournal(shards=2), [row], service) as it:
        run = it.client.launch(row)
        assert ended(run) == "stuck"
        assert "the provider is away" in run.summary().reason
        eventually(lambda: types(it, run).count("StepUndone") == 2, 60)
    assert asked(url, "SELECT who FROM entry") == [("second",)]


def test_an_undo_that_keeps_failing_is_tried_ever_less_often(tmp_path: Path) -> None:
    tried: list[int] = []
    service = Service("shop", retry=ONCE)

    @service.participant
    def act(call: Call) -> None:
        del call

    @act.undo(retry=Retry(attempts=6, initial=0.05, cap=0.2, jitter=0.2))
    def fails(call: Call) -> None:
        tried.append(call.attempt)
        raise ConnectionError("the provider is away")

    @service.participant
    def refuse() -> None:
        raise Refused("no")

    @saga(registry=Registry())
    def pair() -> None:
        act()
        refuse()

    with embedding(MemoryJournal(shards=2), [pair], service) as it:
        run = it.client.launch(pair)
        assert ended(run) == "stuck"
        failures = [r.event for r in it.client.history(run.id) if r.type == "StepFailed"]
    assert tried == [1, 2, 3, 4, 5, 6]
    waits = [event.retry_at - event.at for event in failures[:-1]]  # type: ignore[union-attr, operator]
    for wait, plain in zip(waits, [0.05, 0.1, 1 / 6, 1 / 6, 1 / 6], strict=True):
        assert plain * 0.8 <= wait <= plain * 1.2, waits
    assert len({round(wait, 6) for wait in waits}) == 5, "no two waits are alike"


def _bank(url: str) -> tuple[Service, Saga[[str], str]]:
    bank = Service("bank", database=url, retry=ONCE)
    pay = _entry(bank, "pay")
    pay.undo(_refund)

    @bank.participant
    def check(who: str) -> str:
        if who == "nobody":
            raise Refused("no such customer")
        return who

    @saga(registry=Registry())
    def buy(who: str) -> str:
        pay(who)
        return check.pivot(who)

    return bank, buy


def _entry(service: Service, name: str) -> Any:
    """A participant that writes an entry, with an undo that deletes it unless another is attached."""

    @service.participant(name=name)
    def act(session: Session, who: str) -> str:
        session.execute(
            text("INSERT INTO entry VALUES (:who, 1)"), {"who": who if name == "pay" else name}
        )
        return who

    if name in {"first", "third"}:

        @act.undo
        def undo(session: Session) -> None:
            session.execute(text("DELETE FROM entry WHERE who = :who"), {"who": name})

    return act


def _refund(session: Session, who: str) -> None:
    session.execute(text("INSERT INTO entry VALUES (:who, -1)"), {"who": who})


def _fails(session: Session) -> None:
    raise ConnectionError("the provider is away")


def _shop(
    url: str, *, outside: bool = False, undo: bool = True, pay: bool = True
) -> tuple[list[Service], Saga[[str], str]]:
    """A shop that pays and then checks; ``outside``: what it pays with has no database."""
    shop = Service("shop", database=None if outside else url, retry=ONCE)
    desk = Service("desk", retry=ONCE)

    def in_database(session: Session, who: str) -> str:
        session.execute(text("INSERT INTO entry VALUES (:who, 1)"), {"who": who})
        return who

    def elsewhere(call: Call, who: str) -> str:
        return who

    def refund_elsewhere(call: Call, who: str) -> None:
        del call, who

    paying: Any = None
    if pay:
        function: Callable[..., str] = elsewhere if outside else in_database
        paying = shop.participant(name="pay")(function)
        if undo:
            paying.undo(retry=TWICE)(refund_elsewhere if outside else _refund)

    @desk.participant
    def check(answer: str) -> str:
        raise Refused(answer)

    @saga(registry=Registry())
    def buy(who: str) -> str:
        paying(who)
        return check.pivot(wait_for("answer", str))

    return [shop, desk], buy


def _without(missing: str, url: str) -> list[Service]:
    """The workers of a shop that something isn't deployed in."""
    services, _ = _shop(url, outside=missing == "undo outside", undo=False)
    if missing == "participant":
        services[0].participants.clear()
    return services
