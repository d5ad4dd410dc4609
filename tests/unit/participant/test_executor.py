"""What a worker makes of a message: each command by itself, every outcome told apart, answers in time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.errors import Refused, TransportUnavailableError
from orchestrator.participant.call import Call
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.settings import Settings
from orchestrator.transport.messages import Answer, Work
from orchestrator.wiring.working import work_executor
from tests.waiting import eventually


class Wire:
    """A transport that keeps what is sent, message by message."""

    def __init__(self) -> None:
        self.messages: list[tuple[Answer, ...]] = []
        self.failures = 0

    def answer(self, answers: Sequence[Answer]) -> None:
        if self.failures:
            self.failures -= 1
            raise TransportUnavailableError("the broker is gone")
        self.messages.append(tuple(answers))

    @property
    def answers(self) -> list[Answer]:
        return [answer for message in self.messages for answer in message]


@dataclass
class Money:
    """A result with a type that JSON hasn't got."""

    amount: Decimal


class Bank:
    """A service without a database."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.go = threading.Event()
        self.heard: list[Any] = []
        self.loops: set[int] = set()
        self.service = Service("bank", payload_limit=1_000)
        self._declare()
        self._declare_async()
        self.executor = WorkExecutor(Registry.of([self.service]))

    def send(self, *work: Work) -> list[Answer]:
        self.executor.execute(work, self.wire)
        return self.wire.answers

    def one(self, name: str, args: dict[str, Any] | None = None, **changes: Any) -> Answer:
        return self.send(command(name, args, **changes))[-1]

    def _declare(self) -> None:
        @self.service.participant
        def charge(call: Call, amount: Decimal, note: str = "none") -> Money:
            self.heard.append((call, amount, note))
            return Money(amount)

        @charge.undo
        def refund(call: Call, money: Money | None, note: str) -> None:
            self.heard.append((call.idempotency_key, money, note))

        @self.service.participant
        def error(kind: str) -> Any:
            raise {"refused": Refused("no", data={"left": 3}), "time": TimeoutError("slow")}.get(
                kind, ValueError(kind)
            )

        @error.undo
        def undo_error(kind: str) -> None:
            raise Refused(kind)

        @self.service.participant
        def give(what: str) -> Any:
            return {"nan": float("nan"), "object": object(), "large": "x" * 2_000}[what]

        @self.service.participant
        def lie() -> int:
            return "not a number"  # type: ignore[return-value] # on purpose

        @self.service.participant
        def wait() -> None:
            assert self.go.wait(20)

        @self.service.participant
        def dawdle() -> None:
            time.sleep(0.05)  # slow on purpose: longer than answers may be held

        @self.service.participant
        def leave() -> None:
            raise SystemExit(3)

    def _declare_async(self) -> None:
        @self.service.participant
        async def ask(question: str) -> str:
            self.loops.add(id(asyncio.get_running_loop()))
            await asyncio.sleep(0)
            return question.upper()

        @self.service.participant
        async def hang() -> None:
            await asyncio.Event().wait()

        @self.service.participant
        async def leave_async() -> None:
            raise SystemExit(3)


@pytest.fixture
def bank() -> Bank:
    return Bank()


def command(name: str, args: dict[str, Any] | None = None, **changes: Any) -> Work:
    fields: dict[str, Any] = {
        "run": "r1",
        "shard": 2,
        "epoch": 4,
        "step": name,
        "kind": "do",
        "attempt": 1,
        "participant": f"bank.{name}",
        "args": args or {},
        "timeout_s": 30.0,
        "saga": "order",
    }
    return Work(**(fields | changes))


class TestOutcomes:
    """How each way to end is told."""

    def test_success(self, bank: Bank) -> None:
        answer = bank.one("charge", {"amount": "12.50"}, attempt=2)
        assert (answer.run, answer.shard, answer.epoch, answer.step) == ("r1", 2, 4, "charge")
        assert (answer.kind, answer.attempt, answer.participant) == ("do", 2, "bank.charge")
        assert (answer.outcome, answer.result) == ("succeeded", {"amount": "12.50"})
        assert answer.worker.endswith(f":{os.getpid()}")
        assert 0 < answer.took_s < 5
        call, amount, note = bank.heard[0]
        assert (amount, note) == (Decimal("12.50"), "none")
        assert (call.run_id, call.saga, call.step, call.attempt) == ("r1", "order", "charge", 2)
        assert call.idempotency_key == "r1:charge"
        assert call.timeout_s == 30

    def test_refusal(self, bank: Bank) -> None:
        answer = bank.one("error", {"kind": "refused"})
        assert answer.outcome == "refused"
        assert answer.failure is not None
        assert (answer.failure.message, answer.failure.data) == ("no", {"left": 3})

    def test_error(self, bank: Bank) -> None:
        answer = bank.one("error", {"kind": "x" * 50_000})
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert answer.failure.kinds == ("builtins.ValueError", "builtins.Exception")
        assert len(answer.failure.message) < 3_000
        assert len(answer.failure.traceback) < 9_000

    def test_a_timeout_says_nothing_of_the_effect(self, bank: Bank) -> None:
        assert bank.one("error", {"kind": "time"}).outcome == "lost"

    def test_unregistered(self, bank: Bank) -> None:
        for name in ("bank.nobody", "else.charge", "charge", ""):
            assert bank.one("x", participant=name).outcome == "unregistered"
        assert bank.one("wait", kind="undo").outcome == "unregistered"

    @pytest.mark.parametrize(
        ("name", "args", "kind", "message"),
        [
            ("charge", {"amount": "much"}, "InvalidInputError", r"bank\.charge\(amount\)"),
            ("charge", {}, "InvalidInputError", "the argument is missing"),
            ("charge", {"amount": 1, "x": 2}, "InvalidInputError", "has no parameter x"),
            ("give", {"what": "nan"}, "EncodingError", r"the result of bank\.give"),
            ("give", {"what": "object"}, "EncodingError", r"the result of bank\.give"),
            ("give", {"what": "large"}, "PayloadTooLargeError", "over the limit of 1,000"),
            ("lie", {}, "InvalidInputError", r"the result of bank\.lie"),
        ],
    )
    def test_bad_values_are_final(
        self, bank: Bank, name: str, args: dict[str, Any], kind: str, message: str
    ) -> None:
        failure = bank.one(name, args).failure
        assert failure is not None
        assert f"orchestrator.errors.{kind}" in failure.kinds
        assert "orchestrator.errors.InvalidInputError" in failure.kinds
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(failure.message)

    def test_undo_gets_result_arguments_and_defaults(self, bank: Bank) -> None:
        for result in ({"amount": "1"}, None):
            answer = bank.one("charge", {"amount": "1"}, kind="undo", result=result)
            assert answer.outcome == "succeeded"
        assert bank.heard == [
            ("r1:charge", Money(Decimal(1)), "none"),
            ("r1:charge", None, "none"),
        ]

    def test_an_undo_can_not_refuse(self, bank: Bank) -> None:
        answer = bank.one("error", {"kind": "no"}, kind="undo")
        assert answer.outcome == "failed"

    def test_an_older_epoch_is_refused(self, bank: Bank) -> None:
        bank.one("charge", {"amount": 1}, epoch=5)
        assert bank.one("charge", {"amount": 1}, epoch=4).outcome == "rejected"
        assert bank.one("charge", {"amount": 1}, epoch=1, shard=9).outcome == "succeeded"
        assert len(bank.heard) == 2


class TestAsync:
    """Asynchronous participants."""

    def test_run_on_one_loop(self, bank: Bank) -> None:
        answers = bank.send(*[command("ask", {"question": "why"})] * 3)
        assert [answer.result for answer in answers] == ["WHY"] * 3
        assert len(bank.loops) == 1

    def test_are_cancelled_after_their_timeout(self, bank: Bank) -> None:
        assert bank.one("hang", timeout_s=0.05).outcome == "lost"

    def test_leaving_the_process_is_no_failure(self, bank: Bank) -> None:
        with pytest.raises(SystemExit):
            bank.send(command("ask", {"question": "why"}), command("leave_async"))
        assert [answer.step for answer in bank.wire.answers] == ["ask"]
        assert bank.one("ask", {"question": "still there"}).result == "STILL THERE"


class TestMessages:
    """Several commands in one message."""

    def test_one_failing_does_not_hurt_the_others(self, bank: Bank) -> None:
        answers = bank.send(
            command("charge", {"amount": 1}),
            command("error", {"kind": "boom"}),
            command("nobody"),
            command("charge", {"amount": 2}),
        )
        outcomes = ["succeeded", "failed", "unregistered", "succeeded"]
        assert [answer.outcome for answer in answers] == outcomes
        assert len(bank.wire.messages) == 1

    def test_a_slow_one_does_not_hold_back_the_others(self, bank: Bank) -> None:
        work = [command("charge", {"amount": n}) for n in (1, 2)]
        thread = threading.Thread(
            target=bank.send, args=(*work, command("wait"), command("charge", {"amount": 3}))
        )
        thread.start()
        try:
            eventually(lambda: bank.wire.messages, what="the first answers go out")
            assert [answer.step for answer in bank.wire.answers] == ["charge", "charge"]
            assert thread.is_alive()
        finally:
            bank.go.set()
            thread.join(20)
        assert [len(message) for message in bank.wire.messages] == [2, 2]

    def test_answers_are_held_together_for_as_long_as_a_message_of_short_commands_takes(
        self, bank: Bank
    ) -> None:
        work = [command("charge", {"amount": 1}), command("dawdle"), command("dawdle")]
        for hold_s in (2.0, 0.001):
            bank.wire.messages.clear()
            bank.executor = work_executor(Settings(bundle_work_s=hold_s), [bank.service])
            bank.send(*work)
            assert (len(bank.wire.messages) == 1) == (hold_s > 1)

    def test_what_could_not_be_sent_early_is_sent_at_the_end(
        self, bank: Bank, caplog: pytest.LogCaptureFixture
    ) -> None:
        bank.wire.failures = 1
        work = (command("charge", {"amount": 1}), command("wait"))
        thread = threading.Thread(target=bank.send, args=work)
        thread.start()
        try:
            eventually(lambda: caplog.records, what="the failure is logged")
        finally:
            bank.go.set()
            thread.join(20)
        assert [answer.step for answer in bank.wire.answers] == ["charge", "wait"]

    def test_failing_to_send_is_raised(self, bank: Bank) -> None:
        bank.wire.failures = 1
        with pytest.raises(TransportUnavailableError):
            bank.one("charge", {"amount": 1})

    def test_leaving_the_process_is_no_failure_and_costs_no_answer(self, bank: Bank) -> None:
        with pytest.raises(SystemExit):
            bank.send(command("charge", {"amount": 1}), command("leave"), command("wait"))
        assert [answer.step for answer in bank.wire.answers] == ["charge"]
