"""Declaring participants: what a saga then sees of them, and every way to get it wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.definition.action import Action
from orchestrator.definition.plan import RetryPolicy
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError, SagaError
from orchestrator.participant.call import Call
from orchestrator.participant.service import Service, remote


@dataclass
class Hold:
    """A result."""

    weight: int


class LockLike:
    """What can't travel."""


@pytest.fixture
def shop(tmp_path: Path) -> Service:
    return Service("shop", database=f"sqlite:///{tmp_path}/shop.db")


@pytest.fixture
def web() -> Service:
    return Service("web")


class TestSpec:
    """What a plan takes from a participant."""

    def test_defaults_are_the_services(self) -> None:
        service = Service("web", timeout=timedelta(minutes=2), retry=Retry(attempts=3))

        @service.participant
        def fetch(call: Call, url: str, depth: int = 1) -> str:
            return url

        spec = fetch.spec
        assert isinstance(fetch, Action)
        assert (spec.qualified, spec.queue, spec.timeout_s) == ("web.fetch", "saga.web", 120)
        assert spec.retry.attempts == 3
        assert list(spec.parameters) == ["url", "depth"]
        assert [p.required for p in spec.parameters.values()] == [True, False]
        assert spec.returns is str
        assert (spec.undo, spec.read_only, spec.barrier) == (None, False, False)

    def test_options_come_before_the_services(self) -> None:
        service = Service("web", queue="slow")

        @service.participant(timeout=5, retry=Retry(attempts=2), queue="fast", name="get")
        async def fetch(url: str) -> str:
            return url

        assert service.queue == "slow"
        assert (fetch.spec.name, fetch.spec.queue, fetch.spec.timeout_s) == ("get", "fast", 5)
        assert fetch.spec.retry.attempts == 2
        assert service.participants == {"get": fetch}

    def test_a_session_makes_a_barrier_and_vanishes(self, shop: Service) -> None:
        @shop.participant
        def reserve(session: Session, call: Call, sku: str) -> Hold:
            return Hold(1)

        assert reserve.spec.barrier
        assert list(reserve.spec.parameters) == ["sku"]

    def test_without_a_session_no_barrier_vouches_for_the_effect(self, shop: Service) -> None:
        @shop.participant
        def charge(call: Call, amount: int) -> None: ...

        assert not charge.spec.barrier

    def test_read_only(self, shop: Service) -> None:
        @shop.participant(read_only=True)
        def look(session: Session) -> int:
            return 1

        assert look.spec.read_only
        assert not look.spec.barrier

    def test_the_function_can_be_tested_by_itself(self, shop: Service) -> None:
        @shop.participant
        def double(number: int) -> int:
            """Twice."""
            return 2 * number

        assert double.function(4) == 8
        assert double.__doc__ == "Twice."


class TestUndo:
    """``@action.undo``."""

    def test_is_in_the_spec_and_returned_as_it_was(self, shop: Service) -> None:
        @shop.participant(timeout=5)
        def reserve(session: Session, sku: str) -> Hold:
            return Hold(1)

        def release(session: Session, hold: Hold, sku: str) -> None: ...

        assert reserve.undo(release) is release
        undo = reserve.spec.undo
        assert undo is not None
        assert (undo.name, undo.timeout_s) == ("release", 5)
        assert undo.retry == RetryPolicy(attempts=10, cap_s=60.0)

    def test_takes_options(self, shop: Service) -> None:
        @shop.participant
        def reserve(session: Session) -> None: ...

        @reserve.undo(timeout=7, retry=Retry(attempts=2))
        def release(session: Session) -> None: ...

        undo = reserve.spec.undo
        assert undo is not None
        assert (undo.timeout_s, undo.retry.attempts) == (7, 2)

    def test_may_take_no_result_or_a_wider_one(self, shop: Service) -> None:
        for wanted in (Hold, Hold | None, Any, object):

            def reserve(session: Session) -> Hold:
                return Hold(1)

            def release(session: Session, hold: Any) -> None: ...

            release.__annotations__["hold"] = wanted
            shop.participant(name=f"reserve_{len(shop.participants)}")(reserve).undo(release)

    @pytest.mark.parametrize(
        ("annotations", "message"),
        [
            ({"hold": str}, "'hold' is declared str, but shop.reserve returns Hold"),
            ({"sku": int}, "'sku' is declared int, in the action str"),
            ({"one": Hold, "two": Hold}, "one, two are no arguments of shop.reserve"),
            ({"session": Session, "again": Session}, "are both a session"),
        ],
    )
    def test_that_does_not_fit(
        self, shop: Service, annotations: dict[str, Any], message: str
    ) -> None:
        @shop.participant
        def reserve(session: Session, sku: str) -> Hold:
            return Hold(1)

        with pytest.raises(DefinitionError, match=message):
            reserve.undo(_function(annotations))
        assert reserve.spec.undo is None

    def test_must_take_none_where_the_result_may_be_unknown(
        self, shop: Service, web: Service
    ) -> None:
        for service in (web, shop):

            @service.participant
            def charge(call: Call, amount: int) -> str:
                return "paid"

            with pytest.raises(DefinitionError, match=r"declare 'paid' as str \| None"):
                charge.undo(_function({"paid": str}))
            charge.undo(_function({"paid": str | None}))

    def test_twice(self, web: Service) -> None:
        @web.participant
        def charge(amount: int) -> None: ...

        charge.undo(_function({}))
        with pytest.raises(DefinitionError, match="has an undo already"):
            charge.undo(_function({}))

    def test_of_a_read_only_participant(self, web: Service) -> None:
        @web.participant(read_only=True)
        def look() -> None: ...

        with pytest.raises(DefinitionError, match="read-only"):
            look.undo(_function({}))

    def test_with_a_session_the_service_has_not_got(self, web: Service) -> None:
        @web.participant
        def charge() -> None: ...

        with pytest.raises(DefinitionError, match="has no database"):
            charge.undo(_function({"session": Session}))


