"""The code now at hand: would its participants take what an open run has for them, and give it what it reads?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from orchestrator.definition.expression_text import text_of
from orchestrator.definition.plan import (
    Call,
    Const,
    Element,
    Expr,
    Field,
    Item,
    Let,
    Listing,
    Operation,
    Param,
    Record,
    Result,
)
from orchestrator.definition.signature import Parameter
from orchestrator.definition.static_types import (
    assignable,
    fields_of,
    is_record,
    item_type,
    list_of,
    name_of,
    present,
    union_of,
)
from orchestrator.definition.values import decode
from orchestrator.errors import InvalidInputError
from orchestrator.kernel.program import Program
from orchestrator.participant.declare import Participant
from orchestrator.participant.service import Service
from orchestrator.testing.needs import Need

KEEP = "keep it until these runs have ended"
_READ_BOTH = "have it take the old form too, until these runs have ended"


class Fault(NamedTuple):
    """What would go wrong, and the way out."""

    what: str
    fix: str


class _Known(NamedTuple):
    """What is known of a run."""

    program: Program
    stored: frozenset[str]


class _Lacking(Exception):  # noqa: N818 - found while a type is worked out, and caught at once
    """An expression reads what isn't there any more; the argument says what."""


class Deployed:
    """Participants: those of services here, and contracts of services that live elsewhere."""

    def __init__(
        self, services: Iterable[Service], contracts: Iterable[Participant[..., Any]] = ()
    ) -> None:
        """Contracts of a service that is here too are left out."""
        here = list(services)
        self.local = frozenset(service.name for service in here)
        elsewhere = [one for one in contracts if one.spec.service not in self.local]
        self.remote = frozenset(one.spec.service for one in elsewhere)
        own = [one for service in here for one in service.participants.values()]
        self._participants = {one.spec.qualified: one for one in (*elsewhere, *own)}

    def faults(self, need: Need, program: Program, stored: frozenset[str]) -> Iterator[Fault]:
        """What keeps today's participant from doing what a run needs; ``stored`` are steps whose results are there."""
        call, kind = need.call, need.kind
        qualified = f"{call.service}.{call.participant}"
        if call.service not in self.local | self.remote:
            yield Fault(
                f"it needs {qualified}, and no service of the apps is named {call.service}",
                f"keep it until these runs have ended; name its module with --app, or declare it with "
                f"remote({call.service!r}) if it lives elsewhere",
            )
            return
        participant = self._participants.get(qualified)
        if participant is None:
            yield Fault(f"it needs {qualified}, which is gone", KEEP)
            return
        yield from _settings(call, kind, participant)
        if kind == "undo":
            yield from _undo(need, participant)
        elif kind == "do":
            yield from self._arguments(need, participant, _Known(program, stored))
        else:
            yield from _names(call, participant.spec.parameters, qualified)

    def unread(self, expr: Expr, program: Program, stored: frozenset[str]) -> Iterator[Fault]:
        """What an expression reads that today's participants don't give."""
        try:
            self._type(expr, _Known(program, stored))
        except _Lacking as lacking:
            yield Fault(str(lacking), "keep the field until these runs have ended")

    def _arguments(
        self, need: Need, participant: Participant[..., Any], known: _Known
    ) -> Iterator[Fault]:
        call, parameters = need.call, participant.spec.parameters
        yield from _names(call, parameters, participant.spec.qualified)
        for name, expr in call.args.items():
            parameter = parameters.get(name)
            if parameter is None:
                continue
            if name in need.args:
                yield from _read(need.args[name], parameter.type, participant.spec.qualified, name)
                continue
            try:
                given = self._type(expr, known)
            except _Lacking:
                continue  # said by ``unread``
            if not assignable(given, parameter.type):
                yield Fault(
                    f"{participant.spec.qualified}({name}) takes {name_of(parameter.type)} now, and the plan gives it "
                    f"`{text_of(expr)}`, which is {name_of(given)}",
                    _READ_BOTH,
                )

    def _type(self, expr: Expr, known: _Known) -> Any:
        """The type of an expression by what participants return today. Raises ``_Lacking``."""
        match expr:
            case Result():
                return self._result_type(expr, known)
            case Item():
                return Any
            case Field():
                return self._part(expr.of, expr.name, known)
            case Element():
                return self._part(expr.of, expr.key, known)
            case Const() | Param():
                return Any
            case Operation():
                parts: Iterable[Expr] = expr.args
            case Record():
                parts = expr.fields.values()
            case Listing():
                parts = expr.items
        for part in parts:
            self._type(part, known)
        return Any

    def _result_type(self, expr: Result, known: _Known) -> Any:
        node = known.program.named[expr.step]
        if expr.step in known.stored:
            return Any
        if isinstance(node, Call):
            participant = self._participants.get(f"{node.service}.{node.participant}")
            type_ = Any if participant is None else participant.spec.returns
        elif isinstance(node, Let):
            type_ = self._type(node.value, known)
        else:
            type_ = Any
        for _ in range(len(known.program.scopes[expr.step]) - expr.shared):
            type_ = list_of(type_)
        return type_

    def _part(self, of: Expr, key: str | int, known: _Known) -> Any:
        type_ = self._type(of, known)
        members = present(type_)
        if Any in members:
            return Any
        found = [_part_of(member, key) for member in members]
        if None in found:
            raise _Lacking(
                f"the plan reads `{text_of(of)}`'s {key!r}, and {name_of(type_)}, which it is now, has none"
            )
        return union_of(found)


