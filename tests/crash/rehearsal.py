"""One run in the stage's own process, before the first fork, so that every process is born warm.

What is forked then has its code imported, its mappers configured and its statements compiled, and no connection:
engines are made once for each URL and emptied before the fork.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy
from sqlalchemy import URL, Engine, make_url

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal import database as journals
from orchestrator.journal.sql import SqlJournal
from orchestrator.participant import database as participants
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.transport.messages import Answer
from orchestrator.transport.port import Bundle, Received
from tests.crash.scenes import RUN, START, Scene

TURNS = 200


_engines: dict[str, Engine] = {}


def engine(url: str | URL, **options: Any) -> Engine:
    """The engine for a URL, with nothing in its pool when a process is forked."""
    name = make_url(url).render_as_string(False)
    if name not in _engines:
        _engines[name] = sqlalchemy.create_engine(url, **options)
    return _engines[name]


@contextmanager
def shared_engines() -> Iterator[None]:
    """The product's engines, too, are made once for each URL."""
    with (
        patch.object(journals, "create_engine", engine),
        patch.object(participants, "create_engine", engine),
    ):
        yield
    _engines.clear()


def empty() -> None:
    """Close every connection: a process is about to be forked."""
    for made in _engines.values():
        made.dispose()


def rehearse(scene: Scene, journal_url: str) -> None:
    """Play the scene in this process."""
    journal = SqlJournal(journal_url)
    for nudge in scene.nudges():
        nudge(journal)
    now = START
    coordinator = Coordinator(
        journal,
        _Inline(WorkExecutor(Registry.of(scene.services()))),
        CoordinatorOptions(owner="rehearsal", gather_s=0),
        lambda: now,
    )
    for _ in range(TURNS):
        coordinator.turn(0.0)
        now += 1.0
        if not journal.find(RUN).open:
            break
    coordinator.close()
    journal.close()
    for service in scene.services():
        service.dispose()


class _Inline:
    """A transport on which every message is carried out as it is published."""

    def __init__(self, executor: WorkExecutor) -> None:
        self._executor = executor
        self._answers: list[Answer] = []

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        for bundle in bundles:
            self._executor.execute(bundle.work, self)
        return [None for _ in bundles]

    def answer(self, answers: Sequence[Answer]) -> None:
        self._answers += answers

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        answers, self._answers = tuple(self._answers), []
        return [Received(answers)] if answers else []

    def acknowledge(self, received: Sequence[Received]) -> None:
        """Nothing is kept."""

    def release(self, shard: int) -> None:
        """Nothing is kept."""

    def poke(self, shard: int) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """Nothing is open."""
