"""A transport that does as it is told: participants are plain functions, messages can be held back or lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.definition.plan import Call, Const, Plan, RetryPolicy, Undo
from orchestrator.definition.plan import Sequence as Steps
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel.messages import Launch
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle, Received

Handler = Callable[[Work], Answer | None]


class ScriptedTransport:
    """Answers each command at once by ``handler``; None means the message was lost."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler: Handler = handler or done
        self.sent: list[Work] = []
        self.bundles: list[Bundle] = []
        self.answers: list[Answer] = []
        self.acknowledged: list[Received] = []
        self.released: list[int] = []
        self.fail_publish: Exception | None = None
        self.held = False
        self._handed: list[Received] = []

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        if self.fail_publish is not None:
            return [self.fail_publish for _ in bundles]
        self.bundles.extend(bundles)
        for bundle in bundles:
            for work in bundle.work:
                self.sent.append(work)
                answer = self.handler(work)
                if answer is not None:
                    self.answers.append(answer)
        return [None for _ in bundles]

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        if self.held:
            return []
        mine = [answer for answer in self.answers if answer.shard in shards]
        self.answers = [answer for answer in self.answers if answer.shard not in shards]
        return [Received((answer,)) for answer in mine]

    def acknowledge(self, received: Sequence[Received]) -> None:
        self.acknowledged.extend(received)

    def release(self, shard: int) -> None:
        self.released.append(shard)

    def poke(self, shard: int) -> None:
        pass

    def close(self) -> None:
        pass


def answer(work: Work, outcome: Any = "succeeded", **fields: Any) -> Answer:
    """An answer to a command."""
    return Answer(
        run=work.run,
        shard=work.shard,
        epoch=work.epoch,
        step=work.step,
        kind=work.kind,
        attempt=work.attempt,
        participant=work.participant,
        outcome=outcome,
        **fields,
    )


def done(work: Work) -> Answer:
    """Success, with the step's name as its result."""
    return answer(work, result=work.step, took_s=0.001, worker="w:1")


def plan_of(*names: str, saga: str = "s", timeout_s: float = 30.0, attempts: int = 3) -> Plan:
    """A sequence of steps with undos."""
    retry = RetryPolicy(attempts=attempts, initial_s=1.0, jitter=0.0)
    return Plan(
        saga=saga,
        version=1,
        parameters={},
        body=Steps(
            tuple(
                Call(
                    name=name,
                    service="svc",
                    participant=name,
                    queue="q",
                    args={"a": Const(1)},
                    timeout_s=timeout_s,
                    retry=retry,
                    undo=Undo(name=f"undo_{name}", timeout_s=timeout_s, retry=retry),
                    barrier=True,
                )
                for name in names
            )
        ),
    )


def request(plan: Plan, run_id: str, key: str | None = None, at: float = 0.0) -> LaunchRequest:
    """A launch of ``plan``."""
    return LaunchRequest(
        Launch(
            at=at,
            run_id=run_id,
            saga=plan.saga,
            version=plan.version,
            plan=plan.hash,
            input={},
            key=key,
        ),
        plan,
    )
