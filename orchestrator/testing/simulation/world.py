"""``World``: one schedule. Everybody acts by appointment in virtual time, and the dice say what goes wrong.

First a time of chaos; then nothing goes wrong any more, one coordinator is left, and an operator retries what is
parked until all is at rest.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random

from msgspec.structs import replace

from orchestrator.errors import JournalUnavailableError, TransportUnavailableError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import Recorded
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from orchestrator.participant.two_phase.sweep import SweepOptions
from orchestrator.testing.simulation.dice import Dice
from orchestrator.testing.simulation.growth import FORGETFUL
from orchestrator.testing.simulation.holding import Holders
from orchestrator.testing.simulation.member import LEASE_S, Member
from orchestrator.testing.simulation.network import Network, Postbox
from orchestrator.testing.simulation.oblivion import Oblivion, Restorable
from orchestrator.testing.simulation.people import People
from orchestrator.testing.simulation.plans import Workload
from orchestrator.testing.simulation.ports import Killed
from orchestrator.testing.simulation.setbacks import Setbacks
from orchestrator.testing.simulation.shop import Shop
from orchestrator.transport.messages import Answer, Work

SHARDS = 2
START_S = 1_000_000.0
_FOREVER_S = 1e9
_JUMP_S = 7_200.0
_PAUSES_IN_PAUSES = 2
_MOST_EVENTS = 40_000
_REPAIRS = 14

TRANSIENT = (JournalUnavailableError, TransportUnavailableError)
"""What ``Coordinator.run`` waits out; any other error ends the process."""


class RestlessError(Exception):
    """A healed world doesn't come to rest."""


