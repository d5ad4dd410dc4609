"""What the overview says of how things go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from orchestrator.kernel.summary import RunSummary
from orchestrator.views.pulse import Beat, Pulse

_HEIGHT = 40.0
_SERIES = (
    ("launched", "Launched"),
    ("completed", "Completed"),
    ("compensated", "Compensated"),
    ("parked", "Became stuck"),
)


class Line(msgspec.Struct, frozen=True):
    """One figure over the last minutes: a column for each."""

    name: str
    label: str
    total: int
    highest: int
    columns: tuple[tuple[float, float, float, str], ...]
    """Of each: x, y, height, and what it says."""
    width: float


class Standing(msgspec.Struct, frozen=True):
    """Open runs of a saga that stand at the same step."""

    saga: str
    step: str
    """Where it waits, backs off or needs a person; empty for runs that just go on."""
    number: int
    oldest: str
    """The run that was launched first of them."""
    oldest_at: float


class InFlight(msgspec.Struct, frozen=True):
    """Where open runs stand, the most first."""

    standing: tuple[Standing, ...]
    counted: int
    more: bool
    """There are older ones than were counted."""
    oldest: Standing | None
    """Where the oldest of those counted stands."""


def in_flight(runs: Iterable[RunSummary], *, more: bool) -> InFlight:
    """Add open runs up; one that stands at several steps counts at each."""
    found: dict[tuple[str, str], list[RunSummary]] = {}
    counted = 0
    for run in runs:
        counted += 1
        for step in run.parked or run.steps or ("",):
            found.setdefault((run.saga, step), []).append(run)
    standing = [_standing(saga, step, at) for (saga, step), at in found.items()]
    standing.sort(key=lambda one: (-one.number, one.saga, one.step))
    oldest = min(standing, key=lambda one: one.oldest_at, default=None)
    return InFlight(tuple(standing), counted, more, oldest)


def _standing(saga: str, step: str, runs: Sequence[RunSummary]) -> Standing:
    first = min(runs, key=lambda run: run.launched_at)
    return Standing(saga, step, len(runs), first.run_id, first.launched_at)


def lines(pulse: Pulse, step: float = 10.0) -> list[Line]:
    """The figures, all on one scale so that they can be compared."""
    beats = pulse.beats
    highest = max((getattr(b, name) for b in beats for name, _ in _SERIES), default=0)
    return [
        Line(
            name=name,
            label=label,
            total=sum(getattr(beat, name) for beat in beats),
            highest=max((getattr(beat, name) for beat in beats), default=0),
            columns=tuple(_columns(beats, name, label, highest, step)),
            width=len(beats) * step,
        )
        for name, label in _SERIES
    ]


def _columns(
    beats: Sequence[Beat], name: str, label: str, highest: int, step: float
) -> Iterable[tuple[float, float, float, str]]:
    for index, beat in enumerate(beats):
        number = getattr(beat, name)
        if number:
            height = max(2.0, round(number / highest * _HEIGHT, 1))
            back = len(beats) - 1 - index
            when = "this minute" if back == 0 else f"{back} min ago"
            yield index * step, _HEIGHT - height, height, f"{number} {label.lower()}, {when}"
