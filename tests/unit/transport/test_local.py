"""What is particular to the in-process transport; the rest is in the contract suite."""

import threading
from collections.abc import Sequence

import pytest

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.local import LocalTransport
from orchestrator.transport.messages import Work
from orchestrator.transport.port import Bundle, WorkerTransport
from tests.unit.transport.work_samples import answer, work


class Recorder:
    """Keeps what it was given, and answers."""

    def __init__(self) -> None:
        self.seen: list[Work] = []

    def execute(self, work: Sequence[Work], transport: WorkerTransport) -> None:
        self.seen += work
        for command in work:
            command.args["touched"] = True
        transport.answer([answer(result=self.seen[-1].args)])


def test_neither_side_can_reach_into_the_others_values() -> None:
    executor = Recorder()
    transport = LocalTransport(executor, threads=1)
    sent = work(list=[1])

    transport.dispatch([Bundle("any", (sent,))])
    [received] = transport.receive([1], 5)

    assert sent.args == {"list": [1]}
    assert received.answers[0].result == executor.seen[0].args
    assert received.answers[0].result is not executor.seen[0].args
    transport.close()


def test_closing_wakes_who_waits_and_refuses_what_comes() -> None:
    transport = LocalTransport(Recorder())
    failures: list[Exception] = []

    def wait() -> None:
        try:
            transport.receive([1], 60)
        except TransportUnavailableError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    transport.close()
    waiting.join(5)

    assert len(failures) == 1
    [error] = transport.dispatch([Bundle("any", (work(),))])
    assert isinstance(error, TransportUnavailableError)
    transport.close()  # twice does no harm


def test_another_end_leaves_the_transport_open() -> None:
    transport = LocalTransport(Recorder())
    other = transport.attach()
    other.close()

    assert transport.dispatch([Bundle("any", (work(),))]) == [None]
    assert len(transport.receive([1], 5)) == 1
    transport.close()
    with pytest.raises(TransportUnavailableError):
        other.receive([1], 0)
