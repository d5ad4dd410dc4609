"""The coordinator's transport: what it sends is handed on at once, what comes back waits until it looks.

All of it passes through sealed JSON as on a real broker, so that a value that isn't JSON fails here as it would there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count

from orchestrator.errors import EnvelopeError
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.parts import answers_by_shard, seal_in_parts
from orchestrator.transport.port import Bundle, Received


class Wire:
    """A ``CoordinatorTransport``. ``deliver`` is given each command."""

    def __init__(self, deliver: Callable[[Work], None]) -> None:
        self.patience_s = math.inf
        """How long the coordinator would have waited for an answer: until its next alarm."""
        self.gave = False
        """Whether the coordinator got something when it looked last."""
        self._deliver = deliver
        self._envelopes = Envelopes()
        self._numbers = count(1)
        self._streams: dict[int, dict[int, str]] = {}
        self._positions: dict[int, int] = {}

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """See the port."""
        return [self._publish(bundle) for bundle in bundles]

    def answer(self, answer: Answer) -> None:
        """Put a participant's answer where the coordinator finds it."""
        for shard, sealed in answers_by_shard(self._envelopes, [answer]):
            self._streams.setdefault(shard, {})[next(self._numbers)] = sealed

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """See the port; never waits, and remembers for how long it was asked to."""
        self.patience_s = timeout_s
        received: list[Received] = []
        for shard in shards:
            after = self._positions.get(shard, 0)
            for number, sealed in self._streams.get(shard, {}).items():
                if number > after:
                    self._positions[shard] = number
                    answers = self._envelopes.open_answers(sealed)
                    received.append(Received(answers, (shard, number)))
        self.gave = bool(received)
        return received

    def acknowledge(self, received: Sequence[Received]) -> None:
        """See the port."""
        for message in received:
            shard, number = message.token
            self._streams.get(shard, {}).pop(number, None)

    def release(self, shard: int) -> None:
        """See the port."""
        self._positions.pop(shard, None)

    def poke(self, shard: int) -> None:
        """See the port; whoever sends sees to it that the coordinator looks."""

    def close(self) -> None:
        """See the port; nothing to let go of."""

    def _publish(self, bundle: Bundle) -> Exception | None:
        try:
            for sealed in seal_in_parts(self._envelopes.seal_work, bundle.work):
                for work in self._envelopes.open_work(sealed):
                    self._deliver(work)
        except EnvelopeError as error:
            return error
        return None
