"""``Steps``: what a run did, undid or waits for, compared the way a person would write it down."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, overload

from orchestrator.definition.action import Action
from orchestrator.errors import StagingError
from orchestrator.testing.stage.hiding import hidden

__tracebackhide__ = hidden


class Entry(NamedTuple):
    """A step's key within its run, and the ``service.action`` it calls (empty for waits and sleeps)."""

    key: str
    participant: str


class Steps:
    """Keys of steps, in order. Compare with a list of steps' names or participants: ``run.did == [reserve, charge]``.

    A set in that list stands for steps in any order: ``[reserve, {charge, quote}, dispatch]``. ``"book"`` and
    ``"book[1]"`` both name a step inside ``.map()``. A name that the saga doesn't have raises ``StagingError``.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        what: str = "did",
        saga: str = "the run",
        known: Iterable[Entry] = (),
        outcome: str = "",
    ) -> None:
        self._entries = tuple(entries)
        self._what = what
        self._saga = saga
        self._known = tuple(known)
        self._outcome = outcome

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        keys = [entry.key for entry in self._entries]
        return keys[index]

    def __iter__(self) -> Iterator[str]:
        return (entry.key for entry in self._entries)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self[:])

    def __contains__(self, wanted: object) -> bool:
        self._check(wanted)
        return any(_fits(entry, wanted) for entry in self._entries)

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Steps):
            return [*self] == [*other]
        groups = _groups(other)
        if groups is None:
            return NotImplemented
        for item in itertools.chain(*groups):
            self._check(item)
        left = list(self._entries)
        for group in groups:
            taken, left = left[: len(group)], left[len(group) :]
            if not _in_any_order(taken, group):
                return False
        return not left

    __hash__ = None  # type: ignore[assignment]  # it equals lists, which have none either

    def explain(self, wanted: object) -> list[str]:
        """How this differs from what was wanted, for pytest's report of an ``assert``."""
        groups = _groups(wanted)
        if groups is None:
            return []
        there, expected = list(self), self._labels(groups)
        lines = [f"what {self._saga} {self._what}, step by step (-), and what was expected (+):"]
        matcher = difflib.SequenceMatcher(None, there, expected, autojunk=False)
        for tag, start, end, other_start, other_end in matcher.get_opcodes():
            if tag == "equal":
                lines += [f"    {key}" for key in there[start:end]]
                continue
            lines += [f"  - {key}" for key in there[start:end]]
            lines += [f"  + {label}" for label in expected[other_start:other_end]]
        return [*lines, self._outcome] if self._outcome else lines

    def _check(self, wanted: object) -> None:
        name = _text(wanted)
        known = self._known
        if known and not any(_fits(entry, wanted) or entry.key == _base(name) for entry in known):
            steps = ", ".join(entry.key for entry in known)
            raise StagingError(f"{self._saga} has no step {name}; its steps are {steps}")

    def _labels(self, groups: list[list[Any]]) -> list[str]:
        """What was wanted, each under the key of the step that it fits, if there is one."""
        left = list(enumerate(self._entries))
        labels: list[str] = []
        for group in groups:
            found: list[tuple[int, str]] = []
            for item in group:
                match = next((one for one in left if _fits(one[1], item)), None)
                if match is None:
                    found.append((len(self._entries), _text(item)))
                else:
                    left.remove(match)
                    found.append((match[0], match[1].key))
            labels += [label for _, label in sorted(found)]
        return labels


def _groups(wanted: object) -> list[list[Any]] | None:
    """What was wanted in order; each group in any order. None for what is no list of steps."""
    if isinstance(wanted, set | frozenset):
        return [list(wanted)]
    if not isinstance(wanted, list | tuple | Steps):
        return None
    return [list(item) if isinstance(item, set | frozenset) else [item] for item in wanted]


def _in_any_order(entries: list[Entry], wanted: list[Any]) -> bool:
    if len(entries) != len(wanted):
        return False
    return not entries or any(
        _fits(entries[0], item) and _in_any_order(entries[1:], wanted[:place] + wanted[place + 1 :])
        for place, item in enumerate(wanted)
    )


def _fits(entry: Entry, wanted: object) -> bool:
    if isinstance(wanted, Action):
        return entry.participant == wanted.spec.qualified
    return wanted in (entry.key, _base(entry.key), entry.participant)


def _base(key: str) -> str:
    """A step's name without its place inside ``.map()``."""
    return key.partition("[")[0]


def _text(wanted: object) -> str:
    return wanted.spec.qualified if isinstance(wanted, Action) else str(wanted)
