"""``World``: one coordinator, one thread, virtual time. Things happen by appointment, and time passes only when asked.

Whatever is due at one moment happens in the order in which it was caused, so a test is the same every time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from orchestrator.client.client import Client
from orchestrator.client.options import ClientOptions
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.saga import Saga
from orchestrator.errors import StagingError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import RunLaunched
from orchestrator.kernel.evolve import evolve, launched
from orchestrator.kernel.pending import pending
from orchestrator.kernel.program import Program
from orchestrator.kernel.summary import RunSummary
from orchestrator.testing.stage.cast import Cast
from orchestrator.testing.stage.hiding import hidden
from orchestrator.testing.stage.script import Rule, Script
from orchestrator.testing.stage.story import Called, Story
from orchestrator.testing.stage.wire import Wire
from orchestrator.transport.messages import Work

__tracebackhide__ = hidden

START_S = 1_893_456_000.0
"""Every test begins at midnight, 1 January 2030, UTC."""
ATTEMPTS_MAX = 10_000
"""So many attempts at one thing are more than a test means to see."""

_FOREVER_S = 1e9
_PAGE = 10_000


class World:
    """Everything but the test. ``sagas``: those that the client knows by name."""

    def __init__(self, cast: Cast, script: Script) -> None:
        self.now = START_S
        self.stories: dict[str, Story] = {}
        """By run, in the order of their launches."""
        self.sagas: dict[str, Saga[..., Any]] = {}
        self.journal = MemoryJournal(1)
        self.client = Client(
            self.journal,
            self.sagas,
            lambda _: self.happen(),
            ClientOptions(actor="test"),
            lambda: self.now,
        )
        self._cast = cast
        self._script = script
        self._wire = Wire(lambda work: self._appoint(self.now, partial(self._arrive, work)))
        options = CoordinatorOptions(owner="test", republish_s=0.0)
        self._coordinator = Coordinator(self.journal, self._wire, options, lambda: self.now)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._busy_until: dict[str, float] = {}
        """By effect: until when a function that takes its time is at it."""
        self._settled: set[str] = set()
        """Effects whose barrier row has an answer: copies get it at once."""
        self._read = 0
        self._is_moving = False

    def happen(self) -> None:
        """Let everything happen that is due now. Called by a participant, it is left to whoever runs that."""
        self.pass_time(self.now)

    def pass_time(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let time pass up to a moment, or until it is ``enough``, or nothing more would ever happen."""
        if self._is_moving:
            return
        self._is_moving = True
        try:
            while True:
                self._settle()
                at = self._next_at()
                if enough():
                    return
                if at is None or at > until:
                    break
                self.now = max(self.now, at)
        finally:
            self._is_moving = False
        if until < math.inf:
            self.now = max(self.now, until)

    def is_at_rest(self, run_id: str) -> bool:
        """Whether a run has ended, waits for a person or for a signal without end."""
        story = self.stories.get(run_id)
        if story is None:
            return False
        outstanding = pending(story.state)
        if self.row(run_id).status == "stuck":
            return not any(isinstance(command, Execute) for command in outstanding)
        return not outstanding

    def row(self, run_id: str) -> RunSummary:
        """A run's row of the read model."""
        return self.journal.find(run_id)

    # -- what happens

    def _settle(self) -> None:
        while True:
            written = self._coordinator.turn(_FOREVER_S)
            self._catch_up()
            came = self._wire.gave
            due = [heapq.heappop(self._agenda) for _ in range(self._due())]
            for _, _, action in due:
                action()
            if not (written or came or due):
                return

    def _due(self) -> int:
        return sum(at <= self.now for at, _, _ in self._agenda)

    def _next_at(self) -> float | None:
        """When something happens next, by itself."""
        times = [self._agenda[0][0]] if self._agenda else []
        if self._wire.patience_s < _FOREVER_S / 2:
            times.append(self.now + self._wire.patience_s)
        return min(times, default=None)

    def _appoint(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), action))

    def _catch_up(self) -> None:
        """Take in the events that were written."""
        for record in self.journal.feed(0, self._read, _PAGE):
            self._read = record.offset
            event = record.event
            if event is None:
                continue
            story = self.stories.get(record.run_id)
            if story is not None:
                story.state = evolve(story.state, event)
            elif isinstance(event, RunLaunched):
                program = Program(self.journal.plan(event.plan), event.plan)
                story = self.stories[record.run_id] = Story(program, launched(program, event))
            if story is not None:
                story.records.append(record)

    # -- participants

    def _arrive(self, work: Work) -> None:
        """A command has come to its participant, which begins with it."""
        if work.attempt > ATTEMPTS_MAX:
            raise StagingError(
                f"{work.saga}: attempt {work.attempt:,} at {work.step}, and more to come: let it succeed in the end, "
                "as with fails(times=2), give it a Retry that gives up, or use sagas.start and sagas.advance"
            )
        rule = self._script.rule(work.participant, work.step, undo=work.kind == "undo")
        if rule is not None and rule.loses(effect=False):
            self._note(work, "never carried out", how="its command is lost", answered=False)
            return
        for _ in range(2 if rule is not None and rule.doubles() else 1):
            self._begin(work, rule)

    def _begin(self, work: Work, rule: Rule | None) -> None:
        """Begin with a command; at the barrier, copies and the undo wait for the function that is at it."""
        key, takes_s = work.effect_key, 0.0
        guarded = self._cast.is_guarded(work)
        busy_until = self._busy_until.get(key, 0.0)
        if guarded and busy_until > self.now:
            self._appoint(busy_until, partial(self._begin, work, rule))
            return
        is_known = guarded and work.kind == "do" and key in self._settled
        if rule is not None and not is_known:
            takes_s = rule.delay_s()
        cancelled = self._cast.is_cut_off(work, takes_s)
        at = self.now + (work.timeout_s if cancelled else takes_s)
        self._busy_until[key] = at
        self._appoint(at, partial(self._carry_out, work, rule, cancelled=cancelled))

    def _carry_out(self, work: Work, rule: Rule | None, *, cancelled: bool) -> None:
        answer, ran, how = self._cast.perform(work, rule, cancelled=cancelled)
        took_effect = ran and answer.outcome == "succeeded"
        lost = rule is not None and answer.outcome == "succeeded" and rule.loses(effect=True)
        if answer.outcome in {"succeeded", "refused"}:
            self._settled.add(work.effect_key)
        if took_effect:
            self.stories[work.run].take_effect(work)
        self._note(work, answer.outcome, how, answered=not lost, duplicate=answer.duplicate)
        if not lost:
            self._wire.answer(answer)

    def _note(
        self, work: Work, outcome: str, how: str, *, answered: bool, duplicate: bool = False
    ) -> None:
        story = self.stories[work.run]
        declared = [*self._cast.participant(work.participant).handler.parameters, *work.args]
        story.note(
            Called(
                step=work.step,
                participant=work.participant,
                kind=work.kind,
                attempt=work.attempt,
                args={name: work.args[name] for name in declared if name in work.args},
                at_s=self.now - story.state.launched_at,
                outcome=outcome,
                how=how,
                answered=answered,
                duplicate=duplicate,
            )
        )
