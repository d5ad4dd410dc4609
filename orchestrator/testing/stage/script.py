"""What a test says of a participant: ``sagas.when(charge).fails(times=2).then.refuses("no money")``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar

from orchestrator.definition.durations import Duration, seconds
from orchestrator.errors import Refused, StagingError
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import DEFAULT_PAYLOAD_LIMIT
from orchestrator.testing.stage.hiding import hidden

__tracebackhide__ = hidden

P = ParamSpec("P")
R = TypeVar("R")

ALWAYS = sys.maxsize


class StagedError(Exception):
    """What a participant raises when a test says that it fails, and not with what."""


class Part:
    """One thing that is said of a participant, for some number of ``times``."""

    def __init__(self, said: str, times: int | None) -> None:
        if times is not None and times < 1:
            raise StagingError(f"{said}: times= is 1 or more, or None for every time")
        self.said = said if times is None else f"{said}, {times} times" if times > 1 else said
        self.left = ALWAYS if times is None else times
        self.was_reached = False

    def use(self) -> bool:
        """Whether it applies once more; counted if so."""
        if self.left <= 0:
            return False
        self.was_reached = True
        self.left -= self.left < ALWAYS
        return True


class Outcome(Part):
    """What becomes of an attempt in place of the participant's own function."""

    def __init__(
        self,
        said: str,
        times: int | None,
        act: Callable[[Mapping[str, Any]], Any],
        *,
        by_test: bool = False,
    ) -> None:
        super().__init__(said, times)
        self.act = act
        """Gets the arguments by name; returns or raises as the participant is to."""
        self.by_test = by_test
        """It runs code of the test, whose failed assertions are the test's."""


class Rule:
    """What a test says of one participant's actions, or of its undos. Every call adds to it and gives it back."""

    def __init__(
        self, participant: Participant[..., Any], words: str, step: str | None, *, optional: bool
    ) -> None:
        self.participant = participant
        self.step = step
        self.optional = optional
        self.where = _caller()
        self.has_ended = False
        self._words = words
        self._outcomes: list[Outcome] = []
        self._may_say_more = True
        self._delay: tuple[float, Part] | None = None
        self._lost: Part | None = None
        self._lost_before: Part | None = None
        self._twice: Part | None = None

    def __repr__(self) -> str:
        said = "".join(f".{part.said}" for part in self._parts())
        return f"sagas.{self._words}({self.participant.spec.qualified}){said}"

    def fails(
        self, error: Exception | str = "as the test says", *, times: int | None = None
    ) -> Self:
        """Each attempt, or the first ``times``, raises this error, without effect; it is retried as usual."""
        raised = StagedError(error) if isinstance(error, str) else error

        def act(_: Mapping[str, Any]) -> Any:
            raise raised.with_traceback(None)

        return self._say(Outcome(f"fails({_shown(error)})", times, act))

    def takes(self, duration: Duration, *, times: int | None = None) -> Self:
        """It takes so long (seconds or a timedelta) of virtual time; more than its timeout, and the answer is late."""
        delay_s = seconds(duration, f"{self._words}(...).takes()", zero=True)
        self._once(self._delay, "takes()")
        self._delay = (delay_s, Part(f"takes({duration!r})", times))
        return self

    def is_lost(self, *, times: int | None = 1, effect: bool = True) -> Self:
        """It takes effect and its answer is lost; with ``effect=False`` the command itself is, so it has none.

        Once unless ``times`` says otherwise; None is every time.
        """
        part = Part("is_lost()" if effect else "is_lost(effect=False)", times)
        if effect:
            self._once(self._lost, "is_lost()")
            self._lost = part
        else:
            self._once(self._lost_before, "is_lost(effect=False)")
            self._lost_before = part
        return self

    def comes_twice(self, *, times: int | None = None) -> Self:
        """Its command is delivered a second time, as brokers do."""
        self._once(self._twice, "comes_twice()")
        self._twice = Part("comes_twice()", times)
        return self

    @property
    def then(self) -> Self:
        """What comes after that: ``fails(times=2).then.refuses()``. Without it, the participant's own function."""
        if self._may_say_more or self._outcomes[-1].left == ALWAYS:
            last = (
                ""
                if self._may_say_more
                else f": {self._outcomes[-1].said} never ends, so give it times="
            )
            raise StagingError(f"{self!r}.then has nothing to come after{last}")
        self._may_say_more = True
        return self

    def ends(self) -> None:
        """From now on the participant behaves as if nothing had been said."""
        self.has_ended = True

    # -- what the stage asks

    def outcome(self) -> Outcome | None:
        """What becomes of the attempt that is made now; None for what its own function makes of it."""
        if self.has_ended:  # while the attempt took its time
            return None
        return next((part for part in self._outcomes if part.use()), None)

    @property
    def replaces(self) -> bool:
        """Whether the next attempt isn't its own function's."""
        return not self.has_ended and any(part.left for part in self._outcomes)

    def delay_s(self) -> float:
        """How long the attempt that begins now takes."""
        if self._delay is None:
            return 0.0
        delay_s, part = self._delay
        return delay_s if part.use() else 0.0

    def loses(self, *, effect: bool) -> bool:
        """Whether the answer that is under way, or without ``effect`` the command, is lost now."""
        part = self._lost if effect else self._lost_before
        return part is not None and not self.has_ended and part.use()

    def doubles(self) -> bool:
        """Whether the command that arrives now arrives again."""
        return self._twice is not None and self._twice.use()

    def unreached(self) -> Iterator[str]:
        """What was said and never came about."""
        if not self.optional:
            parts = list(self._parts())
            yield from (part.said for part in parts if not part.was_reached)
            if not parts:
                yield "nothing: say what happens then, as in .refuses() or .fails()"

    # -- how it is said

    def _say(self, outcome: Outcome) -> Self:
        if not self._may_say_more:
            raise StagingError(
                f"{self!r} can't be {outcome.said} too: say which comes first, as in "
                f".{_base(self._outcomes[-1].said)}(..., times=1).then.{_base(outcome.said)}(...)"
            )
        self._outcomes.append(outcome)
        self._may_say_more = False
        return self

    def _once(self, known: object, what: str) -> None:
        if known is not None:
            raise StagingError(f"{self!r} says {what} already")

    def _parts(self) -> Iterator[Part]:
        yield from self._outcomes
        if self._delay is not None:
            yield self._delay[1]
        yield from filter(None, (self._lost, self._lost_before, self._twice))


