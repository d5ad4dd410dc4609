"""The broker: messages are lost, doubled, delayed and so reordered, and all of them can vanish at once.

What travels is the JSON of a real transport, so nothing is shared by reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from orchestrator.errors import TransportUnavailableError
from orchestrator.testing.simulation.dice import Dice
from orchestrator.testing.simulation.ports import Interruptions
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle, Received

_decode_work = msgspec.json.Decoder(tuple[Work, ...]).decode
_decode_answer = msgspec.json.Decoder(Answer).decode

Later = Callable[[float, Callable[[], None]], None]
"""Do something after so many seconds."""


class Network:
    """What all ends share."""

    def __init__(
        self,
        dice: Dice,
        later: Later,
        deliver: Callable[[str, tuple[Work, ...]], None],
        arrived: Callable[[int], None],
        prompt: frozenset[str],
    ) -> None:
        self.streams: dict[int, dict[int, bytes]] = {}
        """By shard: answers that aren't acknowledged, by their ascending number."""
        self._dice = dice
        self._later = later
        self._deliver = deliver
        self._arrived = arrived
        self._prompt = prompt
        """Queues whose messages arrive at once or never; see ``shop``."""
        self._numbers = count(1)
        self._generation = 0

    def publish(self, bundle: Bundle) -> Exception | None:
        """Take a message from a coordinator; None, or the error it gets to see."""
        fault = self._dice.which("publish failed", "publish failed, sent anyway")
        if fault != "publish failed":
            self._send(bundle.queue, msgspec.json.encode(bundle.work))
        return TransportUnavailableError(fault) if fault else None

    def redeliver(self, queue: str, work: Sequence[Work]) -> None:
        """Bring a message of a worker that died again, as brokers do in the end."""
        if queue not in self._prompt:
            self._carry(queue, msgspec.json.encode(work), self._dice.random.uniform(0.1, 90.0))

    def answer(self, answer: Answer) -> None:
        """Take an answer from a worker."""
        if self._dice.happens("answer lost"):
            return
        data = msgspec.json.encode(answer)
        for _ in range(2 if self._dice.happens("answer doubled") else 1):
            self._return(answer.shard, data, self._delay_s("answer late"))

    def wipe(self) -> None:
        """Forget every message."""
        self._generation += 1
        self.streams.clear()

    def _send(self, queue: str, data: bytes) -> None:
        if self._dice.happens("command lost"):
            return
        for _ in range(2 if self._dice.happens("command doubled") else 1):
            if queue in self._prompt:
                self._deliver(queue, _decode_work(data))
            else:
                self._carry(queue, data, self._delay_s("command late"))

    def _carry(self, queue: str, data: bytes, delay_s: float) -> None:
        generation = self._generation

        def arrive() -> None:
            if generation == self._generation:
                self._deliver(queue, _decode_work(data))

        self._later(delay_s, arrive)

    def _return(self, shard: int, data: bytes, delay_s: float) -> None:
        generation = self._generation

        def arrive() -> None:
            if generation == self._generation:
                self.streams.setdefault(shard, {})[next(self._numbers)] = data
                self._arrived(shard)

        self._later(delay_s, arrive)

    def _delay_s(self, late: str) -> float:
        draw = self._dice.random
        if self._dice.happens(late):
            return draw.choice((draw.uniform(0.1, 12.0), draw.uniform(5.0, 240.0)))
        return draw.uniform(0.001, 0.02)


class Endpoint:
    """One coordinator's end: a ``CoordinatorTransport``."""

    def __init__(
        self,
        network: Network,
        interruptions: Interruptions,
        sending: Callable[[Sequence[Work]], None],
    ) -> None:
        self.patience_s = 0.0
        """How long the coordinator would have waited for an answer."""
        self.busy = False
        """Whether the last call gave it something."""
        self._network = network
        self._interruptions = interruptions
        self._sending = sending
        self._positions: dict[int, int] = {}

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """See the port."""
        self._interruptions.at("before publish")
        errors: list[Exception | None] = []
        for bundle in bundles:
            if errors:
                self._interruptions.at("amid publish")
            self._sending(bundle.work)
            errors.append(self._network.publish(bundle))
        self._interruptions.at("after publish")
        return errors

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """See the port; never waits, and remembers for how long it was asked to."""
        self.patience_s = timeout_s
        received: list[Received] = []
        for shard in shards:
            after = self._positions.get(shard, 0)
            for number, data in self._network.streams.get(shard, {}).items():
                if number > after:
                    self._positions[shard] = number
                    received.append(Received((_decode_answer(data),), (shard, number)))
        self.busy = bool(received)
        return received

    def acknowledge(self, received: Sequence[Received]) -> None:
        """See the port."""
        if not received:
            return
        self._interruptions.at("before acknowledge")
        for position, message in enumerate(received):
            if position:
                self._interruptions.at("amid acknowledge")
            shard, number = message.token
            self._network.streams.get(shard, {}).pop(number, None)
        self._interruptions.at("after acknowledge")

    def release(self, shard: int) -> None:
        """See the port."""
        self._positions.pop(shard, None)

    def poke(self, shard: int) -> None:
        """See the port; whoever sends wakes the coordinators himself here."""

    def close(self) -> None:
        """See the port; nothing to let go of."""


class Postbox:
    """A worker process's end: a ``WorkerTransport``."""

    def __init__(self, process: int, answered: Callable[[int, Answer], None]) -> None:
        self._process = process
        self._answered = answered

    def answer(self, answers: Sequence[Answer]) -> None:
        """See the port."""
        for answer in answers:
            self._answered(self._process, answer)
