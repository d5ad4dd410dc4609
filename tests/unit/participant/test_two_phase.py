"""What a service and its participants have to be to take part in atomic groups."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from orchestrator.errors import DefinitionError
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service, remote
from orchestrator.transport.messages import Answer, Work
from tests.contract.barrier_shop import Kept

URL = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"


class TestService:
    """``two_phase=True``."""

    def test_sqlite_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(DefinitionError, match=r"SQLite can't prepare.*@action.confirm"):
            Service("ledger", database="sqlite:///ledger.db", two_phase=True)

    def test_no_database_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(DefinitionError, match=r"it has none: give it database="):
            Service("ledger", two_phase=True)

    @pytest.mark.parametrize(
        ("url", "way_out"),
        [("postgresql+psycopg2://db/x", "postgresql"), ("mysql+mysqldb://db/x", "mariadb")],
    )
    def test_an_unknown_driver_is_refused_with_the_way_out(self, url: str, way_out: str) -> None:
        try:
            Service("ledger", database=url)
        except DefinitionError:
            return  # the driver isn't installed, so that it can't be used anyway
        with pytest.raises(DefinitionError, match=way_out):
            Service("ledger", database=url, two_phase=True)

    def test_what_writes_through_a_session_can_be_prepared(self) -> None:
        ledger = Service("ledger", database=URL, two_phase=True)

        @ledger.participant
        def debit(session: Session, amount: int) -> None: ...

        @ledger.participant
        def ask(call: Call) -> None: ...

        @ledger.participant(read_only=True)
        def look(session: Session) -> int:
            return 1

        assert [one.spec.two_phase for one in (debit, ask, look)] == [True, False, False]

    def test_without_it_nothing_can(self) -> None:
        ledger = Service("ledger", database=URL)

        @ledger.participant
        def debit(session: Session, amount: int) -> None: ...

        assert not debit.spec.two_phase
        assert ledger.branches is None

    def test_a_remote_contract_says_it(self) -> None:
        ledger = remote("ledger", two_phase=True)

        @ledger.participant(tcc=True)
        def reserve(amount: int) -> int:
            raise NotImplementedError

        assert reserve.spec.two_phase
        assert reserve.spec.confirm is not None
        assert reserve.spec.cancel is not None

    def test_a_remote_contract_without_a_barrier_cannot(self) -> None:
        with pytest.raises(DefinitionError, match="barrier"):
            remote("ledger", barrier=False, two_phase=True)


class TestTries:
    """``@action.confirm`` and ``@action.cancel``."""

    def test_make_an_action_a_try(self) -> None:
        hotel = Service("hotel")

        @hotel.participant(timeout=7)
        def reserve(call: Call, room: int) -> str:
            return "held"

        @reserve.confirm(timeout=9)
        def book(call: Call, hold: str) -> None: ...

        @reserve.cancel
        def free(call: Call, hold: str | None, room: int) -> None: ...

        spec = reserve.spec
        assert spec.confirm is not None
        assert spec.cancel is not None
        assert (spec.confirm.name, spec.confirm.timeout_s) == ("book", 9.0)
        assert (spec.cancel.name, spec.cancel.timeout_s) == ("free", 7.0)
        assert spec.confirm.retry.attempts == 10

    def test_a_cancel_must_do_without_a_result_where_no_barrier_proves_the_try(self) -> None:
        hotel = Service("hotel")

        @hotel.participant
        def reserve(call: Call, room: int) -> str:
            return "held"

        with pytest.raises(DefinitionError, match=r"cancel free.*str \| None"):

            @reserve.cancel
            def free(call: Call, hold: str) -> None: ...

    @pytest.mark.parametrize("role", ["confirm", "cancel"])
    def test_there_is_one_of_each(self, role: str) -> None:
        hotel = Service("hotel")

        @hotel.participant
        def reserve(call: Call) -> None: ...

        getattr(reserve, role)(_follow)
        with pytest.raises(DefinitionError, match=f"has a {role} already: _follow"):
            getattr(reserve, role)(_follow)

    @pytest.mark.parametrize("role", ["confirm", "cancel"])
    def test_what_is_read_only_is_no_try(self, role: str) -> None:
        hotel = Service("hotel")

        @hotel.participant(read_only=True)
        def look(call: Call) -> None: ...

        with pytest.raises(DefinitionError, match=f"nothing to {role}"):
            getattr(look, role)(_follow)

    def test_tcc_is_for_remote_contracts_only(self) -> None:
        hotel = Service("hotel")
        with pytest.raises(DefinitionError, match=r"@reserve.confirm and @reserve.cancel"):

            @hotel.participant(tcc=True)
            def reserve(call: Call) -> None: ...


class TestCommandsThatDoNotFit:
    """A plan from before a deploy, or a forged message."""

    @pytest.mark.parametrize("kind", ["commit", "abort"])
    def test_the_second_phase_of_what_is_no_try_is_unregistered(self, kind: str) -> None:
        assert _asked(kind).outcome == "unregistered"

    def test_one_phase_without_a_database_is_a_no(self) -> None:
        answer = _asked("prepare", one_phase=True)
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert answer.failure.type == "NotPreparable"

    @pytest.mark.parametrize("kind", ["prepare", "do", "undo"])
    def test_only_the_end_of_a_branch_may_name_a_service_alone(self, kind: str) -> None:
        assert _asked(kind, participant="hotel.").outcome == "unregistered"


def _asked(kind: str, **changes: object) -> Answer:
    hotel = Service("hotel")

    @hotel.participant
    def reserve(call: Call) -> None: ...

    fields = {"participant": "hotel.reserve", **changes}
    work = Work(
        run="r",
        shard=0,
        epoch=1,
        step="s",
        kind=kind,  # type: ignore[arg-type] # one of them
        attempt=1,
        args={},
        timeout_s=5,
        **fields,  # type: ignore[arg-type]
    )
    kept = Kept()
    WorkExecutor(Registry.of([hotel])).execute([work], kept)
    return kept.answers[0]


def _follow(call: Call) -> None: ...