def _part_of(type_: Any, key: str | int) -> Any:
    """The type of what stands under ``key`` in the JSON of a value; None if nothing does."""
    if not is_record(type_):
        return item_type(type_, key)
    facts = list(fields_of(type_).values())
    if any(fact.key is None for fact in facts):
        return Any
    return next((fact.type for fact in facts if fact.key == key), None)


def _settings(call: Call, kind: str, participant: Participant[..., Any]) -> Iterator[Fault]:
    spec = participant.spec
    if kind == "undo" and call.undo is not None and spec.undo is None:
        yield Fault(f"its undo is needed, and {spec.qualified} has none any more", KEEP)
    if call.barrier and not spec.barrier:
        yield Fault(
            f"{spec.qualified} had a barrier when the run was launched and has none now",
            "keep its Session: the plan relies on the barrier",
        )
    if call.read_only and not spec.read_only:
        yield Fault(
            f"{spec.qualified} was read-only when the run was launched, and isn't now: it would never be undone",
            "give what changes something a new name",
        )
    if call.queue != spec.queue:
        yield Fault(
            f"its commands go to queue {call.queue}, and {spec.qualified} now listens to {spec.queue}",
            f"have a worker serve {call.queue} too, until these runs have ended",
        )


def _names(call: Call, parameters: Any, qualified: str) -> Iterator[Fault]:
    unknown = sorted(set(call.args) - set(parameters))
    if unknown:
        yield Fault(f"{qualified} has no parameter {', '.join(unknown)} any more", KEEP)
    needed = {name for name, parameter in parameters.items() if parameter.required}
    missing = sorted(needed - set(call.args))
    if missing:
        what = f"{qualified} now needs {', '.join(missing)}, which this plan doesn't give"
        yield Fault(what, "give the new parameter a default")


def _undo(need: Need, participant: Participant[..., Any]) -> Iterator[Fault]:
    """Whether an undo can read its action's arguments and result, as they are stored."""
    undo = participant.undo_handler
    if undo is None:
        return  # of a contract: its undo lives elsewhere
    qualified = f"the undo of {participant.spec.qualified}"
    parameters: dict[str, Parameter] = dict(undo.handler.parameters)
    result = None if undo.result is None else parameters.pop(undo.result)
    if result is not None and need.result is not None:
        yield from _read(need.result, result.type, qualified, "its action's result")
    for name, parameter in parameters.items():
        if name in need.args:
            yield from _read(need.args[name], parameter.type, qualified, name)
        elif name not in need.call.args and parameter.required and name not in undo.defaults:
            what = f"{qualified} now needs {name}, which this plan doesn't give"
            yield Fault(what, "give the new parameter a default")


def _read(data: Any, type_: Any, qualified: str, name: str) -> Iterator[Fault]:
    try:
        decode(data, type_, name)
    except InvalidInputError as error:
        yield Fault(f"{qualified} can't read what is stored: {error}", _READ_BOTH)
