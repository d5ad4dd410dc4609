"""A worker's counts: of all its processes together, and not lost with one of them."""

from __future__ import annotations

import os
import signal

from orchestrator.errors import EnvelopeError
from orchestrator.kernel.events import CommandKind
from orchestrator.participant.metering import WorkerCounts
from orchestrator.participant.metrics import worker_registry
from orchestrator.telemetry.prometheus import page
from orchestrator.transport.messages import Answer


def _answer(
    participant: str = "shop.pack", kind: CommandKind = "do", took_s: float = 0.02
) -> Answer:
    return Answer("r", 0, 1, "s", kind, 1, "succeeded", participant, took_s=took_s, duplicate=True)


def _in_a_process(counts: WorkerCounts, row: int, answers: int) -> None:
    """Counts in a forked process, which is killed while it holds its lock."""
    child = os.fork()
    if child == 0:
        counts.use_row(row)
        for _ in range(answers):
            counts.done(_answer())
        counts._lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_processes_count_together_and_a_killed_one_leaves_what_it_counted() -> None:
    counts = WorkerCounts(["shop.pack", "shop.send"])
    counts.done(_answer())
    for row, answers in ((0, 3), (1, 2), (0, 4)):  # the last one is the first one's successor
        _in_a_process(counts, row, answers)
    counts.done(_answer("shop.send", "undo", took_s=1000))
    packed, sent = counts.cells()
    assert (packed.participant, packed.kind, packed.outcomes) == (
        "shop.pack",
        "do",
        {"succeeded": 10},
    )
    assert (packed.hits, round(packed.seconds, 6)) == (10, 0.2)
    assert (sent.kind, sent.buckets[-1], sum(sent.buckets)) == ("undo", 1, 1)


def test_what_nobody_declared_isnt_counted() -> None:
    counts = WorkerCounts(["shop.pack"])
    counts.done(_answer("shop.unknown"))
    assert list(counts.cells()) == []


def test_thrown_away_messages_are_counted_by_reason() -> None:
    counts = WorkerCounts([])
    counts.dropped(EnvelopeError("no", reason="forged"))
    assert {reason: n for reason, n in counts.dropped_by_reason().items() if n} == {"forged": 1}


def test_prepared_branches_are_told_as_the_sweep_found_them() -> None:
    text = page(worker_registry(WorkerCounts([]), lambda: {"bank": (2, 61.5)})).decode()
    assert 'saga_prepared_branches{service="bank"} 2.0' in text
    assert 'saga_prepared_oldest_seconds{service="bank"} 61.5' in text