class When(Rule, Generic[P, R]):
    """What happens when a participant's action is to be carried out."""

    def refuses(
        self, message: str = "refused", *, data: Any = None, times: int | None = None
    ) -> Self:
        """It says no, without effect: the step is over and compensation begins, unless the run is past its pivot."""

        def act(_: Mapping[str, Any]) -> Any:
            raise Refused(message, data=data)

        return self._say(Outcome(f"refuses({message!r})", times, act))

    def returns(self, value: R, *, times: int | None = None) -> Self:
        """A stand-in: its function isn't run, nor its undo's; this is its result. Raises ``InvalidInputError``."""
        self.participant.handler.encoded(value, DEFAULT_PAYLOAD_LIMIT)
        return self._say(Outcome(f"returns({value!r})", times, lambda _: value))

    def does(self, function: Callable[P, R], *, times: int | None = None) -> Self:
        """A stand-in: this function is run in its place, with the action's arguments; its undo's isn't run.

        It may raise ``Refused`` or any error. Where an assertion in it fails, the test does.
        """

        def act(arguments: Mapping[str, Any]) -> Any:
            return _called(function, tuple(self.participant.handler.parameters), arguments)

        return self._say(Outcome(f"does({_name(function)})", times, act, by_test=True))


class WhenUndoing(Rule):
    """What happens when a participant's undo is to be carried out."""

    def does(self, function: Callable[[], object], *, times: int | None = None) -> Self:
        """This function is run in its place, without arguments; it may raise any error."""
        outcome = Outcome(f"does({_name(function)})", times, lambda _: function(), by_test=True)
        return self._say(outcome)


class Script:
    """Everything a test has said."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Take a rule in. Raises ``StagingError`` for a second one on the same."""
        for other in self._rules:
            if not other.has_ended and _place(other) == _place(rule):
                raise StagingError(
                    f"{other!r} was said at {other.where} already: say what comes after it with .then, name the step "
                    "that each is for with step=, or end the first one with its .ends()"
                )
        self._rules.append(rule)

    def rule(self, qualified: str, step: str, *, undo: bool) -> Rule | None:
        """The rule for a command; one that names the step comes first."""
        places = (step, step.partition("[")[0], None)
        for place in places:
            for rule in self._rules:
                if not rule.has_ended and _place(rule) == (qualified, undo, place):
                    return rule
        return None

    def replaces(self, qualified: str) -> bool:
        """Whether some rule gives the results of this participant's action."""
        return any(rule.replaces and _place(rule)[:2] == (qualified, False) for rule in self._rules)

    def unreached(self) -> Iterator[tuple[Rule, str]]:
        """Every rule that was said in vain, and what of it."""
        for rule in self._rules:
            for said in rule.unreached():
                yield rule, said


def _place(rule: Rule) -> tuple[str, bool, str | None]:
    return rule.participant.spec.qualified, isinstance(rule, WhenUndoing), rule.step


def _called(
    function: Callable[..., Any], names: tuple[str, ...], arguments: Mapping[str, Any]
) -> Any:
    """By position as far as that goes, so that a stand-in may name its parameters as it likes."""
    leading: list[Any] = []
    for name in names:
        if name not in arguments:
            break
        leading.append(arguments[name])
    by_name = {name: arguments[name] for name in names[len(leading) :] if name in arguments}
    return function(*leading, **by_name)


def _caller() -> str:
    """The line of the test, for messages."""
    frame = sys._getframe(2)  # noqa: SLF001 - past the rule itself
    while frame.f_back is not None and "/orchestrator/testing/stage/" in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _base(said: str) -> str:
    return said.partition("(")[0]


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def _shown(error: Exception | str) -> str:
    return "" if error == "as the test says" else repr(error)


def check_undo(participant: Participant[..., Any]) -> None:
    """Raise ``StagingError`` unless the participant has an undo."""
    if participant.spec.undo is None:
        raise StagingError(
            f"{participant.spec.qualified} has no undo: nothing of it can be said to fail"
        )


def check_participant(given: object, words: str) -> None:
    """Raise ``StagingError`` that says what to write for what is no participant."""
    if isinstance(given, Participant):
        return
    owner = getattr(given, "__self__", None)
    if isinstance(owner, Participant):
        raise StagingError(f"write sagas.when_undoing({owner.spec.qualified}), without .undo")
    raise StagingError(
        f"sagas.{words}({getattr(given, '__name__', repr(given))}): a participant is needed, that is, a function under "
        "@service.participant; for an undo write sagas.when_undoing(<the action it undoes>)"
    )
