"""What one operation would do to many runs, added up from the preview of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from orchestrator.kernel.preview import Action, Preview, Second


class Gathered(msgspec.Struct, frozen=True):
    """The sums. Actions are named ``service.action``, undos too; commonest first."""

    possible: int
    refused: dict[str, int]
    """Why it would be refused, to the number of runs."""
    runs: dict[str, int]
    settles: dict[str, int]
    """``commit`` or ``abort`` before the name."""
    undoes: dict[str, int]
    ends: dict[str, int]
    """Status to the number of runs that would come to it."""
    warnings: dict[str, int]
    second: int = 0
    """Of those possible: how many would each wait for a second person, done without a record."""
    whole: Second | None = None
    """As a recorded operation it would wait for one as a whole."""


def gathered(previews: Iterable[Preview], whole: Second | None = None) -> Gathered:
    """Add previews up."""
    possible = 0
    refused, runs, undoes = Counter[str](), Counter[str](), Counter[str]()
    settles = Counter[str]()
    second = 0
    ends, warnings = Counter[str](), Counter[str]()
    for seen in previews:
        if seen.refused:
            refused[seen.refused] += 1
            continue
        possible += 1
        runs.update(map(_name, seen.runs))
        settles.update(f"{action.kind} {_name(action)}" for action in seen.settles)
        undoes.update(map(_name, seen.undoes))
        ends[seen.ends] += 1
        warnings.update(seen.warnings)
        second += seen.second is not None
    return Gathered(
        possible,
        _ordered(refused),
        _ordered(runs),
        _ordered(settles),
        _ordered(undoes),
        _ordered(ends),
        _ordered(warnings),
        second,
        whole,
    )


def _name(action: Action) -> str:
    return action.participant


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(counts).most_common())
