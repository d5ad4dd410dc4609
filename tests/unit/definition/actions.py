"""Actions for the tests of the definition: plain functions made into what a saga can call."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from orchestrator.definition.action import Action, ActionSpec
from orchestrator.definition.plan import Call, Plan, RetryPolicy, Undo
from orchestrator.definition.saga import Registry, Saga, saga
from orchestrator.definition.signature import read_signature

P = ParamSpec("P")
R = TypeVar("R")

UNDO = Undo("back", 5.0, RetryPolicy())


def action(
    function: Callable[P, R],
    *,
    undo: Undo | None = UNDO,
    read_only: bool = False,
    service: str = "shop",
    timeout_s: float = 10.0,
) -> Action[P, R]:
    """Make an action of a function; with an undo unless told otherwise."""
    parameters, returns = read_signature(function, function.__name__)
    return Action(
        ActionSpec(
            service=service,
            name=function.__name__,
            queue=service,
            parameters=parameters,
            returns=returns,
            timeout_s=timeout_s,
            undo=None if read_only else undo,
            read_only=read_only,
            barrier=True,
        )
    )


def final(function: Callable[P, R]) -> Action[P, R]:
    """Make an action without an undo."""
    return action(function, undo=None)


def reading(function: Callable[P, R]) -> Action[P, R]:
    """Make an action that changes nothing."""
    return action(function, read_only=True)


def define(function: Callable[P, R], **options: Any) -> Saga[P, R]:
    """Make a saga in a registry of its own."""
    return saga(registry=Registry(), **options)(function)


def compiled(function: Callable[..., Any]) -> Plan:
    """Define a saga and give its plan."""
    return define(function).plan


def call(plan: Plan, name: str) -> Call:
    """Find a call of a plan."""
    found = next(step for step, _ in plan.steps() if step.name == name)
    assert isinstance(found, Call)
    return found
