"""Sagas: a function that calls participants, compiled once to a plan."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar, cast

from orchestrator.definition.action import Action, express, record_each
from orchestrator.definition.building import Building, building, require, source_of
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.ended import Ended
from orchestrator.definition.invariant import Invariant
from orchestrator.definition.lifting import lift, origins
from orchestrator.definition.plan import CALLBACKS, Call, Const, Expr, Let, Param, Plan, decode_plan
from orchestrator.definition.redacted import redacted_paths
from orchestrator.definition.references import Reference
from orchestrator.definition.rules import checked
from orchestrator.definition.signature import bind, read_signature, redacted_parameters
from orchestrator.definition.static_types import alternatives, name_of
from orchestrator.definition.values import decode, encode
from orchestrator.errors import DefinitionError, InvalidInputError, UnknownSagaError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A", bound=Action[..., Any])
V = TypeVar("V", bound=Invariant)


class Registry:
    """Sagas by name; a name belongs to one function."""

    def __init__(self) -> None:
        self._sagas: dict[str, Saga[..., Any]] = {}

    def add(self, saga: Saga[..., Any]) -> None:
        """Register a saga. A module that is loaded again replaces its own sagas; any other function under a name
        that is taken raises ``DefinitionError``."""
        known = self._sagas.get(saga.name)
        if known is not None and _origin(known) != _origin(saga):
            raise DefinitionError(
                f"two sagas are named {saga.name!r}: {_origin(known)} and {_origin(saga)}; "
                "rename one, or give it @saga(name=...)"
            )
        self._sagas[saga.name] = saga

    def get(self, name: str) -> Saga[..., Any]:
        """The saga of this name. Raises ``UnknownSagaError`` that lists the known ones."""
        try:
            return self._sagas[name]
        except KeyError:
            known = ", ".join(sorted(self._sagas)) or "none; import the modules that define them"
            raise UnknownSagaError(f"no saga is named {name!r}; known: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._sagas

    def __iter__(self) -> Iterator[Saga[..., Any]]:
        """The sagas in the order of their names."""
        return iter([self._sagas[name] for name in sorted(self._sagas)])

    def __len__(self) -> int:
        return len(self._sagas)

    @contextmanager
    def isolated(self) -> Generator[None]:
        """Start empty and put everything back at the end: for tests that define sagas of their own."""
        kept = self._sagas
        self._sagas = {}
        try:
            yield
        finally:
            self._sagas = kept


SAGAS = Registry()
"""Where ``@saga`` registers unless told otherwise."""


def saga(
    *,
    version: int = 1,
    timeout: Duration | None = None,
    name: str | None = None,
    registry: Registry = SAGAS,
) -> Callable[[Callable[P, R]], Saga[P, R]]:
    """Make a saga of a function whose body calls participants.

    ``version`` must grow when the plan changes while runs of the old one exist; ``timeout`` (seconds or a timedelta)
    is for a whole run up to its pivot; ``name`` replaces the function's name. Raises ``DefinitionError``.
    """
    if version < 1:
        raise DefinitionError(f"@saga(version=): 1 or more, not {version!r}")
    timeout_s = None if timeout is None else seconds(timeout, "@saga(timeout=)")
    names = sys._getframe(1).f_locals  # noqa: SLF001 - classes defined beside the saga in a function

    def decorate(function: Callable[P, R]) -> Saga[P, R]:
        made = Saga(function, version, timeout_s, name or function.__name__, names)
        registry.add(made)
        return made

    return decorate


class Saga(Generic[P, R]):
    """A saga: launched by a client, or called inside another saga, where its steps become the other's."""

    def __init__(
        self,
        function: Callable[P, R],
        version: int,
        timeout_s: float | None,
        name: str,
        names: dict[str, Any],
    ) -> None:
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(
                f"saga {name!r} must be a plain function: it records steps and awaits nothing"
            )
        self.function = function
        self.name = name
        self.version = version
        self.timeout_s = timeout_s
        self.parameters, self.result_type = read_signature(function, f"saga {name!r}", names=names)
        self._callbacks: dict[str, list[Action[..., Any]]] = {}
        self._plan: Plan | None = None
        self._plan_hash: str | None = None
        self._signals: dict[str, Any] = {}
        self._actions: dict[str, Action[..., Any]] = {}
        self._sources: dict[str, str] = {}
        self.invariants: list[Invariant] = []
        """What ``saga verify`` checks of every ending; no part of the plan."""
        self.accepted: dict[tuple[str, str], str] = {}
        """Findings of ``saga lint`` that are as they should be, by finding and step; with the reason."""
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __repr__(self) -> str:
        return f"<saga {self.name} version {self.version}>"

    @property
    def plan(self) -> Plan:
        """The saga as data; compiled when first asked for. Raises ``DefinitionError``."""
        if self._plan is None:
            self._plan = self._compiled()
        return self._plan

    @property
    def plan_hash(self) -> str:
        """The plan's content hash, worked out once."""
        if self._plan_hash is None:
            self._plan_hash = self.plan.hash
        return self._plan_hash

    @property
    def signals(self) -> dict[str, Any]:
        """The signals its steps wait for, with the type of data each carries."""
        _ = self.plan
        return dict(self._signals)

    @property
    def actions(self) -> dict[str, Action[..., Any]]:
        """The actions that its steps and callbacks call, by ``service.action``. Raises ``DefinitionError``."""
        _ = self.plan
        back = (action for actions in self._callbacks.values() for action in actions)
        return {**self._actions, **{action.spec.qualified: action for action in back}}

    @property
    def sources(self) -> dict[str, str]:
        """File and line of every named part of its plan, conditions and waits among them."""
        _ = self.plan
        return dict(self._sources)

    # -- launching

    def encode_input(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Launch arguments as the run's input: every parameter, defaults filled in. Raises ``InvalidInputError``."""
        try:
            given = bind(self.parameters, args, kwargs, self.name)
        except TypeError as error:
            raise InvalidInputError(str(error)) from None
        encoded = {}
        for name, parameter in self.parameters.items():
            data = encode(given.get(name, parameter.default), name)
            encoded[name] = encode(decode(data, parameter.type, name), name)
        return encoded

    def decode_result(self, data: Any) -> R:
        """A run's result from its JSON. Raises ``InvalidInputError``."""
        return cast(R, decode(data, self.result_type, f"the result of {self.name}"))

    # -- callbacks

    def on_completed(self, action: A) -> A:
        """Have this participant told when a run has completed; it takes one parameter, an ``Ended``."""
        return self._call_back("on_completed", action)

    def on_compensated(self, action: A) -> A:
        """Have this participant told when a run was compensated; it takes one parameter, an ``Ended``."""
        return self._call_back("on_compensated", action)

    def on_stuck(self, action: A) -> A:
        """Have this participant told when a run gets stuck; it takes one parameter, an ``Ended``."""
        return self._call_back("on_stuck", action)

    # -- proof

    def invariant(self, check: V) -> V:
        """Have ``saga verify`` check this of every way a run can end; it is given a ``Ledger`` and an ``Outcome``.

        It raises ``AssertionError``, or returns False, where something is wrong.
        """
        self.invariants.append(check)
        return check

    def accept(self, finding: str, step: str, *, reason: str) -> None:
        """Have ``saga lint`` keep quiet about this finding at this step; the reason is shown with ``--all``."""
        if not reason.strip():
            raise DefinitionError(f"{self.name}.accept({finding!r}, {step!r}): give the reason")
        self.accepted[finding, step] = reason

    # -- inside another saga

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make this saga's steps part of the one being defined; its compensation is that of its steps."""
        outer = self._require("call")
        base = outer.name(self.name)
        place = outer.place()
        with outer.block("sequence") as block:
            value: Any = self._inlined(outer, base, args, kwargs)
            expr = self._result(outer, value)
            if not block.nodes:
                raise outer.error(f"saga {self.name!r} has no step")
            if value is not None and not isinstance(value, Reference):
                outer.add(Let(base, expr))
                value = outer.result(base, self.result_type, place)
        outer.add(block.node())
        return cast(R, value)

    def map(self, items: Iterable[T], using: Callable[[T], Any] | None = None) -> list[R]:
        """Run this saga's steps for every item of a list, all at the same time; see ``Action.map``."""
        outer = self._require("map")

        def record(args: tuple[Any, ...]) -> Reference:
            base = outer.name(self.name)
            place = outer.place()
            value = self._inlined(outer, base, args, {})
            outer.add(Let(base, self._result(outer, value)))
            return outer.result(base, self.result_type, place)

        return cast(list[R], record_each(outer, f"{self.name}.map()", items, using, record))

    # -- how it is done

    def _require(self, how: str) -> Building:
        shown = self.name if how == "call" else f"{self.name}.{how}"
        return require(f"{shown}()", f"to run the saga, use client.launch({self.name}, ...)")

    def _inlined(
        self, outer: Building, base: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self in outer.inlining:
            raise outer.error(
                f"saga {self.name!r} calls itself; a plan is finite, so use .map() or launch another run"
            )
        expressions = express(outer, self.parameters, args, kwargs, self.name)
        given = bind(self.parameters, args, kwargs, self.name)
        with outer.within(base):
            return self._run(outer, {n: (e, origins(given[n])) for n, e in expressions.items()})

    def _run(self, at: Building, given: dict[str, tuple[Expr, tuple[Any, ...]]]) -> Any:
        arguments: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            expr, places = (
                given[name] if name in given else (Const(encode(parameter.default, name)), ())
            )
            arguments[name] = Reference(expr, parameter.type, at, places)
        at.inlining.append(self)
        try:
            return cast(Callable[..., Any], self.function)(**arguments)
        except DefinitionError:
            raise
        except Exception as error:
            error.add_note(
                f"while defining saga {self.name!r}: its function runs once, with references instead of values"
            )
            raise
        finally:
            at.inlining.pop()

    def _result(self, at: Building, value: Any) -> Expr:
        try:
            return lift(value, self.result_type, f"the result of {self.name}", at.use)
        except DefinitionError as error:
            if str(error).startswith("saga "):
                raise
            raise at.error(str(error), source_of(self.function)) from error.__cause__

    def _compiled(self) -> Plan:
        at = Building(self.name)
        with building(at):
            value = self._run(at, {name: (Param(name), ()) for name in self.parameters})
            result = self._result(at, value)
            body = checked(self.name, at.body())
        self._signals = at.signals
        self._actions = at.actions
        self._sources = at.sources
        plan = Plan(
            saga=self.name,
            version=self.version,
            parameters={
                name: name_of(parameter.type) for name, parameter in self.parameters.items()
            },
            body=body,
            result=result,
            timeout_s=self.timeout_s,
            callbacks={
                event: tuple(_callback(action, event) for action in self._callbacks[event])
                for event in CALLBACKS
                if event in self._callbacks
            },
            optional=tuple(
                name for name, parameter in self.parameters.items() if not parameter.required
            ),
            redacted=redacted_parameters(self.parameters),
            redacted_result=redacted_paths(self.result_type),
        )
        return decode_plan(
            plan.encoded()
        )  # as it will be read back: an int timeout is a float there

    def _call_back(self, event: str, action: A) -> A:
        given: Any = action
        if not isinstance(given, Action):
            raise DefinitionError(
                f"@{self.name}.{event} takes a participant, not {given!r}; decorate it as one first"
            )
        if self._plan is not None:
            raise DefinitionError(
                f"@{self.name}.{event}: the plan of {self.name!r} is in use already; "
                "register callbacks in the module that defines the saga"
            )
        _callback_parameter(action, f"@{self.name}.{event}")
        self._callbacks.setdefault(event, []).append(action)
        return action


def _callback_parameter(action: Action[..., Any], what: str) -> str:
    spec = action.spec
    needed = [name for name, parameter in spec.parameters.items() if parameter.required]
    name = needed[0] if needed else next(iter(spec.parameters), "")
    fits = name and any(t in {Ended, Any} for t in alternatives(spec.parameters[name].type))
    if len(needed) > 1 or not fits:
        raise DefinitionError(f"{what}: {spec.qualified} must take one parameter, an `Ended`")
    return name


def _callback(action: Action[..., Any], event: str) -> Call:
    """The kernel fills the one argument when the run ends."""
    spec = action.spec
    return Call(
        name=event,
        service=spec.service,
        participant=spec.name,
        queue=spec.queue,
        args={_callback_parameter(action, event): Const(None)},
        timeout_s=spec.timeout_s,
        retry=spec.retry,
        read_only=spec.read_only,
        barrier=spec.barrier,
    )


def _origin(saga: Saga[..., Any]) -> str:
    return f"{saga.function.__module__}.{saga.function.__qualname__}"
