"""``Handler``: a participant's function as the worker sees it: what to inject, what to decode, what it returns.

Read once, when the function is declared, so that a mistake shows at import and a command costs no inspection.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orchestrator.definition.signature import REQUIRED, Parameter, read_hints, read_signature
from orchestrator.definition.static_types import alternatives, assignable, name_of, plain
from orchestrator.definition.values import check_size, decode, encode
from orchestrator.errors import DefinitionError, InvalidInputError
from orchestrator.participant.call import Call

Injected = Literal["session", "async session", "call"]

_INJECTED: dict[Any, Injected] = {Session: "session", AsyncSession: "async session", Call: "call"}


@dataclass(frozen=True, slots=True)
class Handler:
    """A function with what it needs to be called by a worker."""

    function: Callable[..., Any]
    name: str
    """Qualified, for errors."""
    injected: Mapping[Injected, str]
    """What is injected, and the name of the parameter it goes to."""
    parameters: Mapping[str, Parameter]
    """The function's own parameters."""
    returns: Any
    is_async: bool

    @property
    def wants_session(self) -> bool:
        """Whether the function's effect is in the service's database."""
        return "session" in self.injected or "async session" in self.injected

    def arguments(
        self, data: Mapping[str, Any], call: Call, defaults: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The keyword arguments for a command's JSON, without a session.

        ``defaults`` stand in, as they are, for what is left out. Raises ``InvalidInputError`` for an argument that is
        missing, unknown or of the wrong type.
        """
        unknown = sorted(set(data) - set(self.parameters))
        if unknown:
            raise InvalidInputError(
                f"{self.name} has no parameter {', '.join(unknown)}; it has "
                f"{', '.join(self.parameters) or 'none'}"
            )
        arguments = dict(defaults or {})
        for name, parameter in self.parameters.items():
            if name in data:
                arguments[name] = decode(data[name], parameter.type, f"{self.name}({name})")
            elif parameter.required and name not in arguments:
                raise InvalidInputError(f"{self.name}({name}): the argument is missing")
        if "call" in self.injected:
            arguments[self.injected["call"]] = call
        return arguments

    def encoded(self, result: Any, limit: int) -> str | None:
        """A result as JSON text, None for null.

        Raises ``EncodingError``, ``InvalidInputError`` when it isn't of the declared type, ``PayloadTooLargeError``.
        """
        if result is None and self.returns in {None, type(None), Any}:
            return None
        where = f"the result of {self.name}"
        data = encode(result, where)
        decode(data, self.returns, where)
        raw = msgspec.json.encode(data)
        check_size(raw, limit, where)
        return None if data is None else raw.decode()


def action_handler(
    function: Callable[..., Any], name: str, *, names: Mapping[str, Any] | None = None
) -> Handler:
    """Read an action. Raises ``DefinitionError`` for what can't work."""
    if not callable(function):
        raise DefinitionError(f"{name}: a participant is a function, not {function!r}")
    injected = _injected(function, name, names)
    parameters, returns = read_signature(function, name, skip=injected.values(), names=names)
    is_async = inspect.iscoroutinefunction(function)
    _check_session(injected, name, is_async=is_async)
    return Handler(function, name, injected, parameters, returns, is_async)


@dataclass(frozen=True, slots=True)
class UndoHandler:
    """An undo, a confirm or a cancel with what it takes of its action."""

    handler: Handler
    result: str | None
    """The parameter that gets the action's result."""
    defaults: Mapping[str, Any]
    """What the action's own defaults stand for where a call left them out."""

    def arguments(self, args: Mapping[str, Any], result: Any, call: Call) -> dict[str, Any]:
        """The keyword arguments for the action's arguments and result, both JSON. Raises ``InvalidInputError``."""
        data = {name: value for name, value in args.items() if name in self.handler.parameters}
        if self.result is not None:
            data[self.result] = result
        return self.handler.arguments(data, call, self.defaults)


def undo_handler(
    function: Callable[..., Any],
    action: Handler,
    *,
    result_may_be_unknown: bool,
    names: Mapping[str, Any] | None = None,
    role: str = "undo",
) -> UndoHandler:
    """Read the undo of an action, or what else follows it and takes what it took: its confirm, its cancel.

    ``result_may_be_unknown``: no barrier row proves that the action took effect, so its result may be None.
    Raises ``DefinitionError`` for what can't work.
    """
    handler = action_handler(function, f"{action.name}, {role} {_name(function)}", names=names)
    others = [name for name in handler.parameters if name not in action.parameters]
    if len(others) > 1:
        raise DefinitionError(
            f"{handler.name}: one parameter takes the action's result, but {', '.join(others)} are no arguments of "
            f"{action.name}, which has {', '.join(action.parameters) or 'none'}"
        )
    for name, parameter in handler.parameters.items():
        if name in action.parameters and not _fits(action.parameters[name].type, parameter.type):
            raise DefinitionError(
                f"{handler.name}: {name!r} is declared {name_of(parameter.type)}, in the action "
                f"{name_of(action.parameters[name].type)}"
            )
    result = others[0] if others else None
    if result is not None:
        _check_result(handler, result, action, unknown=result_may_be_unknown)
    defaults = {
        name: action.parameters[name].default
        for name in handler.parameters
        if name in action.parameters and action.parameters[name].default is not REQUIRED
    }
    return UndoHandler(handler, result, defaults)


def _injected(
    function: Callable[..., Any], name: str, names: Mapping[str, Any] | None
) -> dict[Injected, str]:
    hints = read_hints(function, name, names=names)
    found: dict[Injected, str] = {}
    data_begun = False
    for parameter in inspect.signature(function).parameters:
        kind = _injected_kind(hints.get(parameter))
        if kind is None:
            data_begun = True
            continue
        if data_begun:
            raise DefinitionError(
                f"{name}: {parameter!r} is given by the orchestrator and has to stand before the action's own "
                "parameters"
            )
        if kind in found:
            raise DefinitionError(f"{name}: {found[kind]!r} and {parameter!r} are both a {kind}")
        found[kind] = parameter
    return found


def _injected_kind(annotation: Any) -> Injected | None:
    if annotation is None:
        return None
    type_ = plain(annotation)
    return next((kind for base, kind in _INJECTED.items() if type_ is base), None)


def _check_session(injected: Mapping[Injected, str], name: str, *, is_async: bool) -> None:
    if is_async and "session" in injected:
        raise DefinitionError(
            f"{name}: an async participant declares an AsyncSession, not a Session"
        )
    if not is_async and "async session" in injected:
        raise DefinitionError(
            f"{name}: an AsyncSession needs an async participant; declare a Session"
        )


def _check_result(handler: Handler, result: str, action: Handler, *, unknown: bool) -> None:
    wanted = handler.parameters[result].type
    if not _fits(action.returns, wanted):
        raise DefinitionError(
            f"{handler.name}: {result!r} is declared {name_of(wanted)}, but {action.name} returns "
            f"{name_of(action.returns)}"
        )
    if unknown and not _takes_none(wanted):
        raise DefinitionError(
            f"{handler.name}: declare {result!r} as {name_of(wanted)} | None: the action's effect isn't in the "
            "service's database, so it may have to be undone without its result being known; then go by "
            "call.idempotency_key"
        )


def _fits(source: Any, target: Any) -> bool:
    if _takes_none(source) and not _takes_none(target) and plain(source) is not Any:
        return False
    return assignable(source, target)


def _takes_none(type_: Any) -> bool:
    members = alternatives(type_)
    return type(None) in members or Any in members


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