class World:
    """One schedule of one workload."""

    def __init__(self, seed: int, dice: Dice, shop: Shop, workload: Workload) -> None:
        self.dice = dice
        self.shop = shop
        self.workload = workload
        self._program = Program(workload.plan)
        self.plan_hash = self._program.hash
        self.now = START_S
        self._setbacks = Setbacks(self)
        self.journal: MemoryJournal = Restorable(SHARDS, self._setbacks.before_append)
        self.oblivion = Oblivion(self.journal, self.state)
        self.surprises: list[str] = []
        """What no part of the program may do."""
        self.steps = 0
        """How many things happened."""
        self.trace: list[str] = []
        self.members: list[Member] = []
        self._digest = hashlib.sha256()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._pauses = 0
        self.healed = False
        prompt = frozenset({f"saga.{FORGETFUL}"})
        self.network = Network(dice, self.later, self._deliver, self._arrived, prompt)
        self._people = People(self)
        self._holders = Holders(self, seed)
        shop.open(dice, workload.results, self._pause_worker, lambda: self.now)
        self.note("schedule", f"seed {seed}, plan {self.plan_hash[:12]}")

    @property
    def draw(self) -> Random:
        """The chance of the schedule."""
        return self.dice.random

    @property
    def counts(self) -> Counter[str]:
        """How often each thing happened."""
        return self.dice.counts

    @property
    def launched(self) -> list[str]:
        """Every accepted launch's run that the journal knows."""
        return self.oblivion.launched

    @property
    def digest(self) -> str:
        """A hash of everything that happened, in order."""
        return self._digest.hexdigest()

    @property
    def defects(self) -> Counter[str]:
        """What the coordinators counted, all together."""
        return sum((member.coordinator.counts for member in self.members), Counter[str]())

    def play(self) -> None:
        """Chaos, then healing. Raises ``RestlessError``."""
        draw = self.dice.random
        for _ in range(draw.choice((1, 1, 2, 3))):
            self._join()
        for number in range(draw.choice((1, 1, 1, 2, 3))):
            self.later(draw.uniform(0, 5), lambda number=number: self._people.launch(number))  # type: ignore[misc]
        end_s = draw.choice((15.0, 60.0, 150.0))
        if self.dice.happens("journal restored"):
            self._setbacks.plan(end_s)
        for _ in range(draw.randrange(8)):
            self.later(draw.uniform(0, end_s), self._disturb)
        for _ in range(draw.randrange(3)):
            self.later(draw.uniform(0, end_s), self._sweep)
        self._holders.plan(end_s)
        self.run_until(self.now + end_s)
        self._heal()
        for _ in range(_REPAIRS):
            self._settle()
            held = self._holders.release_all()
            if not self._people.repair() and not self._swept() and not held:
                break
        self._settle()
        self.note("end", " ".join(record.hash[:12] for record in self._ends()))

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Make an appointment."""
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._numbers), action))

    def run_until(self, at: float) -> None:
        """Let time pass."""
        while self._agenda and self._agenda[0][0] <= at:
            self._next()
        self.now = max(self.now, at)

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now - START_S:12.4f} {who}: {what}"
        self.trace.append(line)
        self._digest.update(line.encode() + b"\n")

    def state(self, run_id: str) -> RunState | None:
        """A run as its events say."""
        events = [
            record.event for record in self.journal.history(run_id) if record.event is not None
        ]
        return fold(self._program, events) if events else None

    def _next(self) -> None:
        at, _, action = heapq.heappop(self._agenda)
        self.now = max(self.now, at)
        self.steps += 1
        action()

    # Coordinators

    def _join(self) -> Member:
        member = Member(
            f"c{len(self.members)}",
            self.journal,
            self.network,
            self.dice,
            lambda: self.now,
            self._pause,
            self._holders,
        )
        self.members.append(member)
        self._wake(member, self.dice.random.uniform(0, 0.5))
        return member

    def _alive(self) -> list[Member]:
        return [member for member in self.members if member.alive]

    def _wake(self, member: Member, delay_s: float) -> None:
        at = self.now + max(0.0, delay_s)
        if at < member.wake_at:
            member.wake_at = at
            self.later(at - self.now, lambda: self._turn(member, at))

    def wake_all(self) -> None:
        """Poke the coordinators."""
        for member in self._alive():
            self._wake(member, self.dice.random.uniform(0, 0.02))

    def _arrived(self, shard: int) -> None:
        del shard
        self.wake_all()

    def _turn(self, member: Member, at: float) -> None:
        if not member.alive or member.wake_at != at:
            return
        member.wake_at = math.inf
        if member.in_turn:
            member.missed = True
            return
        if member.frozen_until > self.now:
            self._wake(member, member.frozen_until - self.now)
            return
        member.in_turn, member.began = True, self.now
        try:
            written = member.coordinator.turn(_FOREVER_S)
        except Killed:
            self.note(member.name, "killed")
            self._kill(member)
            return
        except TRANSIENT as error:
            self.note(member.name, f"waits: {error}")
            self._wake(member, self.dice.random.uniform(0.1, 2.0))
            return
        except Exception as error:  # noqa: BLE001 - the process would end, and that is a finding
            self.surprises.append(f"a coordinator died of {type(error).__name__}: {error}")
            self._kill(member)
            return
        finally:
            member.in_turn = False
        if written:
            self.note(member.name, f"wrote {written}, holds {member.coordinator.shards}")
        self._appoint(member, busy=bool(written) or member.endpoint.busy or member.missed)

    def _appoint(self, member: Member, *, busy: bool) -> None:
        """The next turn: at once while there is something to do, else when its next alarm is due."""
        member.missed = False
        if busy:
            self._wake(member, 0.01)
            return
        wait_s = member.endpoint.patience_s
        if not self.healed:
            wait_s = min(wait_s, self.dice.random.uniform(0.3, 0.8) * LEASE_S)
        elif len(member.coordinator.shards) < SHARDS:
            wait_s = min(wait_s, 30.0)
        if wait_s < _FOREVER_S / 2:
            self._wake(member, wait_s + 0.001)

    def _pause(self, member: Member) -> None:
        """The process stands still in the middle of its turn, and everybody else goes on."""
        draw = self.dice.random
        self._stand_still(
            member.name, draw.uniform(0.1, 5.0), draw.uniform(16.0, 60.0), draw.uniform(30.0, 90.0)
        )

    def _pause_worker(self) -> None:
        """So does a worker, between hearing of its command and acting on it."""
        draw = self.dice.random
        self._stand_still("worker", draw.uniform(0.1, 5.0), draw.uniform(5.0, 60.0))

    def _stand_still(self, who: str, *pauses_s: float) -> None:
        if self._pauses >= _PAUSES_IN_PAUSES or self.healed:
            return
        pause_s = self.dice.random.choice(pauses_s)
        self.note(who, f"paused for {pause_s:.1f} s")
        self._pauses += 1
        self.run_until(self.now + pause_s)
        self._pauses -= 1
        self.note(who, "goes on")

    def _kill(self, member: Member) -> None:
        member.alive = False
        if self.dice.happens("power failure instead of a kill"):
            self.note("broker", "wiped by the same power failure")
            self.network.wipe()
        if not self.healed:
            self.later(self.dice.random.uniform(0.1, 25.0), self._replace)

    def _replace(self) -> None:
        if not self.healed and len(self._alive()) < 3:
            self._join()

    # Workers

    def _deliver(self, queue: str, work: tuple[Work, ...]) -> None:
        """Have a worker process carry out a message, one command after the other."""
        service = work[0].participant.partition(".")[0]
        process, executor = self.shop.executor(service)
        for position, command in enumerate(work):
            what = f"{command.step} {command.kind}#{command.attempt} e{command.epoch}"
            self.oblivion.note(command)
            try:
                executor.execute([command], Postbox(process, self._answered))
            except Killed:
                self.note(f"w{process}", f"{what} killed")
                self.shop.restart(process)
                if self.dice.random.random() < 0.5:
                    self.network.redeliver(queue, work[position:])
                return

    def _answered(self, process: int, answer: Answer) -> None:
        """Take an answer from a worker; it may not live to send it."""
        what = f"{answer.step} {answer.kind}#{answer.attempt} e{answer.epoch}"
        self.note(f"w{process}", f"{what} {answer.run[:4]} {answer.outcome}")
        if self.dice.happens("worker killed after the commit"):
            raise Killed
        self.network.answer(replace(answer, took_s=0.005, worker=f"w{process}:1"))
        if self.dice.happens("worker killed after the answer"):
            raise Killed

    def _sweep(self) -> None:
        """A worker asks about what it finds prepared for long."""
        try:
            self.shop.sweep(Postbox(0, self._answered))
        except Killed:
            self.shop.restart(0)

    def _swept(self) -> bool:
        """Whether there is something left for the sweep: a journal that was restored forgets its branches."""
        left = self.oblivion.restored and bool(self.shop.prepared())
        if left:
            self.run_until(self.now + SweepOptions().safety_age_s)
            self._sweep()
        return left

    # What comes from outside

    def _disturb(self) -> None:
        what = self.dice.disturbance()
        draw = self.dice.random
        member = draw.choice(self._alive()) if self._alive() else None
        self.note("disturbance", what)
        match what:
            case "broker wiped":
                self.network.wipe()
            case "coordinator killed" if member is not None and not member.in_turn:
                self._kill(member)
            case "coordinator paused" if member is not None:
                member.frozen_until = self.now + draw.uniform(5.0, 60.0)
            case "clock jumped" if member is not None:
                member.skew_s = draw.choice((-_JUMP_S, _JUMP_S, draw.uniform(-30.0, 30.0)))
                self._wake(member, 0.0)
            case "coordinator killed" | "coordinator paused" | "clock jumped":
                return  # there is none, or it is in the middle of its own death
            case _:
                self._people.ask(what)

    def kill_idle(self) -> None:
        """Every coordinator that isn't in the middle of a turn is gone."""
        for member in self._alive():
            if not member.in_turn:
                self._kill(member)

    # Healing

    def _heal(self) -> None:
        self.note("world", "heals")
        self.oblivion.take_stock()
        self.healed = True
        self.dice.heal()
        alive = self._alive()
        survivor = self.dice.random.choice(alive) if alive else self._join()
        for member in alive:
            if member is not survivor:
                member.alive = False
                if not member.in_turn:
                    member.coordinator.close()
        survivor.skew_s = survivor.frozen_until = 0.0
        self._wake(survivor, 0.0)

    def _settle(self) -> None:
        """Go on until nobody has anything to do."""
        until = self.steps + _MOST_EVENTS
        while self._agenda:
            if self.steps > until:
                raise RestlessError(f"still busy after {_MOST_EVENTS} things more")
            self._next()

    def _ends(self) -> Sequence[Recorded]:
        return [
            record for shard in range(SHARDS) for record in self.journal.feed(shard, 0, 10**9)[-1:]
        ]
