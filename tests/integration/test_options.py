"""An option that is accepted works: each is given where a user gives it, and seen in what a run does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from orchestrator import Call, Compensated, Refused, Retry, Service, remote, saga, sleep, wait_for
from orchestrator.client import Run
from orchestrator.definition.saga import Registry, Saga
from orchestrator.errors import InvalidInputError, PayloadTooLargeError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel.events import StepFailed, StepInDoubt
from orchestrator.wiring import Embedded
from tests.integration.embedding import embedding, ended, types
from tests.unit.coordinator.queues import sent_to

SOON_S = 0.2
ONCE = Retry(attempts=1)
THRICE = Retry(attempts=3, initial=0.01)


class Stage:
    """Participants that hang or fail; what they are declared with is the test's."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go_on = threading.Event()
        self.error: type[Exception] = ConnectionError
        self.journal = MemoryJournal(shards=2)

    def hang(self, call: Call) -> None:
        self.calls.append(call.step)
        self.go_on.wait(60)

    def fail(self, call: Call) -> None:
        self.calls.append(call.step)
        raise self.error(f"attempt {call.attempt}")

    def well(self, call: Call) -> None:
        self.calls.append(call.step)

    def run(self, built: Saga[[], None], *services: Service, **settings: Any) -> Run[None]:
        """Run it to its end."""
        with embedding(self.journal, [built], *services, **settings) as it:
            run = it.client.launch(built)
            self.outcome = ended(run)
            self.go_on.set()
            self.events = [record.event for record in it.client.history(run.id)]
            self.row = it.client.get(run.id)
        return run

    def doubts(self) -> list[StepInDoubt]:
        return [event for event in self.events if isinstance(event, StepInDoubt)]

    def failures(self) -> list[StepFailed]:
        return [event for event in self.events if isinstance(event, StepFailed)]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.go_on.set()


def of(*steps: Callable[[], Any], **options: Any) -> Saga[[], None]:
    """A saga of these calls, one after the other."""

    def steps_of_a_test() -> None:
        for step in steps:
            step()

    return saga(registry=Registry(), **options)(steps_of_a_test)


class TestTimeout:
    """How long one attempt may take, from the nearest place that says so."""

    @pytest.mark.parametrize("where", ["service", "participant", "options"])
    def test_of_an_action(self, stage: Stage, where: str) -> None:
        given = {place: SOON_S if place == where else 300 for place in ("service", "participant")}
        service = Service("s", timeout=given["service"], retry=ONCE)
        declare = service.participant(read_only=True)
        if where != "service":
            declare = declare(timeout=given["participant"], read_only=True)
        act = declare(stage.hang)
        call = act.options(timeout=SOON_S) if where == "options" else act
        stage.run(of(call), service)
        [doubt] = stage.doubts()
        assert doubt.reason.startswith("no answer before the deadline")
        assert SOON_S <= doubt.at - self._began(stage) < 60
        assert stage.outcome == "compensated"

    @pytest.mark.parametrize("where", ["undo", "its action"])
    def test_of_an_undo(self, stage: Stage, where: str) -> None:
        service = Service("s", retry=ONCE)
        act = service.participant(timeout=SOON_S if where == "its action" else 300)(stage.well)
        own = {"timeout": SOON_S} if where == "undo" else {}
        act.undo(retry=ONCE, **own)(stage.hang)
        refuse = service.participant(read_only=True)(_refuse)
        stage.run(of(act, refuse), service)
        [doubt] = stage.doubts()
        assert (doubt.kind, stage.outcome) == ("undo", "stuck")

    def test_of_an_asynchronous_participant_cancels_it(self, stage: Stage) -> None:
        service = Service("s", retry=ONCE)
        cancelled = threading.Event()

        async def hang(call: Call) -> None:
            import asyncio

            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        stage.run(of(service.participant(timeout=SOON_S, read_only=True)(hang)), service)
        assert cancelled.wait(30)

    def test_of_a_saga_turns_it_back(self, stage: Stage) -> None:
        service = Service("s")
        act = service.participant(stage.well)
        act.undo(stage.well)
        stage.run(of(act, lambda: sleep(300), timeout=SOON_S), service)
        assert stage.outcome == "compensated"
        assert stage.row.reason == "the saga's timeout of 0.2 s is over"
        assert len(stage.calls) == 2

    def test_of_waiting_for_a_signal_ends_the_wait(self, stage: Stage) -> None:
        stage.run(of(lambda: wait_for("never", str, timeout=SOON_S)))
        assert stage.outcome == "compensated"
        assert "WaitExpired" in [type(event).__name__ for event in stage.events]

    @staticmethod
    def _began(stage: Stage) -> float:
        assert stage.events[0] is not None
        return stage.events[0].at


