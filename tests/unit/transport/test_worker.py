"""The worker's end: sending again, a connection per process, losses told from the parent."""

import os
from collections.abc import Sequence

import pytest

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport import worker
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import WorkerTransport
from orchestrator.transport.worker import WorkerEnd
from tests.unit.transport.work_samples import answer, work

envelopes = Envelopes()


class Link:
    """Keeps what is sent; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[Answer] = []

    def send(self, replies: Sequence[tuple[int, str]]) -> None:
        if self.failures:
            self.failures -= 1
            raise TransportUnavailableError("away")
        self.sent += [each for _, sealed in replies for each in envelopes.open_answers(sealed)]

    def close(self) -> None:
        """Nothing is open."""


class Answering:
    """Answers each command with success."""

    def execute(self, work: Sequence[Work], transport: WorkerTransport) -> None:
        transport.answer([answer() for _ in work])


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    opened: list[Link] = []

    def open_link(_url: str, _namespace: str) -> Link:
        opened.append(Link())
        return opened[-1]

    monkeypatch.setattr(worker, "worker_link", open_link)
    return opened


@pytest.fixture
def end(links: list[Link]) -> WorkerEnd:
    return WorkerEnd(Answering(), envelopes, "redis://nowhere", "ns")


def test_a_message_is_carried_out_and_answered(end: WorkerEnd, links: list[Link]) -> None:
    end.take([envelopes.seal_work([work(), work()])], {})

    assert links[-1].sent == [answer(), answer()]
    assert end.dropped == {}


def test_what_is_no_work_is_counted(end: WorkerEnd, links: list[Link]) -> None:
    sealed = envelopes.seal_work([work()])
    for arguments, keywords in (
        (["junk"], {}),
        ([], {}),
        ([sealed, sealed], {}),
        ([sealed], {"more": 1}),
        ([envelopes.seal_answers([answer()])], {}),
    ):
        end.take(arguments, keywords)

    assert end.dropped == {"malformed": 4, "misplaced": 1}
    assert links[-1].sent == []


def test_answers_are_sent_again_while_the_broker_is_away(end: WorkerEnd, links: list[Link]) -> None:
    links[-1].failures = 3
    end.answer([answer()])

    assert links[-1].sent == [answer()]


def test_sending_is_given_up_in_the_end(
    end: WorkerEnd, links: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ANSWER_FOR_S", 0.2)
    links[-1].failures = 1_000_000

    with pytest.raises(TransportUnavailableError):
        end.answer([answer()])
    end.take([envelopes.seal_work([work()])], {})  # and a task that can't answer does not raise


def test_a_forked_process_has_a_connection_of_its_own(
    end: WorkerEnd, links: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    end.answer([answer()])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    end.answer([answer()])
    end.answer([answer()])

    assert [len(link.sent) for link in links] == [1, 2]


def test_losses_are_told_for_every_command(end: WorkerEnd, links: list[Link]) -> None:
    end.report_lost([envelopes.seal_work([work(), work(2)])], 4711, "killed")
    end.report_lost(["junk"], 4711, "killed")
    end.on_shutdown()

    assert [(each.outcome, each.shard) for each in links[-1].sent] == [("lost", 1), ("lost", 2)]
    assert all(each.worker.endswith(":4711") for each in links[-1].sent)
    assert all("killed" in str(each.failure) for each in links[-1].sent)
