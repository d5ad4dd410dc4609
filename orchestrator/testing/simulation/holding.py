"""``Holders``: operators who hold sagas and services, let them go again, and change budgets, in some schedules.

What they do is drawn from a chance of their own, so that all other schedules are what they would be without them. What
a hold promises is looked at where commands go out: nothing that it stops, once the coordinator has seen it, and it sees
each within a second of its own turns. That everything ends after the last release is the oracle's (c).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Protocol

from msgspec.structs import replace

from orchestrator.definition.plan import Call
from orchestrator.journal.hold import Hold
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import Phase, RunState
from orchestrator.testing.simulation.oblivion import Oblivion
from orchestrator.testing.simulation.plans import Workload
from orchestrator.transport.messages import Work

DEEDS = ("saga held", "service held", "released", "budget changed")
"""What they do, as it is counted beside the faults."""
_SHARE = 0.08
"""In how many schedules they are at work."""
_SEEN_WITHIN_S = 1.0


class Surroundings(Protocol):
    """What they see of the world."""

    now: float
    journal: MemoryJournal
    workload: Workload
    oblivion: Oblivion
    surprises: list[str]

    @property
    def counts(self) -> Counter[str]:
        """How often each thing happened."""
        ...

    @property
    def launched(self) -> list[str]:
        """Every accepted launch's run that the journal knows."""
        ...

    def state(self, run_id: str) -> RunState | None:
        """A run as its events say."""
        ...

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Make an appointment."""
        ...

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        ...

    def wake_all(self) -> None:
        """Poke the coordinators."""
        ...


def works(seed: int) -> bool:
    """Whether somebody holds anything in this schedule."""
    return Random(f"holds of {seed}").random() < _SHARE


class Holders:
    """Who holds and releases in one schedule."""

    def __init__(self, world: Surroundings, seed: int) -> None:
        self._world = world
        self.at_work = works(seed)
        self._draw = Random(f"deeds of {seed}")
        self._placed = 0

    def plan(self, end_s: float) -> None:
        """Make their appointments for the time of chaos."""
        draw, later = self._draw, self._world.later
        for _ in range(draw.randint(1, 3) if self.at_work else 0):
            at_s = draw.uniform(0, end_s)
            later(at_s, self._hold)
            if draw.random() < 0.7:
                later(at_s + draw.choice((0.3, 5.0, 40.0)) * draw.random(), self._release_one)
            later(draw.uniform(0, end_s), self._change_budget)

    def release_all(self) -> bool:
        """Whether anything was held."""
        held = self._world.journal.holds() if self.at_work else []
        for hold in held:
            self._release(hold)
        return bool(held)

    def sends(self, who: str, began: float, seen: Iterable[Hold], work: Sequence[Work]) -> None:
        """A coordinator, in a turn that began then, sends commands, having seen these holds."""
        known = {hold.id for hold in seen}
        for hold in seen if self._world.oblivion.restored else self._world.journal.holds():
            if hold.id in known or hold.at < began - _SEEN_WITHIN_S:
                for command in work:
                    if _concerns(hold, command) and self._stops(hold, command):
                        self._world.surprises.append(
                            f"(h) {who} sent {command.kind} {command.step} of {command.run[:4]} though"
                            f" {hold.kind} {hold.name} is held"
                        )

    def _stops(self, hold: Hold, command: Work) -> bool:
        """Groups that were asked to vote go on to their end, so their commands aren't judged here."""
        if hold.kind == "service":
            return command.kind in {"do", "undo", "callback"}
        state = self._world.state(command.run)
        forward = state is not None and state.phase is Phase.FORWARD
        return command.kind in {"do", "undo"} and (forward or hold.undos)

    def _hold(self) -> None:
        world, draw = self._world, self._draw
        plan = world.workload.plan
        services = sorted({step.service for step, _ in plan.steps() if isinstance(step, Call)})
        by_saga = draw.random() < 0.5 or not services
        self._placed += 1
        hold = Hold(
            id=f"hold {self._placed}",
            kind="saga" if by_saga else "service",
            name=plan.saga if by_saga else draw.choice(services),
            at=world.now,
            actor="op",
            undos=by_saga and draw.random() < 0.3,
        )
        if world.journal.place_hold(hold):
            self._did(f"{hold.kind} held", f"{hold.id}: {hold.kind} {hold.name}")

    def _release_one(self) -> None:
        held = self._world.journal.holds()
        if held:
            self._release(self._draw.choice(held))

    def _release(self, hold: Hold) -> None:
        ended = replace(hold, released_at=self._world.now, released_by="op")
        if self._world.journal.release_hold(ended):
            self._did("released", hold.id)

    def _change_budget(self) -> None:
        world, draw = self._world, self._draw
        run_id = draw.choice(world.launched) if world.launched else ""
        state = world.state(run_id) if run_id else None
        if state is None or not state.steps:
            return
        step, attempts = draw.choice(sorted(state.steps)), draw.randint(1, 6)
        request = f"{draw.getrandbits(64):x}"
        world.journal.send(
            run_id,
            msg.Budget(at=world.now, actor="op", request=request, step=step, attempts=attempts),
        )
        self._did("budget changed", f"{run_id[:4]} {step} may be tried {attempts} times")

    def _did(self, deed: str, what: str) -> None:
        self._world.counts[deed] += 1
        self._world.note("client", f"{deed}: {what}")
        self._world.wake_all()
        self._world.later(_SEEN_WITHIN_S, self._world.wake_all)  # who has just looked looks again


def _concerns(hold: Hold, command: Work) -> bool:
    if hold.kind == "saga":
        return command.saga == hold.name
    return command.participant.partition(".")[0] == hold.name
