"""Commands and answers for the unit tests of the transport."""

from typing import Any

from orchestrator.transport.messages import Answer, Work


def work(shard: int = 1, **args: Any) -> Work:
    return Work(
        run="run",
        shard=shard,
        epoch=3,
        step="step",
        kind="do",
        attempt=2,
        participant="service.action",
        args=args,
        timeout_s=10,
    )


def answer(shard: int = 1, result: Any = None) -> Answer:
    return Answer(
        run="run",
        shard=shard,
        epoch=3,
        step="step",
        kind="do",
        attempt=2,
        outcome="succeeded",
        result=result,
    )
