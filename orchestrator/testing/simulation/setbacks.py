"""``Setbacks``: when a schedule's journal is backed up, and when it is set back to what it was then."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from orchestrator.testing.simulation.oblivion import Oblivion

_UNDER_THE_WRITER = 0.5
"""How often a restored journal is set back while a coordinator writes."""


class Surroundings(Protocol):
    """What they see of the world, and do to it."""

    oblivion: Oblivion
    healed: bool

    @property
    def draw(self) -> Random:
        """The chance of the schedule."""
        ...

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Make an appointment."""
        ...

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        ...

    def kill_idle(self) -> None:
        """Every coordinator that isn't in the middle of a turn is gone."""
        ...

    def wake_all(self) -> None:
        """Poke the coordinators."""
        ...


class Setbacks:
    """Those of one schedule."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._appends = 0
        """After how many appends the journal is set back."""

    def plan(self, end_s: float) -> None:
        """A backup while runs are under way, or at any time; set back a few appends later under the very writer, or
        when that backup's runs are at rest, perhaps.
        """
        draw, later = self._world.draw, self._world.later
        first_s = draw.choice((draw.uniform(0.2, 8.0), draw.uniform(0.0, end_s)))
        if draw.random() < _UNDER_THE_WRITER:
            later(first_s, lambda: self._back_up(draw.randint(2, 6)))
            return
        later(first_s, self._back_up)
        later(draw.uniform(first_s, end_s), self._restore)

    def before_append(self) -> None:
        """Somebody is about to write; perhaps the journal is set back at this moment."""
        self._appends -= 1
        if not self._appends and not self._world.healed:
            self._restore()

    def _back_up(self, appends: int = 0) -> None:
        self._world.note("journal", "backed up")
        self._world.oblivion.back_up()
        self._appends = appends

    def _restore(self) -> None:
        """The journal is what it was at the backup. Its coordinators were stopped, or never noticed: a replica that
        lagged took over.
        """
        self._world.note("journal", "restored")
        self._world.oblivion.restore()
        if self._world.draw.random() < 0.5:
            self._world.kill_idle()
        self._world.wake_all()
