"""The processes under test: the product's own parts, with points at their ports.

Nothing of the product is changed on disk; what is wrapped is wrapped in the forked process alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import httpx
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, event

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import EnvelopeError
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.sql import SqlJournal
from orchestrator.participant import calling, perform
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.execution import execute
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.parts import answers_by_shard, seal_in_parts
from orchestrator.transport.port import Bundle, Received
from tests.crash.scenes import Scene
from tests.crash.wire import (
    Acknowledged,
    Answered,
    Finished,
    Free,
    Got,
    Job,
    Line,
    Published,
    Wanted,
)

LEASE_S = 4.0
POLL_S = 4.5
"""Longer than the lease, so that time passes in few steps."""
TOOK_S = 0.005
"""What every command is said to have taken: how many travel together must not depend on the machine."""

ENVELOPES = Envelopes()
HTTP = httpx.Client(verify=False)  # no certificates are read for plain HTTP
"""Made before the first fork for speed; it connects when it is used."""
_BRANCH = re.compile(r"\s*(PREPARE TRANSACTION|COMMIT PREPARED|ROLLBACK PREPARED)")
_WRITES = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)")


class Clock:
    """The time, as the stage last said."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class PointedJournal(SqlJournal):
    """The journal, with points before and after everything it writes."""

    def __init__(self, url: str, line: Line) -> None:
        super().__init__(url)
        self._line = line

    def take_leases(self, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
        """See the port."""
        self._line.at("lease", "before")
        held = super().take_leases(owner, now, ttl_s, wanted)
        self._line.at("lease", "after")
        return held

    def begin_tenure(self, shard: int, owner: str, at: float, beyond: int = 0) -> Tenure:
        """See the port."""
        self._line.at("tenure", "before")
        tenure = super().begin_tenure(shard, owner, at, beyond)
        self._line.at("tenure", "after")
        return tenure

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """See the port."""
        events = [event for write in writes for _, event in write.events]
        steps = (f"{type(one).__name__} {getattr(one, 'step', '')}".strip() for one in events)
        about = ", ".join(steps) or "nothing"
        self._line.at("append", "before", about)
        tenures = super().append(writes)
        self._line.at("append", "after", about)
        return tenures


class Post:
    """A ``CoordinatorTransport`` whose broker is the stage."""

    coordinator: Coordinator

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._positions: dict[int, int] = {}

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """See the port."""
        return [self._publish(bundle) for bundle in bundles]

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """See the port."""
        positions = {shard: self._positions.get(shard, 0) for shard in shards}
        wanted = Wanted(positions, timeout_s, self.coordinator.open_runs)
        got = self._line.ask(wanted, Got)
        self._clock.now = got.now
        for shard, number, _ in got.entries:
            self._positions[shard] = number
        if got.entries:
            self._line.at("receive", "after")
        return [
            Received(ENVELOPES.open_answers(sealed), (shard, number))
            for shard, number, sealed in got.entries
        ]

    def acknowledge(self, received: Sequence[Received]) -> None:
        """See the port."""
        if not received:
            return
        about = ", ".join(_named(answer) for item in received for answer in item.answers)
        self._line.at("acknowledge", "before", about)
        self._line.tell(Acknowledged([item.token for item in received]))
        self._line.at("acknowledge", "after", about)

    def release(self, shard: int) -> None:
        """See the port."""
        self._positions.pop(shard, None)

    def poke(self, shard: int) -> None:
        """See the port."""

    def close(self) -> None:
        """See the port."""

    def _publish(self, bundle: Bundle) -> Exception | None:
        about = ", ".join(_named(work) for work in bundle.work)
        try:
            sealed = seal_in_parts(ENVELOPES.seal_work, bundle.work)
        except EnvelopeError as error:
            return error
        for message in sealed:
            self._line.at("publish", "before", about)
            self._line.tell(Published(message))
            self._line.at("publish", "after", about)
        return None


def coordinate(line: Line, journal_url: str, owner: str, now: float) -> None:
    """Be a coordinator until killed."""
    _point_at_commits(line)
    clock = Clock(now)
    post = Post(line, clock)
    options = CoordinatorOptions(owner=owner, lease_s=LEASE_S, poll_s=POLL_S, gather_s=0)
    post.coordinator = Coordinator(PointedJournal(journal_url, line), post, options, clock)
    post.coordinator.run()


class Bench:
    """A worker: carries out one message after the other, with points wherever something is written."""

    def __init__(self, line: Line, scene: Scene) -> None:
        self._line = line
        self._scene = scene
        together_s = 3_600.0  # answers of one message go together, however slow the machine
        self._executor = WorkExecutor(Registry.of(scene.services()), hold_s=together_s)
        self._work: Work | None = None

    def serve(self) -> None:
        """Work until killed."""
        _point_at_commits(self._line)
        event.listen(Engine, "before_cursor_execute", self._executing)
        event.listen(Engine, "after_cursor_execute", self._executed)
        perform.run = self._pointed(calling.run)  # type: ignore[attr-defined]
        answer = self._executor._answer
        self._executor._answer = functools.partial(self._noting, answer)  # type: ignore[method-assign]
        httpx.request = self._request  # type: ignore[assignment]
        while True:
            self._work = None
            job = self._line.ask(Free(), Job)
            work = ENVELOPES.open_work(job.sealed)
            self._line.at("message", "after", ", ".join(map(_named, work)))
            execute(self._executor, work, self)
            self._line.at("acknowledge", "before", ", ".join(map(_named, work)))
            self._line.tell(Finished())

    def answer(self, answers: Sequence[Answer]) -> None:
        """See ``WorkerTransport``."""
        alike = [replace(answer, took_s=TOOK_S, worker="host:1") for answer in answers]
        about = ", ".join(map(_named, alike))
        self._line.at("answer", "before", about)
        self._line.tell(Answered(answers_by_shard(ENVELOPES, alike)))
        self._line.at("answer", "after", about)

    def _noting(self, answer: Any, work: Work, *known: Any) -> Any:
        self._work = work
        return answer(work, *known)

    def _pointed(self, run: Any) -> Any:
        def pointed(handler: Any, arguments: Any, connection: Any, timeout_s: float) -> Any:
            assert self._work is not None
            inside = connection is not None
            self._line.at("effect", "before", _named(self._work), inside=inside)
            self._scene.trouble(self._work)
            result = run(handler, arguments, connection, timeout_s)
            self._line.at("effect", "after", _named(self._work), inside=inside)
            return result

        return pointed

    def _request(self, method: str, url: str, **options: Any) -> httpx.Response:
        self._line.at("request", "before", method)
        response = HTTP.request(method, url, **options)
        self._line.at("request", "after", method)
        return response

    def _executing(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found = _BRANCH.match(statement)
        if found is not None:
            inside = found[1].startswith("PREPARE")
            self._line.at(found[1].lower(), "before", self._about, inside=inside)

    def _executed(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if (found := _BRANCH.match(statement)) is not None:
            self._line.at(found[1].lower(), "after", self._about)
        elif (found := _WRITES.match(statement)) is not None:
            self._line.at(f"write to {found[1]}", "after", self._about, inside=True)

    @property
    def _about(self) -> str:
        return _named(self._work) if self._work else ""


def _point_at_commits(line: Line) -> None:
    commit = Connection._commit_impl

    def pointed(self: Connection) -> None:
        line.at("commit", "before", inside=True)
        commit(self)
        line.at("commit", "after")

    Connection._commit_impl = pointed  # type: ignore[method-assign]


def _named(of: Work | Answer) -> str:
    return f"{of.step} {of.kind}"