class TestMistakes:
    """Each is refused where it is written, by name, with the way out."""

    @pytest.mark.parametrize(
        ("annotations", "message"),
        [
            ({"session": Session}, "has no database: give it"),
            ({"sku": str, "call": Call}, "'call' is given by the orchestrator and has to stand"),
            ({"one": Call, "two": Call}, "'one' and 'two' are both a call"),
            ({"session": AsyncSession}, "needs an async participant"),
            ({"lock": LockLike}, "LockLike has no JSON form"),
        ],
    )
    def test_in_a_signature(self, web: Service, annotations: dict[str, Any], message: str) -> None:
        with pytest.raises(DefinitionError, match=message):
            web.participant(_function(annotations))
        assert web.participants == {}

    def test_starred_parameters(self, web: Service) -> None:
        def starred(*names: str) -> None: ...

        with pytest.raises(DefinitionError, match="names"):
            web.participant(starred)

    def test_sessions_of_the_wrong_kind(self, shop: Service) -> None:
        async def wrong(session: Session) -> None: ...

        async def right(session: AsyncSession) -> None: ...

        with pytest.raises(DefinitionError, match="declares an AsyncSession, not a Session"):
            shop.participant(wrong)
        with pytest.raises(DefinitionError, match="driver works both ways"):
            shop.participant(right)

    def test_names(self, web: Service) -> None:
        web.participant(name="one")(_function({}))
        with pytest.raises(DefinitionError, match="two participants named 'one'"):
            web.participant(name="one")(_function({}))
        with pytest.raises(DefinitionError, match=r"'a\.b' is no name for a participant"):
            web.participant(name="a.b")(_function({}))
        with pytest.raises(DefinitionError, match="'a b' is no name for a service"):
            Service("a b")

    def test_options(self, web: Service) -> None:
        with pytest.raises(DefinitionError, match="timeout"):
            web.participant(timeout=0)
        with pytest.raises(DefinitionError, match="a Retry is needed"):
            web.participant(retry=3)  # type: ignore[call-overload] # on purpose
        with pytest.raises(DefinitionError, match="payload_limit"):
            Service("x", payload_limit=0)
        with pytest.raises(DefinitionError, match="the queue has no name"):
            Service("x", queue=" ")

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("sqlite://", "in memory"),
            ("sqlite:///:memory:", "in memory"),
            ("oracle+oracledb://x", "PostgreSQL, SQLite or MariaDB"),
            ("nonsense", "can't be used"),
            ("what://x", "can't be used"),
        ],
    )
    def test_databases(self, url: str, message: str) -> None:
        with pytest.raises(DefinitionError, match=message):
            Service("x", database=url)

    def test_an_undo_flag_on_a_local_participant(self, web: Service) -> None:
        with pytest.raises(DefinitionError, match="undo"):
            web.participant(undo=True)(_function({}))


class TestRemote:
    """Contracts of participants that live elsewhere."""

    def test_has_the_spec_of_the_real_one(self) -> None:
        inventory = remote("inventory", queue="far")

        @inventory.participant(undo=True, timeout=9)
        def reserve(sku: str, quantity: int) -> Hold:
            raise NotImplementedError

        spec = reserve.spec
        assert (spec.qualified, spec.queue, spec.barrier) == ("inventory.reserve", "far", True)
        assert spec.undo is not None
        assert spec.undo.timeout_s == 9

    def test_is_never_run(self) -> None:
        inventory = remote("inventory")

        @inventory.participant
        def reserve(sku: str) -> Hold:
            return Hold(1)

        with pytest.raises(SagaError, match="another repository"):
            reserve.function("apple")

    def test_an_undo_may_be_written_out(self) -> None:
        inventory = remote("inventory", barrier=False)

        @inventory.participant
        def reserve(sku: str) -> Hold:
            raise NotImplementedError

        with pytest.raises(DefinitionError, match="None"):
            reserve.undo(_function({"hold": Hold}))
        reserve.undo(_function({"hold": Hold | None}))
        assert not reserve.spec.barrier
        assert reserve.spec.undo is not None

    def test_mistakes(self) -> None:
        inventory = remote("inventory")
        with pytest.raises(DefinitionError, match="leave out session"):
            inventory.participant(_function({"session": Session}))
        inventory.participant(name="one")(_function({}))
        with pytest.raises(DefinitionError, match="two participants named 'one'"):
            inventory.participant(name="one")(_function({}))
        with pytest.raises(DefinitionError, match="read-only"):
            inventory.participant(read_only=True, undo=True)(_function({}))


def test_a_user_engine_is_taken_as_it_is(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/mine.db")
    service = Service("shop", database=engine)
    assert service.database is not None
    assert service.database.engine().url == engine.url
    service.dispose()


def _function(annotations: dict[str, Any]) -> Any:
    """A function with these parameters."""
    scope: dict[str, Any] = {}
    exec(f"def made({', '.join(annotations)}): pass", scope)
    made = scope["made"]
    made.__annotations__ = {**annotations, "return": None}
    return made
