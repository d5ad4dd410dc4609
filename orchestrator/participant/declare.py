"""``@service.participant`` and ``@action.undo``: a function becomes an action that sagas call and workers run.

What the orchestrator injects vanishes from the static type, so that a saga calls the action by its own parameters.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.definition.action import Action, ActionSpec
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.plan import Finish, RetryPolicy, Undo
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError
from orchestrator.participant.call import Call
from orchestrator.participant.handler import Handler, UndoHandler, action_handler, undo_handler

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

UNDO_RETRY = Retry(attempts=10, cap=60.0)
"""An undo is tried longer than an action: giving up on it needs a person. So are confirm and cancel."""

Role = Literal["undo", "confirm", "cancel"]
_WITH_ARTICLE = {"undo": "an undo", "confirm": "a confirm", "cancel": "a cancel"}

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""What services and participants may be named."""


class Home(Protocol):
    """What a participant is declared in: a service of this process, or a remote one."""

    name: str
    queue: str
    timeout_s: float
    retry: Retry
    is_remote: bool

    def check(self, handler: Handler) -> None:
        """Raise ``DefinitionError`` if this home can't inject what the function wants."""
        ...

    def has_barrier(self, handler: Handler) -> bool:
        """Whether a barrier row settles if the function took effect."""
        ...

    def can_prepare(self, handler: Handler) -> bool:
        """Whether all the function does can be prepared, to be committed later."""
        ...

    def register(self, participant: Participant[..., Any]) -> None:
        """Take a participant in; ``DefinitionError`` for a name that is taken."""
        ...


