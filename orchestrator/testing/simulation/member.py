"""One coordinator process of a schedule: the real ``Coordinator`` with a clock, a journal and a broker of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal.memory import MemoryJournal
from orchestrator.testing.simulation.dice import Dice
from orchestrator.testing.simulation.holding import Holders
from orchestrator.testing.simulation.network import Endpoint, Network
from orchestrator.testing.simulation.ports import FlakyJournal, Interruptions

LEASE_S = 15.0


class Member:
    """A coordinator, alive until it is killed or closed."""

    def __init__(
        self,
        name: str,
        journal: MemoryJournal,
        network: Network,
        dice: Dice,
        now: Callable[[], float],
        pause: Callable[[Member], None],
        holders: Holders,
    ) -> None:
        self.name = name
        self.alive = True
        self.skew_s = 0.0
        """How far its clock is off."""
        self.wake_at = math.inf
        self.frozen_until = 0.0
        self.in_turn = False
        self.began = 0.0
        """When its turn began, by the world's clock."""
        self.missed = False
        """Something arrived while it was in the middle of a turn."""
        interruptions = Interruptions(dice, lambda: pause(self))
        seen = FlakyJournal(journal, interruptions)
        self.endpoint = Endpoint(
            network,
            interruptions,
            lambda work: holders.sends(name, self.began, seen.seen, work),
        )
        self.coordinator = Coordinator(
            seen,
            self.endpoint,
            CoordinatorOptions(owner=name, lease_s=LEASE_S),
            lambda: now() + self.skew_s,
        )
