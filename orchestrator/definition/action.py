"""What a participant looks like to a saga: calling it records a step and gives a typed reference to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar, cast

from orchestrator.definition.building import Building, caller, require
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.lifting import lift, origins
from orchestrator.definition.plan import Branch, Call, Each, Expr, Finish, Result, RetryPolicy, Undo
from orchestrator.definition.redacted import redacted_paths
from orchestrator.definition.references import Reference, expr_of, type_of
from orchestrator.definition.retry import Retry
from orchestrator.definition.signature import Parameter, bind, redacted_parameters
from orchestrator.definition.static_types import element_type, list_of, name_of, union_of
from orchestrator.errors import DefinitionError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """Everything a plan needs to know of a participant's action.

    ``parameters`` are those that travel (no injected session), ``timeout_s`` is for one attempt, ``barrier`` says that
    the participant has a database, so that a barrier row settles whether the action took effect.
    """

    service: str
    name: str
    queue: str
    timeout_s: float
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    returns: Any = Any
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    undo: Undo | None = None
    read_only: bool = False
    barrier: bool = False
    two_phase: bool = False
    """Its work can be prepared: the service allows it, and all the work is in the service's database."""
    confirm: Finish | None = None
    cancel: Finish | None = None
    """With both, the action is a try: its effect is confirmed or cancelled later."""
    touches: tuple[str, ...] = ()
    """Names of what it changes, for lint; no part of a plan."""

    @property
    def qualified(self) -> str:
        """``service.action``."""
        return f"{self.service}.{self.name}"


@dataclass(frozen=True, slots=True)
class _Options:
    timeout_s: float | None = None
    retry: RetryPolicy | None = None
    name: str | None = None


class Invocation(Generic[P, R]):
    """An action with modifiers, ready to be called: what ``action.options(...)`` gives."""

    __slots__ = ("_action", "_options")

    def __init__(self, action: Action[P, R], options: _Options) -> None:
        self._action = action
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a step; the reference to its result is typed as the result."""
        return cast(R, self._record(args, kwargs, pivot=False))

    def pivot(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record the step after which the run only goes forward: it and all later ones are retried, never undone."""
        return cast(R, self._record(args, kwargs, pivot=True))

    def map(self, items: Iterable[T], using: Callable[[T], Any] | None = None) -> list[R]:
        """Record a step for every item of a list known only when the saga runs, all at the same time.

        ``using`` makes the arguments from an item: a tuple of them, or the only one. Without it the item is the
        only argument. The reference is to the list of results, in the items' order.
        """
        building = self._building("map")
        what = f"{self._action.spec.qualified}.map()"
        return cast(list[R], record_each(building, what, items, using, self._record_item))

    def options(
        self,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        name: str | None = None,
    ) -> Invocation[P, R]:
        """The same with other modifiers; those given before stay. See ``Action.options``."""
        return Invocation(
            self._action, _merged(self._options, timeout, retry, name, self._action.spec.qualified)
        )

    def _building(self, how: str) -> Building:
        qualified = self._action.spec.qualified
        shown = qualified if how == "call" else f"{qualified}.{how}"
        return require(
            f"{shown}()",
            f"to run its function itself, as tests do, call `{self._action.spec.name}.function(...)`",
        )

    def _base_name(self) -> str:
        return self._options.name or self._action.spec.name

    def _record_item(self, args: tuple[Any, ...]) -> Reference:
        return self._record(args, {}, pivot=False)

    def _record(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, pivot: bool
    ) -> Reference:
        building = self._building("pivot" if pivot else "call")
        spec, options = self._action.spec, self._options
        expressions = express(building, spec.parameters, args, kwargs, spec.qualified)
        building.actions[spec.qualified] = self._action
        name = building.name(self._base_name(), explicit=options.name is not None)
        place = building.place()
        building.add(
            Call(
                name=name,
                service=spec.service,
                participant=spec.name,
                queue=spec.queue,
                args=expressions,
                timeout_s=spec.timeout_s if options.timeout_s is None else options.timeout_s,
                retry=spec.retry if options.retry is None else options.retry,
                undo=spec.undo,
                pivot=pivot,
                read_only=spec.read_only,
                barrier=spec.barrier,
                source=caller(),
                branch=_branch(building, self._action),
                confirm=spec.confirm,
                cancel=spec.cancel,
                redacted=redacted_parameters(spec.parameters),
                redacted_result=redacted_paths(spec.returns),
            )
        )
        return building.result(name, spec.returns, place)