class Participant(Action[P, R]):
    """An action of a service. Called inside a saga it records a step; ``function`` is the plain function."""

    def __init__(self, spec: ActionSpec, handler: Handler, home: Home) -> None:
        super().__init__(spec)
        self._home = home
        self.handler = handler
        self.undo_handler: UndoHandler | None = None
        self.confirm_handler: UndoHandler | None = None
        self.cancel_handler: UndoHandler | None = None
        self.function: Callable[..., Any] = handler.function
        """The function as it was written, for tests: ``reserve.function(session, "apple", 2)``."""
        self.__doc__ = handler.function.__doc__
        self.__module__ = handler.function.__module__

    def __repr__(self) -> str:
        return f"<participant {self.spec.qualified}>"

    @property
    def home(self) -> Home:
        """The service, of this process or remote, that it was declared in."""
        return self._home

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing, so that nothing is remembered of it and nothing undone."""
        return self.spec.read_only

    @property
    def is_remote(self) -> bool:
        """Whether it lives in another repository, so that its function is never run here."""
        return self._home.is_remote

    @overload
    def undo(self, function: F, /) -> F: ...
    @overload
    def undo(
        self, /, *, timeout: Duration | None = None, retry: Retry | None = None
    ) -> Callable[[F], F]: ...
    def undo(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """Attach the function that reverses this action; it is returned unchanged.

        Its parameters: a ``Session`` or a ``Call``; one for the action's result; any of the action's own arguments by
        their names. The result may be None where no database of the service proves that the action took effect.
        ``timeout`` (seconds or a timedelta) is the action's, ``retry`` ten attempts unless given. Raises
        ``DefinitionError``.
        """
        names = sys._getframe(1).f_locals  # noqa: SLF001 - annotations may name what is local there
        return self._attaching("undo", function, timeout, retry, names)

    @overload
    def confirm(self, function: F, /) -> F: ...
    @overload
    def confirm(
        self, /, *, timeout: Duration | None = None, retry: Retry | None = None
    ) -> Callable[[F], F]: ...
    def confirm(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """Attach the function that makes this action, a try, final; it is returned unchanged.

        Called once the atomic group has decided to commit; it may not refuse. Parameters and options as for ``undo``.
        Raises ``DefinitionError``.
        """
        return self._attaching("confirm", function, timeout, retry, sys._getframe(1).f_locals)  # noqa: SLF001 - as in undo

    @overload
    def cancel(self, function: F, /) -> F: ...
    @overload
    def cancel(
        self, /, *, timeout: Duration | None = None, retry: Retry | None = None
    ) -> Callable[[F], F]: ...
    def cancel(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """Attach the function that takes this action, a try, back; it is returned unchanged.

        Called when the atomic group has failed. Parameters and options as for ``undo``. Raises ``DefinitionError``.
        """
        return self._attaching("cancel", function, timeout, retry, sys._getframe(1).f_locals)  # noqa: SLF001 - as in undo

    def _attaching(
        self,
        role: Role,
        function: Callable[..., Any] | None,
        timeout: Duration | None,
        retry: Retry | None,
        names: Mapping[str, Any],
    ) -> Any:
        what = f"{self.spec.qualified}.{role}"
        timeout_s = (
            self.spec.timeout_s if timeout is None else seconds(timeout, f"{what}(timeout=)")
        )
        policy = _policy(retry, UNDO_RETRY, what)

        def attach(given: F) -> F:
            self._attach(role, given, timeout_s, policy, names)
            return given

        return attach if function is None else attach(function)

    def _attach(
        self,
        role: Role,
        function: Callable[..., Any],
        timeout_s: float,
        retry: RetryPolicy,
        names: Mapping[str, Any],
    ) -> None:
        spec = self.spec
        if spec.read_only:
            raise DefinitionError(f"{spec.qualified} is read-only: there is nothing to {role}")
        known = getattr(spec, role)
        if known is not None:
            raise DefinitionError(
                f"{spec.qualified} has {_WITH_ARTICLE[role]} already: {known.name}"
            )
        unknown = not spec.barrier and role != "confirm"  # what is confirmed has been heard of
        handler = undo_handler(
            function, self.handler, result_may_be_unknown=unknown, names=names, role=role
        )
        self._home.check(handler.handler)
        name = function.__name__
        if role == "undo":
            self.undo_handler = handler
            self.spec = dataclasses.replace(spec, undo=Undo(name, timeout_s, retry))
        elif role == "confirm":
            self.confirm_handler = handler
            self.spec = dataclasses.replace(spec, confirm=Finish(name, timeout_s, retry))
        else:
            self.cancel_handler = handler
            self.spec = dataclasses.replace(spec, cancel=Finish(name, timeout_s, retry))


@dataclasses.dataclass(frozen=True, slots=True)
class Declare:
    """What ``service.participant`` is: a decorator, and a maker of decorators with options."""

    home: Home
    timeout_s: float | None = None
    retry: RetryPolicy | None = None
    queue: str | None = None
    read_only: bool = False
    name: str | None = None
    has_undo: bool = False
    is_try: bool = False
    touches: tuple[str, ...] = ()

    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncSession, Call, P], Coroutine[Any, Any, R]], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, AsyncSession, P], Coroutine[Any, Any, R]], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncSession, P], Coroutine[Any, Any, R]], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, P], Coroutine[Any, Any, R]], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Participant[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Session, Call, P], R], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, Session, P], R], /
    ) -> Participant[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Session, P], R], /) -> Participant[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Call, P], R], /) -> Participant[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Participant[P, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        queue: str | None = None,
        read_only: bool = False,
        name: str | None = None,
        undo: bool = False,
        tcc: bool = False,
        touches: tuple[str, ...] = (),
    ) -> Declare: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        queue: str | None = None,
        read_only: bool = False,
        name: str | None = None,
        undo: bool = False,
        tcc: bool = False,
        touches: tuple[str, ...] = (),
    ) -> Any:
        """Declare a participant, or, without a function, say how the next one is declared.

        ``timeout`` is for one attempt (seconds or a timedelta); ``retry``, ``timeout`` and ``queue`` are the service's
        unless given; ``read_only`` promises that it changes nothing; ``name`` replaces the function's name; ``touches``
        names what it changes, so that ``saga lint`` can tell when steps at the same time change the same. For remote
        participants only, ``undo`` says that there is one, ``tcc`` that it is a try with a confirm and a cancel. Raises
        ``DefinitionError``.
        """
        if function is not None:
            return self._declared(function, sys._getframe(1).f_locals)  # noqa: SLF001 - as in undo
        what = f"{self.home.name}.participant"
        return Declare(
            self.home,
            None if timeout is None else seconds(timeout, f"{what}(timeout=)"),
            None if retry is None else _policy(retry, retry, what),
            queue,
            read_only,
            name,
            undo,
            tcc,
            touches,
        )

    def _declared(
        self, function: Callable[..., Any], names: Mapping[str, Any]
    ) -> Participant[..., Any]:
        home = self.home
        name = self.name or str(getattr(function, "__name__", ""))
        if not NAME.fullmatch(name):
            raise DefinitionError(
                f"{home.name}: {name!r} is no name for a participant; letters, digits, _ and - only"
            )
        if self.read_only and (self.has_undo or self.is_try):
            raise DefinitionError(f"{home.name}.{name} is read-only: there is nothing to undo")
        handler = action_handler(function, f"{home.name}.{name}", names=names)
        home.check(handler)
        if self.has_undo and not home.is_remote:
            raise DefinitionError(
                f"{home.name}.{name}: undo=True is for remote participants; attach yours with @{name}.undo"
            )
        timeout_s = home.timeout_s if self.timeout_s is None else self.timeout_s
        if self.is_try and not home.is_remote:
            raise DefinitionError(
                f"{home.name}.{name}: tcc=True is for remote participants; attach yours with @{name}.confirm and "
                f"@{name}.cancel"
            )
        policy = UNDO_RETRY.policy()
        undo = Undo(f"{name}.undo", timeout_s, policy) if self.has_undo else None
        spec = ActionSpec(
            service=home.name,
            name=name,
            queue=self.queue or home.queue,
            parameters=handler.parameters,
            returns=handler.returns,
            timeout_s=timeout_s,
            retry=self.retry or home.retry.policy(),
            undo=undo,
            confirm=Finish(f"{name}.confirm", timeout_s, policy) if self.is_try else None,
            cancel=Finish(f"{name}.cancel", timeout_s, policy) if self.is_try else None,
            read_only=self.read_only,
            barrier=home.has_barrier(handler) and not self.read_only,
            two_phase=home.can_prepare(handler) and not self.read_only,
            touches=self.touches,
        )
        participant: Participant[..., Any] = Participant(spec, handler, home)
        home.register(participant)
        return participant


def _policy(retry: Retry | None, default: Retry, what: str) -> RetryPolicy:
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(f"{what}(retry=): a Retry is needed, not {retry!r}")
    return (default if retry is None else retry).policy()