class TestRetry:
    """How often, from the nearest place that says so."""

    @pytest.mark.parametrize("where", ["service", "participant", "options"])
    def test_of_an_action(self, stage: Stage, where: str) -> None:
        service = Service("s", retry=THRICE if where == "service" else ONCE)
        declare = service.participant(read_only=True)
        if where == "participant":
            declare = service.participant(retry=THRICE, read_only=True)
        act = declare(stage.fail)
        stage.run(of(act.options(retry=THRICE) if where == "options" else act), service)
        assert len(stage.calls) == 3
        assert stage.outcome == "compensated"

    def test_of_an_undo_is_its_own(self, stage: Stage) -> None:
        service = Service("s", retry=ONCE)
        act = service.participant(stage.well)
        act.undo(retry=THRICE)(stage.fail)
        stage.run(of(act, service.participant(read_only=True)(_refuse)), service)
        assert [failure.kind for failure in stage.failures()] == ["undo"] * 3
        assert stage.outcome == "stuck"

    def test_budget_ends_what_attempts_do_not(self, stage: Stage) -> None:
        policy = Retry(attempts=None, budget=0.3, backoff="fixed", initial=0.1, jitter=0)
        service = Service("s", retry=policy)
        stage.run(of(service.participant(read_only=True)(stage.fail)), service)
        assert 2 <= len(stage.calls) <= 3
        assert stage.outcome == "compensated"

    @pytest.mark.parametrize(
        ("policy", "waits"),
        [
            (Retry(attempts=4, initial=0.02, factor=3, jitter=0), [0.02, 0.06, 0.18]),
            (Retry(attempts=4, initial=0.02, cap=0.05, jitter=0), [0.02, 0.04, 0.05]),
            (Retry(attempts=4, initial=0.02, backoff="fixed", jitter=0), [0.02, 0.02, 0.02]),
            (
                Retry(attempts=4, initial=0.02, backoff="linear", factor=1, jitter=0),
                [0.02, 0.04, 0.06],
            ),
        ],
        ids=["factor", "cap", "fixed", "linear"],
    )
    def test_waits_follow_the_curve(self, stage: Stage, policy: Retry, waits: list[float]) -> None:
        service = Service("s", retry=policy)
        stage.run(of(service.participant(read_only=True)(stage.fail)), service)
        found = [f.retry_at - f.at for f in stage.failures() if f.retry_at is not None]
        assert found == pytest.approx(waits, abs=1e-4)

    def test_jitter_spreads_the_waits(self, stage: Stage) -> None:
        policy = Retry(attempts=6, backoff="fixed", initial=0.05, jitter=0.5)
        service = Service("s", retry=policy)
        stage.run(of(service.participant(read_only=True)(stage.fail)), service)
        waits = [f.retry_at - f.at for f in stage.failures() if f.retry_at is not None]
        assert len({round(wait, 5) for wait in waits}) == 5
        assert all(0.025 <= wait <= 0.075 for wait in waits)

    @pytest.mark.parametrize(("error", "calls"), [(BrokenPipeError, 1), (KeyError, 3)])
    def test_final_errors_and_their_kin_are_not_retried(
        self, stage: Stage, error: type[Exception], calls: int
    ) -> None:
        stage.error = error
        policy = Retry(attempts=3, initial=0.01, final=(ConnectionError,))
        service = Service("s", retry=policy)
        stage.run(of(service.participant(read_only=True)(stage.fail)), service)
        assert len(stage.calls) == calls


class TestQueue:
    """Commands go to the queue that was said."""

    def test_of_service_participant_and_remote(self) -> None:
        plain, own = Service("plain"), Service("own", queue="q.own")
        far = remote("far", queue="q.far")
        steps = [
            plain.participant(read_only=True, name="a")(_nothing),
            own.participant(read_only=True, name="b")(_nothing),
            own.participant(read_only=True, name="c", queue="q.c")(_nothing),
            far.participant(read_only=True, name="d")(_nothing),
        ]
        assert sent_to(of(*steps)) == {
            "plain.a": "saga.plain",
            "own.b": "q.own",
            "own.c": "q.c",
            "far.d": "q.far",
        }


class TestRemote:
    """A contract's options hold for the participant that another repository's worker runs."""

    def test_timeout(self, stage: Stage) -> None:
        contract, there = remote("far", timeout=SOON_S, retry=ONCE), Service("far", timeout=300)
        there.participant(name="act", read_only=True)(stage.hang)
        act = contract.participant(name="act", read_only=True)(_nothing)
        stage.run(of(act), there)
        assert len(stage.doubts()) == 1

    def test_retry(self, stage: Stage) -> None:
        contract, there = remote("far", retry=THRICE), Service("far", retry=ONCE)
        there.participant(name="act", read_only=True)(stage.fail)
        act = contract.participant(name="act", read_only=True)(_nothing)
        stage.run(of(act), there)
        assert len(stage.calls) == 3

    @pytest.mark.parametrize(("barrier", "undone"), [(True, False), (False, True)])
    def test_barrier_and_undo(self, stage: Stage, *, barrier: bool, undone: bool) -> None:
        """Unknown first and refused then: without a barrier nobody knows what the first attempt did."""
        contract, there = remote("far", barrier=barrier, retry=THRICE), Service("far")

        def unsure(call: Call) -> None:
            if call.attempt == 1:
                raise TimeoutError
            raise Refused("no")

        doing = there.participant(name="act")(unsure)
        doing.undo(stage.well)
        act = contract.participant(name="act", undo=True)(_nothing)
        stage.run(of(act), there)
        assert stage.outcome == "compensated"
        assert stage.calls == (["act"] if undone else [])


