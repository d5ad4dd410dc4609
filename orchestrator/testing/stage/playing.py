"""Participants as a test has them play: the executor and the barrier see a participant like any other, and what is
behind it is its own function, what a rule says, or a stand-in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from orchestrator.errors import StagingError
from orchestrator.participant.declare import Participant
from orchestrator.participant.handler import Handler, Injected, UndoHandler
from orchestrator.participant.service import RemoteService, Service
from orchestrator.testing.stage.made_up import made_up
from orchestrator.testing.stage.script import Rule
from orchestrator.transport.messages import Work

AnyService = Service | RemoteService
AnyParticipant = Participant[..., Any]


class Scene:
    """The command that is carried out now. ``cancelled``: its function is, for its time is over."""

    def __init__(self, work: Work, rule: Rule | None, *, cancelled: bool) -> None:
        self.work = work
        self.rule = rule
        self.cancelled = cancelled
        self.ran = False
        """Whether a function was called and returned: the participant's own, or a stand-in."""
        self.how = ""
        """What was played instead of the participant's own function; empty if it was that."""
        self.failed: AssertionError | None = None
        """Raised by what the test itself has play."""


class _Part(NamedTuple):
    """What to do for a command: call this, or return that."""

    function: Callable[..., Any] | None
    value: Any = None


class Playing:
    """Makes participants that play, and knows how."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.stand_ins: set[str] = set()
        """``service.action`` of those whose functions aren't to be run."""
        self._unreal: set[str] = set()
        """Keys of effects that only a stand-in had: no function could undo them."""

    def play(self, participant: AnyParticipant, service: Service, *, is_real: bool) -> None:
        """Have the participant play as one of this service, which is real if it has what the functions need."""
        handler, undo, spec = participant.handler, participant.undo_handler, participant.spec
        barrier = handler.wants_session or spec.barrier
        runs = not participant.is_remote and (is_real or not handler.wants_session)
        if runs:
            service.check(handler)
        own = handler.function if runs else None
        player: AnyParticipant = Participant(
            spec, self._handler(handler, participant, own, barrier=barrier), service
        )
        if undo is not None and not participant.is_remote:
            own = undo.handler.function if is_real or not undo.handler.wants_session else None
            back = self._handler(undo.handler, participant, own, barrier=barrier)
            player.undo_handler = dataclasses.replace(undo, handler=back)
        elif spec.undo is not None:
            bare = Handler(handler.function, f"{handler.name}.undo", {}, {}, None, is_async=False)
            back = self._handler(bare, participant, None, barrier=barrier)
            player.undo_handler = UndoHandler(back, None, {})
        service.register(player)

    def _handler(
        self,
        handler: Handler,
        participant: AnyParticipant,
        own: Callable[..., Any] | None,
        *,
        barrier: bool,
    ) -> Handler:
        """The same to the executor. What has no function of its own needs a session only for the barrier's promise."""

        def played(**arguments: Any) -> Any:
            function, value = self._part(participant, own, arguments)
            if function is None:
                return value
            value = function(**arguments)
            self._now.ran = True
            return value

        async def played_async(**arguments: Any) -> Any:
            function, value = self._part(participant, own, arguments)
            if function is None:
                return value
            value = await function(**arguments)
            self._now.ran = True
            return value

        if own is not None:
            chosen = played_async if handler.is_async else played
            return dataclasses.replace(handler, function=chosen)
        injected: dict[Injected, str] = {"session": "_session"} if barrier else {}
        return dataclasses.replace(handler, function=played, injected=injected, is_async=False)

    @property
    def _now(self) -> Scene:
        if self.scene is None:
            raise StagingError("a participant of a test was called by somebody else")
        return self.scene

    def _part(
        self,
        participant: AnyParticipant,
        own: Callable[..., Any] | None,
        arguments: Mapping[str, Any],
    ) -> _Part:
        scene = self._now
        work, undo = scene.work, scene.work.kind == "undo"
        if scene.cancelled:
            raise TimeoutError(f"cancelled after {work.timeout_s:g} s")
        outcome = None if scene.rule is None else scene.rule.outcome()
        if outcome is not None:
            scene.how = outcome.said
            try:
                value = outcome.act(arguments)
            except AssertionError as error:
                scene.failed = error if outcome.by_test else None
                raise
        elif self._has_stand_in(participant, own, work):
            scene.how = "stand-in"
            qualified = participant.spec.qualified
            value = None if undo else made_up(participant.handler.returns, qualified)
        else:
            self._unreal.discard(work.effect_key)
            return _Part(own)
        scene.ran = True
        if not undo:
            self._unreal.add(work.effect_key)
        return _Part(None, value)

    def _has_stand_in(
        self, participant: AnyParticipant, own: Callable[..., Any] | None, work: Work
    ) -> bool:
        unreal = work.kind == "undo" and work.effect_key in self._unreal
        return own is None or unreal or participant.spec.qualified in self.stand_ins
