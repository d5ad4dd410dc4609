"""What the source of participants says, for ``saga verify`` and ``saga lint``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from orchestrator.definition.facts import Facts, read_facts
from orchestrator.definition.saga import Saga
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import RemoteService, Service


def facts_of(services: Iterable[Service]) -> dict[str, Facts]:
    """By ``service.action``, for every participant of these services."""
    return {
        participant.spec.qualified: _facts(participant)
        for service in services
        for participant in service.participants.values()
    }


def facts_about(saga: Saga[..., Any]) -> dict[str, Facts]:
    """The same for the participants that a saga calls. Raises ``DefinitionError`` for one that can't be compiled."""
    return {name: _facts(one) for name, one in saga.actions.items() if isinstance(one, Participant)}


def participants_near(function: Callable[..., Any]) -> dict[str, Participant[..., Any]]:
    """By ``service.action``, every participant that a saga's function, or the modules it refers to, can see."""
    return {one.spec.qualified: one for one in _seen(function, set())}


def _facts(participant: Participant[..., Any]) -> Facts:
    spec = participant.spec
    returns = spec.returns not in {None, type(None)}
    if participant.is_remote:
        return Facts(returns=returns, undo_takes_result=True, touches=spec.touches)
    undo = participant.undo_handler
    return read_facts(
        participant.handler.function,
        None if undo is None else undo.handler.function,
        None if undo is None else undo.result,
        call=participant.handler.injected.get("call"),
        returns=returns,
        touches=spec.touches,
    )


def _seen(function: Callable[..., Any], known: set[int]) -> Iterator[Participant[..., Any]]:
    known.add(id(function))
    for value in _values(function):
        inside = vars(value).values() if isinstance(value, ModuleType) else (value,)
        for thing in list(inside):
            if isinstance(thing, Participant):
                yield thing
            elif isinstance(thing, Service | RemoteService):
                yield from thing.participants.values()
            elif isinstance(thing, Saga) and id(thing.function) not in known:
                yield from _seen(thing.function, known)


def _values(function: Callable[..., Any]) -> Iterator[Any]:
    yield from getattr(function, "__globals__", {}).values()
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet assigned
            continue
