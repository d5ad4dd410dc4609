"""The in-process transport of the stage keeps what isn't acknowledged, as a broker does."""

from __future__ import annotations

from orchestrator.errors import EnvelopeError
from orchestrator.testing.stage.wire import Wire
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle


def _answer(step: str) -> Answer:
    return Answer(run="r", shard=0, epoch=1, step=step, kind="do", attempt=1, outcome="succeeded")


def _steps(wire: Wire) -> list[str]:
    return [answer.step for received in wire.receive([0], 5.0) for answer in received.answers]


def test_an_answer_comes_again_until_it_is_acknowledged() -> None:
    wire = Wire(lambda _: None)
    wire.answer(_answer("a"))
    wire.answer(_answer("b"))
    [first, _] = wire.receive([0], 5.0)
    assert (wire.gave, wire.patience_s) == (True, 5.0)
    assert _steps(wire) == []
    assert not wire.gave
    wire.acknowledge([first])
    wire.release(0)
    assert _steps(wire) == ["b"]
    assert wire.receive([1], 1.0) == []


def test_what_is_no_json_is_not_sent() -> None:
    came: list[str] = []
    wire = Wire(lambda work: came.append(work.step))
    good, bad = (_work("good", 1), _work("bad", object()))
    [first, second] = wire.dispatch([Bundle("q", (good,)), Bundle("q", (bad,))])
    assert first is None
    assert isinstance(second, EnvelopeError)
    assert came == ["good"]


def _work(step: str, value: object) -> Work:
    return Work(
        run="r",
        shard=0,
        epoch=1,
        step=step,
        kind="do",
        attempt=1,
        participant="bank.charge",
        args={"value": value},
        timeout_s=1.0,
    )
