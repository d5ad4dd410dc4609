"""A saga in process: what runs for real, what stands in, and that time costs nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from orchestrator import Service
from orchestrator.errors import DefinitionError, InvalidInputError, StagingError
from orchestrator.kernel.events import StepFailed, StepSucceeded
from orchestrator.kernel.state import Phase, Status
from orchestrator.testing import Sagas
from tests.unit.testing.stage import shop
from tests.unit.testing.stage.shop import Article, Tables, announce, charge, order, reserve


def test_a_saga_runs_to_its_end_with_stand_ins_where_a_database_is_missing(sagas: Sagas) -> None:
    run = sagas.run(order, "apple", 100)
    assert run.completed
    assert run.result == "ada paid 100"
    assert run.did == ["reserve", {"charge", "announce"}, shop.fetch]
    assert run.undid == []
    assert [(called.participant, called.how) for called in run.calls()] == [
        ("stock.reserve", "stand-in"),
        ("bank.charge", ""),
        ("post.announce", ""),
        ("courier.fetch", "stand-in"),
        ("post.listen", ""),
    ]
    assert shop.HEARD == ["charge 1 True", "announce apple", "heard: completed"]


def test_the_same_test_is_the_same_each_time(sagas: Sagas) -> None:
    told = []
    for _ in range(2):
        with Sagas("the same") as again:
            again.when(charge).fails(times=2)
            again.when(announce).takes(7.5)
            told.append([again.run(order, "apple", 100).timeline, str(again.now)])
    assert told[0] == told[1]
    assert sagas.run(order, "apple", 100).id != sagas.run(order, "apple", 100).id


def test_what_fails_is_compensated_by_the_real_undos(sagas: Sagas) -> None:
    run = sagas.run(order, "apple", 2_000)
    assert run.compensated
    assert run.reason == "charge: no money"
    assert run.cause is not None
    assert run.cause.data == {"missing": 1_000}
    assert run.did == ["reserve", "announce"]
    assert run.undid == ["announce", "reserve"]
    assert shop.HEARD == ["charge 1 True", "announce apple", "take back apple"]


def test_a_result_that_is_not_there_says_why(sagas: Sagas) -> None:
    run = sagas.run(order, "apple", 2_000)
    with pytest.raises(AssertionError, match="no result: order: compensated: charge: no money"):
        _ = run.result
    waiting = sagas.run(shop.slow_reader, "apple")
    with pytest.raises(AssertionError, match=r"waiting for go: send it with run.signal"):
        _ = waiting.result
    slow = sagas.start(shop.approved, "apple")
    slow.signal("approval", {"granted": True})
    with pytest.raises(AssertionError, match=r"let time pass with run.finish\(\)"):
        _ = slow.result


# -- databases


def test_with_a_database_a_service_runs_for_real(sagas: Sagas) -> None:
    engine = sagas.database(shop.stock, tables=Tables)
    with Session(engine) as session, session.begin():
        session.add(Article(sku="apple", left=3))
    assert sagas.run(order, "apple", 100).completed
    assert _left(engine) == 2
    refused = sagas.run(order, "apple", 2_000)
    assert refused.undid == [announce, reserve]
    assert _left(engine) == 2
    assert sagas.run(order, "pear", 100).reason == "reserve: out of stock"


def test_a_database_that_outlives_the_test_can_be_used_again(tmp_path: object) -> None:
    """Neither its barrier rows nor its epochs get in the way of the next test."""
    url = f"sqlite:///{tmp_path}/stock.db"
    engine = create_engine(url)
    Tables.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Article(sku="apple", left=3))
    for left in (2, 1):
        with Sagas("the same") as sagas:
            sagas.database(shop.stock, url)
            assert sagas.run(order, "apple", 100).completed
        assert _left(engine) == left
    with Sagas() as sagas:
        sagas.database(shop.stock, engine)
        assert sagas.run(order, "apple", 100).completed
    assert _left(engine) == 0
    engine.dispose()


def _left(engine: Engine) -> int:
    with Session(engine) as session:
        return session.get_one(Article, "apple").left


def test_databases_are_let_go_of_at_the_end() -> None:
    with Sagas() as sagas:
        engine = sagas.database(shop.stock, tables=Tables)
        pool = engine.pool
        folder = Path(str(engine.url.database)).parent
        assert folder.is_dir()
    assert engine.pool is not pool
    assert not folder.exists()


def test_a_database_has_to_be_given_before_the_first_run(sagas: Sagas) -> None:
    sagas.run(order, "apple", 100)
    with pytest.raises(StagingError, match="before the first run"):
        sagas.database(shop.stock)
    with pytest.raises(StagingError, match="declared without a database"):
        sagas.database(shop.bank)
    with pytest.raises(StagingError, match="isn't a service of this process"):
        sagas.database(shop.courier)  # type: ignore[arg-type]


def test_what_is_to_be_a_stand_in_is_not_run(sagas: Sagas) -> None:
    sagas.stand_in(shop.bank, announce)
    run = sagas.run(order, "apple", 2_000)
    assert run.completed
    assert run.result == "charge"  # made up
    assert shop.HEARD == ["heard: completed"]


def test_a_participant_that_cannot_be_seen_is_named(sagas: Sagas) -> None:
    hidden: dict[str, object] = {}
    source = "from orchestrator import saga\n@saga()\ndef hidden(): given[0]()\n"
    exec(source, hidden | {"given": [shop.audit], "__name__": "hidden"}, hidden)
    with pytest.raises(StagingError, match=r"hidden calls bank.audit.*sagas.use"):
        sagas.run(hidden["hidden"])  # type: ignore[arg-type]
    sagas.use(shop.bank)
    assert sagas.run(hidden["hidden"]).did == [shop.audit]  # type: ignore[arg-type]


def test_arguments_are_checked_as_at_a_launch(sagas: Sagas) -> None:
    with pytest.raises(InvalidInputError, match="cents"):
        sagas.run(order, "apple", "much")  # type: ignore[arg-type]
    with pytest.raises(StagingError, match="decorate it with @saga"):
        sagas.run(lambda: None)


def test_two_services_of_one_name_are_told_apart(sagas: Sagas) -> None:
    with pytest.raises(StagingError, match=r"two services are named 'bank'.*imported anew"):
        sagas.use(shop.bank, _other_bank())


def _other_bank() -> Service:
    bank = Service("bank")

    @bank.participant
    def audit() -> None: ...

    return bank


def test_a_result_over_the_payload_limit_fails_as_in_production(sagas: Sagas) -> None:
    sagas.when(shop.letter).returns("x" * 101)
    run = sagas.run(shop.correspond)
    assert run.stuck or run.compensated
    assert "over the limit of 100" in run.reason


# -- time


def test_time_passes_only_when_asked_and_costs_none(sagas: Sagas) -> None:
    began = time.monotonic()
    run = sagas.start(shop.approved, "apple")
    assert sagas.now == datetime(2030, 1, 1, tzinfo=UTC)
    assert run.waiting == ["approval"]
    sagas.advance(hours=47, minutes=59)
    assert run.waiting == ["approval"]
    run.signal("approval", shop.Approval(granted=True))
    assert run.waiting == ["sleep"]
    assert run.status == "running"
    sagas.advance(timedelta(days=1))
    assert run.completed
    assert sagas.now == datetime(2030, 1, 3, 23, 59, tzinfo=UTC)
    assert time.monotonic() - began < 20


def test_a_signal_that_does_not_come_is_waited_for_in_no_time(sagas: Sagas) -> None:
    run = sagas.run(shop.approved, "apple")
    assert run.compensated
    assert "signal didn't come in time" in run.reason
    assert sagas.now - datetime(2030, 1, 1, tzinfo=UTC) == timedelta(days=2)


def test_a_run_that_is_stuck_is_left_there(sagas: Sagas) -> None:
    """Though two days later a wait of it would be over."""
    sagas.when(shop.audit).fails()
    run = sagas.run(shop.both, "apple")
    assert run.stuck
    assert run.waiting == ["go"]
    assert sagas.now - datetime(2030, 1, 1, tzinfo=UTC) < timedelta(hours=1)


def test_a_run_that_only_a_signal_can_end_is_left_waiting(sagas: Sagas) -> None:
    run = sagas.run(shop.slow_reader, "apple")
    assert run.status == "running"
    assert run.waiting == ["go"]
    assert sagas.now == datetime(2030, 1, 1, tzinfo=UTC)
    run.signal("go", "now")
    assert run.result == "APPLE"


def test_signals_are_checked_against_the_saga(sagas: Sagas) -> None:
    run = sagas.start(shop.approved, "apple")
    with pytest.raises(StagingError, match="no signal 'aproval'; it waits for approval"):
        run.signal("aproval")
    with pytest.raises(InvalidInputError, match="signal approval"):
        run.signal("approval", "yes")


def test_time_does_not_go_back(sagas: Sagas) -> None:
    with pytest.raises(DefinitionError, match=r"sagas.advance\(\).*is not a length of time"):
        sagas.advance(hours=-1)
    with pytest.raises(DefinitionError, match="not a length of time"):
        sagas.advance(-0.5)


def test_a_run_without_end_says_what_is_without_end(
    sagas: Sagas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.testing.stage.world.ATTEMPTS_MAX", 50)
    sagas.when(announce).fails()
    with pytest.raises(StagingError, match=r"attempt 51 at announce.*fails\(times=2\)"):
        sagas.run(order, "apple", 100)


# -- looking back


def test_the_past_can_be_looked_at(sagas: Sagas) -> None:
    sagas.when(charge).fails(times=1)
    run = sagas.run(order, "apple", 100)
    failed = run.event(StepFailed, charge)
    then = run.at(failed)
    assert (then.steps["charge"].status, then.steps["charge"].attempt) == (Status.RUNNING, 2)
    assert run.state.steps["charge"].status is Status.DONE
    assert "fetch" not in then.steps
    assert run.at(0.1) == run.at(timedelta(seconds=0.1)) == run.at(sagas.now.replace(microsecond=0))
    assert run.at(0.1).phase is Phase.FORWARD
    assert run.at(3600).phase is Phase.COMPLETED
    assert [type(event).__name__ for event in run.events][:2] == ["RunLaunched", "StepSucceeded"]
    with pytest.raises(StagingError, match="began after that time"):
        run.at(-1)
    with pytest.raises(StagingError, match=r"no StepFailed of reserve; its events are RunLaunched"):
        run.event(StepFailed, "reserve")
    with pytest.raises(StagingError, match="never had the event StepSucceeded"):
        run.at(StepSucceeded(at=0, step="charge", attempt=7))


def test_the_timeline_tells_events_and_calls_in_their_order(sagas: Sagas) -> None:
    sagas.when(announce).refuses("not now")
    run = sagas.run(order, "apple", 100)
    assert run.timeline.splitlines() == [
        "order: compensated: announce: not now",
        "      0 s  order version 1 launched",
        "      0 s    -> stock.reserve(sku='apple')  [stand-in]",
        "      0 s  reserve succeeded",
        "      0 s    -> bank.charge(customer='ada', cents=100)",
        "      0 s    -> post.announce(text='apple')  [refuses('not now')]",
        "      0 s  charge succeeded",
        "      0 s  announce was refused: not now",
        "      0 s  compensation starts: announce: not now",
        "      0 s    -> undo bank.charge()",
        "      0 s  charge is undone",
        "      0 s    -> undo stock.reserve()  [stand-in]",
        "      0 s  reserve is undone",
        "      0 s  run compensated: every effect is undone",
    ]
    assert sagas.report() == run.timeline


def test_what_a_participant_was_called_with_can_be_asked(sagas: Sagas) -> None:
    run = sagas.run(order, "apple", 100)
    [called] = run.calls(charge)
    assert called.args == {"customer": "ada", "cents": 100}
    assert (called.attempt, called.kind, called.outcome) == (1, "do", "succeeded")
    assert run.calls("charge") == [called]


# -- code under test that launches sagas


def test_a_client_for_code_that_launches(sagas: Sagas) -> None:
    client = sagas.client(order)
    launched = client.launch(order, "apple", 100, key="a")
    assert launched.result(timeout=0) == "ada paid 100"
    assert client.launch(order, "apple", 100, key="a").id == launched.id
    assert client.launch_named("order", {"sku": "pear", "cents": 2_000}).summary().status == (
        "compensated"
    )
    assert [run.status for run in sagas.runs] == ["completed", "compensated"]
    assert sagas.runs[0].id == launched.id


def test_a_participant_may_launch_a_saga_itself(sagas: Sagas) -> None:
    client = sagas.client(order, shop.slow_reader)
    seen = []

    def launch(customer: str, cents: int) -> str:
        launched = client.launch(shop.slow_reader, "pear")
        seen.append(launched.summary().status)
        return launched.id

    sagas.when(charge).does(launch)
    assert sagas.run(order, "apple", 100).completed
    assert seen == ["accepted"]  # it begins when the participant has returned
    assert [(run.saga.name, run.status) for run in sagas.runs] == [
        ("order", "completed"),
        ("slow_reader", "running"),
    ]


def test_a_key_names_one_run(sagas: Sagas) -> None:
    first = sagas.run(order, "apple", 100, key="k", tags={"of": "test"})
    assert sagas.run(order, "apple", 100, key="k").id == first.id
    assert first.state.tags == {"of": "test"}
    assert len(sagas.runs) == 1
