"""``Story``: everything that is known of one run: its events, its state after them, and what reached participants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from orchestrator.definition.plan import Call
from orchestrator.journal.port import Recorded
from orchestrator.kernel.events import CommandKind, Event
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from orchestrator.testing.stage.steps import Entry
from orchestrator.transport.messages import Work
from orchestrator.views.spans import span_text
from orchestrator.views.timeline import timeline


class Called(msgspec.Struct, frozen=True):
    """One command of a run, and what came of it."""

    step: str
    participant: str
    """``service.action``."""
    kind: CommandKind
    attempt: int
    args: dict[str, Any]
    """As JSON."""
    at_s: float
    """When it ended, in seconds since the launch."""
    outcome: str
    """``succeeded``, ``refused``, ``failed``, ``lost``, ``rejected``; or ``never carried out``."""
    how: str = ""
    """What was played in place of the participant's own function."""
    answered: bool = True
    """Whether its answer was sent."""
    duplicate: bool = False
    """The barrier had its answer: no function was called."""

    def __str__(self) -> str:
        verb = {"do": "", "undo": "undo ", "callback": "tell "}[self.kind]
        shown = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        remarks = [
            "" if self.attempt == 1 else f"attempt {self.attempt}",
            self.how,
            "a copy, which the barrier answers" if self.duplicate else "",
            "" if self.outcome == "succeeded" or self.how not in {"", "stand-in"} else self.outcome,
            "" if self.answered or self.outcome == "never carried out" else "its answer is lost",
        ]
        remark = "; ".join(filter(None, remarks))
        call = f"{verb}{self.participant}({shown if self.kind == 'do' else ''})"
        return f"{call}  [{remark}]" if remark else call


class _Placed(NamedTuple):
    called: Called
    events: int
    """How many events there were."""


class Story:
    """One run as it goes on."""

    def __init__(self, program: Program, state: RunState) -> None:
        self.program = program
        self.state = state
        self.records: list[Recorded] = []
        self.did: dict[str, Entry] = {}
        """By effect: what was carried out, in order."""
        self.undid: dict[str, Entry] = {}
        self._calls: list[_Placed] = []

    @property
    def events(self) -> tuple[Event, ...]:
        """The run's events in order."""
        return tuple(record.event for record in self.records if record.event is not None)

    @property
    def calls(self) -> list[Called]:
        """What reached participants, in order."""
        return [placed.called for placed in self._calls]

    @property
    def steps(self) -> list[Entry]:
        """Every step of the saga."""
        return [
            Entry(step.name, f"{step.service}.{step.participant}" if isinstance(step, Call) else "")
            for step, _ in self.program.plan.steps()
        ]

    def entry(self, key: str) -> Entry:
        """A step that has begun, by its key."""
        name = key.partition("[")[0]
        return Entry(key, next((one.participant for one in self.steps if one.key == name), ""))

    def note(self, called: Called) -> None:
        """Take in a command that was carried out."""
        self._calls.append(_Placed(called, len(self.records)))

    def take_effect(self, work: Work) -> None:
        """Take in that a function was run to its end."""
        entry = Entry(work.step, work.participant)
        if work.kind == "do":
            self.did.setdefault(work.effect_key, entry)
        elif work.kind == "undo":
            self.undid.setdefault(work.effect_key, entry)

    def lines(self) -> Iterator[str]:
        """The run told in order: events, and between them what reached participants."""
        entries = timeline(self.program.plan, self.records)
        calls = list(self._calls)
        for number, entry in enumerate(entries):
            while calls and calls[0].events <= number:
                yield self._line(calls.pop(0).called)
            who = f"  (by {entry.actor})" if entry.actor and entry.actor != "test" else ""
            text = (
                entry.text.replace(" in 0 s", "") if entry.type == "StepSucceeded" else entry.text
            )
            yield f"{span_text(entry.after_s):>9}  {text}{who}"
        for placed in calls:
            yield self._line(placed.called)

    def _line(self, called: Called) -> str:
        return f"{span_text(called.at_s):>9}    -> {called}"