class Action(Generic[P, R]):
    """A participant's action as a saga sees it. ``spec`` may be replaced until the saga's plan is compiled."""

    spec: ActionSpec

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a step of the saga being defined; the reference to its result is typed as the result.

        Raises ``DefinitionError`` outside a saga, and for arguments that don't fit.
        """
        return self._plain()(*args, **kwargs)

    def pivot(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record the step after which the run only goes forward: it and all later ones are retried, never undone."""
        return self._plain().pivot(*args, **kwargs)

    def map(self, items: Iterable[T], using: Callable[[T], Any] | None = None) -> list[R]:
        """Record a step for every item of a list known only when the saga runs; see ``Invocation.map``."""
        return self._plain().map(items, using)

    def options(
        self,
        *,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        name: str | None = None,
    ) -> Invocation[P, R]:
        """Modifiers for one step, given before the call: ``charge.options(timeout=60)(customer, total)``.

        ``timeout`` is for one attempt (seconds or a timedelta), ``retry`` replaces the action's, ``name`` the step's
        name, which must be unique in the saga. The undo keeps its own timeout and retries.
        """
        return self._plain().options(timeout=timeout, retry=retry, name=name)

    def _plain(self) -> Invocation[P, R]:
        return Invocation(self, _Options())


def _branch(building: Building, action: Action[..., Any]) -> Branch:
    """How the action takes part in the atomic group that is open; ``DefinitionError`` if it can't."""
    group, spec = building.in_atomic, action.spec
    if group is None:
        return ""
    if group.last is action:
        if not spec.barrier:
            raise building.error(
                f"{spec.qualified} can't be the last of atomic(): it has no database whose row says whether it took "
                "effect; declare a Session, or @confirm and @cancel"
            )
        return "last"
    if spec.read_only:
        return "reader"
    if spec.confirm is not None and spec.cancel is not None:
        return "tcc"
    if spec.confirm is not None or spec.cancel is not None:
        missing = "cancel" if spec.cancel is None else "confirm"
        raise building.error(
            f"{spec.qualified} can't be inside atomic(): it has no {missing}; add @{spec.name}.{missing}"
        )
    if spec.two_phase:
        return "database"
    raise building.error(
        f"{spec.qualified} can't be inside atomic(): {_why_not(spec)}, give it @{spec.name}.confirm and "
        f"@{spec.name}.cancel, or name it in atomic(last=...)"
    )


def _why_not(spec: ActionSpec) -> str:
    if not spec.barrier:
        return "its work isn't in a database of its service; declare a Session"
    return (
        f"its service doesn't allow two-phase commit; say Service({spec.service!r}, two_phase=True)"
    )


def express(
    building: Building,
    parameters: Mapping[str, Parameter],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    what: str,
) -> dict[str, Expr]:
    """The arguments of a call as expressions; ``DefinitionError`` names the parameter that doesn't fit."""
    try:
        arguments = bind(parameters, args, kwargs, what)
    except TypeError as error:
        raise building.error(str(error)) from None
    expressions = {}
    for name, value in arguments.items():
        try:
            expressions[name] = lift(
                value, parameters[name].type, f"{what}: parameter {name!r}", building.use
            )
        except DefinitionError as error:
            if str(error).startswith("saga "):
                raise
            raise building.error(str(error)) from error.__cause__
    return expressions


def record_each(
    building: Building,
    what: str,
    items: Any,
    using: Callable[[Any], Any] | None,
    record: Callable[[tuple[Any, ...]], Reference],
) -> Reference:
    """Record a fan-out over ``items``: what ``record`` does with the arguments made from one item."""
    element = _element_of(items)
    if element is None:
        given = type_of(items) if isinstance(items, Reference) else type(items)
        raise building.error(f"{what} needs a list, not {name_of(given)}")
    try:
        expr = lift(items, list_of(element), f"{what}: items", building.use)
    except DefinitionError as error:
        raise building.error(str(error)) from error
    place = building.place()
    with building.block("each") as block:
        item = building.item(element, origins(items))
        made: Any = item if using is None else using(cast(Any, item))
        inner = record(made if type(made) is tuple else (made,))
    step = _step_of(inner)
    building.add(Each(building.name_of_items(step), expr, block.node()))
    return building.result(step, list_of(type_of(inner)), place)


def _element_of(items: Any) -> Any:
    if isinstance(items, Reference):
        return element_type(type_of(items))
    if not isinstance(items, list | tuple | set | frozenset):
        return None
    return union_of(type_of(item) if isinstance(item, Reference) else type(item) for item in items)


def _step_of(reference: Reference) -> str:
    expr = expr_of(reference)
    assert isinstance(expr, Result), expr
    return expr.step


def _merged(
    before: _Options, timeout: Duration | None, retry: Retry | None, name: str | None, what: str
) -> _Options:
    return _Options(
        timeout_s=before.timeout_s
        if timeout is None
        else seconds(timeout, f"{what}.options(timeout=)"),
        retry=before.retry if retry is None else retry.policy(),
        name=before.name if name is None else name,
    )
