"""``SagaRun``: one run of a saga in a test: how it went, what it did and undid, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Self, TypeVar

import msgspec

from orchestrator.definition.action import Action
from orchestrator.definition.saga import Saga
from orchestrator.definition.values import decode, encode
from orchestrator.errors import StagingError
from orchestrator.kernel.events import Event, Failure
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.state import PARKED, RunState, Status
from orchestrator.kernel.summary import RunStatus
from orchestrator.testing.stage.hiding import hidden
from orchestrator.testing.stage.steps import Entry, Steps
from orchestrator.testing.stage.story import Called, Story
from orchestrator.testing.stage.world import World

__tracebackhide__ = hidden

R = TypeVar("R")
E = TypeVar("E", bound=msgspec.Struct)

Step = str | Action[..., Any]
"""A step by its key, or by the participant that it calls."""

_WAITING = frozenset({Status.WAITING, Status.SLEEPING})


class SagaRun(Generic[R]):
    """A handle on one run. What it says is always of now; ``at`` is for then."""

    def __init__(self, world: World, run_id: str, saga: Saga[..., R]) -> None:
        self.id = run_id
        self.saga = saga
        self._world = world

    def __repr__(self) -> str:
        return f"<run of {self._outcome}>"

    # -- how it went

    @property
    def status(self) -> RunStatus:
        """``running``, ``compensating``, ``stuck``, ``completed`` or ``compensated``."""
        return self._world.row(self.id).status

    @property
    def completed(self) -> bool:
        """Whether every step was done."""
        return self.status == "completed"

    @property
    def compensated(self) -> bool:
        """Whether everything it did is undone."""
        return self.status == "compensated"

    @property
    def stuck(self) -> bool:
        """Whether it needs a person."""
        return self.status == "stuck"

    @property
    def reason(self) -> str:
        """Why it was compensated, or is stuck; empty otherwise."""
        return self._world.row(self.id).reason

    @property
    def cause(self) -> Failure | None:
        """The error or refusal that compensation began with, with its ``data``."""
        return self.state.cause

    @property
    def result(self) -> R:
        """What the saga returned. Raises ``AssertionError`` for a run that isn't completed."""
        row = self._world.row(self.id)
        if row.status != "completed":
            raise AssertionError(f"there is no result: {self._outcome}{self._way_on()}")
        return self.saga.decode_result(row.result)

    # -- what it did

    @property
    def did(self) -> Steps:
        """Steps whose action was carried out, each effect once, in order."""
        return self._steps(self._story.did.values(), "did")

    @property
    def undid(self) -> Steps:
        """Steps whose undo was carried out, in order. An undo that found nothing to undo isn't one."""
        return self._steps(self._story.undid.values(), "undid")

    @property
    def waiting(self) -> Steps:
        """Steps that wait for a signal, or for a time to be over."""
        return self._where(_WAITING, "waits for")

    @property
    def parked(self) -> Steps:
        """Steps that need a person."""
        return self._where(PARKED, "is stuck at")

    def calls(self, participant: Step | None = None) -> list[Called]:
        """Everything that reached participants, each attempt; or what reached one of them, or was done for one step."""
        wanted = participant.spec.qualified if isinstance(participant, Action) else participant
        return [
            called
            for called in self._story.calls
            if wanted in {None, called.participant, called.step}
        ]

    # -- its events

    @property
    def events(self) -> tuple[Event, ...]:
        """The run's events, in order."""
        return self._story.events

    def event(self, kind: type[E], step: Step | None = None) -> E:
        """The first event of a kind (``StepFailed``, say), of one step if given. Raises ``StagingError``."""
        key = None if step is None else self._key(step)
        for event in self.events:
            if isinstance(event, kind) and key in {None, getattr(event, "step", None)}:
                return event
        of_step = f" of {key}" if key else ""
        there = ", ".join(dict.fromkeys(type(event).__name__ for event in self.events))
        raise StagingError(f"{self!r} has no {kind.__name__}{of_step}; its events are {there}")

    @property
    def state(self) -> RunState:
        """The whole state now: phase, steps, signals."""
        return self._story.state

    def at(self, moment: Event | float | timedelta | datetime) -> RunState:
        """The whole state as it was right after one of its events, or at a time: since the launch (seconds or a
        timedelta), or a datetime. Raises ``StagingError`` for a time before the launch and a foreign event.
        """
        events = self.events
        if isinstance(moment, msgspec.Struct):
            if moment not in events:
                raise StagingError(f"{self!r} never had the event {moment!r}")
            number = events.index(moment) + 1
        else:
            number = sum(event.at <= self._epoch_s(moment) for event in events)
            if not number:
                raise StagingError(f"{self!r} began after that time")
        return fold(self._story.program, events[:number])

    @property
    def timeline(self) -> str:
        """The run as a person would tell it; shown by itself when a test fails."""
        return "\n".join([self._outcome, *self._story.lines()])

    # -- what happens to it

    def finish(self) -> Self:
        """Let time pass until it has ended, is stuck, or only a signal could make it go on."""
        self._world.pass_time(float("inf"), lambda: self._world.is_at_rest(self.id))
        return self

    def signal(self, name: str, data: Any = None, *, signal_id: str | None = None) -> None:
        """Send it a signal. Raises ``StagingError`` for one its saga doesn't wait for, ``InvalidInputError`` for data
        that isn't of the declared type.
        """
        if name not in self.saga.signals:
            known = ", ".join(self.saga.signals) or "none"
            raise StagingError(
                f"{self.saga.name} waits for no signal {name!r}; it waits for {known}"
            )
        decode(encode(data), self.saga.signals[name], f"signal {name}")
        self._world.client.signal(self.id, name, data, signal_id=signal_id)

    def cancel(self, reason: str = "") -> None:
        """Stop it and undo it. This and the following raise ``OperationRefusedError`` where it isn't possible."""
        self._world.client.cancel(self.id, reason=reason)

    def retry(
        self, step: Step | None = None, *, args: Mapping[str, Any] | None = None, reason: str = ""
    ) -> None:
        """As an operator: try what is parked or backing off again now, perhaps with other arguments."""
        key = None if step is None else self._key(step)
        self._world.client.retry(self.id, key, args=args, reason=reason)

    def skip(self, step: Step, result: Any = None, *, reason: str = "") -> None:
        """As an operator: go on past a step as if it had returned ``result``."""
        self._world.client.skip(self.id, self._key(step), result, reason=reason)

    def resolve(
        self, step: Step, result: Any = None, *, undone: bool = False, reason: str = ""
    ) -> None:
        """As an operator: say what a step really did: done with ``result``, or, with ``undone``, without effect."""
        client = self._world.client
        client.resolve(self.id, self._key(step), result, undone=undone, reason=reason)

    def compensate(self, reason: str = "") -> None:
        """As an operator: undo it from where it is."""
        self._world.client.compensate(self.id, reason=reason)

    # -- how it is done

    @property
    def _story(self) -> Story:
        story = self._world.stories.get(self.id)
        if story is None:
            raise StagingError(
                f"run {self.id} is only being launched: look at it when it has begun"
            )
        return story

    @property
    def _outcome(self) -> str:
        row = self._world.row(self.id)
        return f"{self.saga.name}: {row.status}{f': {row.reason}' if row.reason else ''}"

    def _way_on(self) -> str:
        story = self._world.stories.get(self.id)
        if story is None or self.status not in {"running", "compensating"}:
            return ""
        signals = [
            step.name for step in story.state.steps.values() if step.status is Status.WAITING
        ]
        if signals:
            return f", waiting for {', '.join(signals)}: send it with run.signal(...)"
        return ": let time pass with run.finish() or sagas.advance(...)"

    def _steps(self, entries: Iterable[Entry], what: str) -> Steps:
        saga, known, outcome = self.saga.name, self._story.steps, self._outcome
        return Steps(entries, what=what, saga=saga, known=known, outcome=outcome)

    def _where(self, statuses: frozenset[Status], what: str) -> Steps:
        story = self._story
        keys = [key for key, step in story.state.steps.items() if step.status in statuses]
        return self._steps(map(story.entry, keys), what)

    def _key(self, step: Step) -> str:
        if isinstance(step, str):
            return step
        name = step.spec.qualified
        story = self._story
        keys = [key for key in story.state.steps if story.entry(key).participant == name]
        if len(keys) != 1:
            has = f"several: {', '.join(keys)}" if keys else "none that has begun"
            raise StagingError(f"{self.saga.name}: which step of {name}? There is {has}")
        return keys[0]

    def _epoch_s(self, moment: float | timedelta | datetime) -> float:
        launched_at = self._story.state.launched_at
        if isinstance(moment, datetime):
            return moment.timestamp()
        return launched_at + (moment.total_seconds() if isinstance(moment, timedelta) else moment)
