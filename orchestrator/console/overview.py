"""What the overview says: who needs help first, then how things go."""

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


class Group(msgspec.Struct):
    """Stuck runs of one saga that stand at the same steps."""

    saga: str
    step: str
    """The first step they are parked at; empty if none is."""
    steps: tuple[str, ...]
    reason: str
    """The newest one's."""
    newest: float
    oldest: float
    number: int = 1
    example: str = ""


class Line(msgspec.Struct, frozen=True):
    """One figure over the last minutes: a column for each."""

    name: str
    label: str
    total: int
    highest: int
    columns: tuple[tuple[float, float, float, str], ...]
    """Of each: x, y, height, and what it says."""
    width: float


def groups(stuck: Iterable[RunSummary]) -> list[Group]:
    """Most first. Instances of a fan-out's step count as that step."""
    found: dict[tuple[str, tuple[str, ...]], Group] = {}
    for run in stuck:
        steps = tuple(sorted({step.partition("[")[0] for step in run.parked}))
        group = found.get((run.saga, steps))
        if group is None:
            first = steps[0] if steps else ""
            found[run.saga, steps] = Group(
                saga=run.saga,
                step=first,
                steps=steps,
                reason=run.reason,
                newest=run.updated_at,
                oldest=run.updated_at,
                example=run.run_id,
            )
            continue
        group.number += 1
        group.oldest = min(group.oldest, run.updated_at)
        if run.updated_at > group.newest:
            group.newest, group.reason, group.example = run.updated_at, run.reason, run.run_id
    return sorted(found.values(), key=lambda group: (-group.number, -group.newest))


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