class TestNames:
    """Names are what runs, events and workers go by."""

    def test_of_participant_step_and_saga(self, stage: Stage) -> None:
        service = Service("s")
        act = service.participant(name="act", read_only=True)(stage.well)
        built = of(act.options(name="first"), act, name="story")
        stage.run(built, service)
        assert stage.calls == ["first", "act"]
        assert (stage.row.saga, list(service.participants)) == ("story", ["act"])


class TestLimits:
    """Sizes and versions."""

    def test_payload_limit_of_a_service(self, stage: Stage) -> None:
        service = Service("s", payload_limit=100, retry=THRICE)
        stage.run(of(service.participant(read_only=True)(_large)), service)
        [failure] = stage.failures()
        assert failure.failure.type.endswith("PayloadTooLargeError")
        assert "the result of s._large" in failure.failure.message

    def test_payload_limit_of_the_settings(self, stage: Stage) -> None:
        @saga(registry=Registry())
        def story(text: str) -> str:
            return wait_for("more", str)

        with embedding(stage.journal, [story], payload_limit_bytes=2_000) as it:
            with pytest.raises(PayloadTooLargeError, match="2,000"):
                it.client.launch(story, "x" * 2_000)
            run = it.client.launch(story, "x" * 1_000)
            with pytest.raises(PayloadTooLargeError, match="2,000"):
                run.signal("more", "x" * 2_000)
            run.signal("more", "enough")
            assert run.result(timeout=60) == "enough"

    def test_tags_key_and_actor_of_a_launch(self, stage: Stage) -> None:
        built = of(lambda: sleep(0))
        with embedding(stage.journal, [built], actor="ann@desk") as it:
            run = it.client.launch(built, key="k", tags={"shop": "berlin"})
            assert ended(run) == "completed"
            row = it.client.get("k")
            assert (row.run_id, row.tags) == (run.id, {"shop": "berlin"})
            assert it.client.history(run.id)[0].actor == "ann@desk"


class TestBadResults:
    """A result that can't travel ends a step for good, and says which one."""

    @pytest.mark.parametrize(
        ("give", "message"),
        [
            (lambda: float("nan"), "the result of s.give"),
            (object, "the result of s.give"),
            (lambda: "text", "the result of s.give"),
        ],
        ids=["not a number", "not JSON", "not of its type"],
    )
    def test_is_undone_and_named(self, stage: Stage, give: Callable[[], Any], message: str) -> None:
        service = Service("s", retry=THRICE)
        act = service.participant(name="act")(stage.well)
        act.undo(stage.well)

        def giving(call: Call) -> float:
            stage.calls.append("give")
            return cast(float, give())

        bad = service.participant(name="give", read_only=True)(giving)
        built = of(act, bad)
        with embedding(stage.journal, [built], service) as it:
            run = it.client.launch(built)
            with pytest.raises(Compensated, match=message):
                run.result(timeout=60)
        assert stage.calls == ["act", "give", "act"]


def test_an_unknown_participant_is_parked_by_name_and_the_others_go_on(stage: Stage) -> None:
    here, away = Service("here"), Service("away")
    first = here.participant(name="first", read_only=True)(stage.well)
    gone = away.participant(name="gone", read_only=True)(stage.well)
    built, sound = of(first, gone, name="one"), of(first, name="two")
    with embedding(stage.journal, [built, sound], here) as it:
        run = it.client.launch(built)
        assert ended(run) == "stuck"
        assert "no worker of service 'away' has the participant away.gone" in run.summary().reason
        assert ended(it.client.launch(sound)) == "completed"
        assert _parked(it, run)


def test_wrong_arguments_of_a_signal_are_told_when_it_is_used(stage: Stage) -> None:
    service = Service("s", retry=ONCE)

    def need(number: int) -> int:
        return number

    needing = service.participant(read_only=True)(need)

    @saga(registry=Registry())
    def story() -> int:
        return needing(wait_for("number", int))

    with embedding(stage.journal, [story], service) as it:
        run = it.client.launch(story)
        run.signal("number", "many")
        with pytest.raises(Compensated, match="number"):
            run.result(timeout=60)
        with pytest.raises(InvalidInputError):
            it.client.launch_named("story", {"more": 1})


def _parked(it: Embedded, run: Run[Any]) -> bool:
    return "StepParked" in types(it, run)


def _refuse() -> None:
    raise Refused("no")


def _nothing() -> None:
    pass


def _large() -> str:
    return "x" * 1_000
