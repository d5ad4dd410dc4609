"""Small plans drawn by chance, with steps beside each other, of every kind that the explorer tells apart."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from orchestrator.definition.facts import Facts
from orchestrator.definition.plan import (
    Call,
    Node,
    Parallel,
    Plan,
    RetryPolicy,
    Sequence,
    Undo,
    Wait,
)
from orchestrator.kernel.program import Program
from orchestrator.testing.world import Space

_POLICIES = (
    RetryPolicy(attempts=1, jitter=0.0),
    RetryPolicy(attempts=2, jitter=0.0),
    RetryPolicy(attempts=None, budget_s=40.0, initial_s=1.0, jitter=0.0),
)


def beside(seed: int, *, one_order: bool = True) -> Space:
    """Two branches of different steps; the same space for the same seed."""
    chance = Random(seed)
    plan = Plan("small", 1, {}, Sequence(tuple(_body(chance))))
    return _space(plan, chance, one_order=one_order)


def alike(seed: int) -> Space:
    """Two branches that only their names tell apart, and a step behind them."""
    chance = Random(seed)
    steps = [_call(chance, "a", pivot=False) for _ in range(chance.choice((1, 1, 2)))]
    branches = [
        Sequence(tuple(replace(step, name=f"{side}{place}") for place, step in enumerate(steps)))
        for side in "ab"
    ]
    last = _call(chance, "last", pivot=chance.random() < 0.5)
    plan = Plan("alike", 1, {}, Sequence((Parallel(tuple(branches)), last)))
    return _space(plan, chance)


def _space(plan: Plan, chance: Random, *, one_order: bool = True) -> Space:
    names = dict.fromkeys(
        f"{step.service}.{step.participant}" for step, _ in plan.steps() if isinstance(step, Call)
    )
    facts = {
        name: Facts(
            may_refuse=chance.random() < 0.5,
            undo_is_empty=chance.random() < 0.1,
            undo_needs_result=chance.random() < 0.3,
        )
        for name in names
    }
    return Space(Program(plan), facts, careless=chance.random() < 0.3, one_order=one_order)


def _body(chance: Random) -> list[Node]:
    names = iter("abcdefgh")
    first = [_call(chance, next(names), pivot=False)] if chance.random() < 0.3 else []
    branches: list[Node] = []
    for _ in range(2):
        inside: list[Node] = [
            _call(chance, next(names), pivot=False) for _ in range(chance.choice((1, 1, 2)))
        ]
        if chance.random() < 0.2:
            inside.append(Wait(next(names), "go", timeout_s=50.0))
        branches.append(inside[0] if len(inside) == 1 else Sequence(tuple(inside)))
    last = [_call(chance, next(names), pivot=chance.random() < 0.7)]
    pivot_first = [_call(chance, next(names), pivot=True)] if chance.random() < 0.2 else []
    return [*pivot_first, *first, Parallel(tuple(branches)), *last[: chance.choice((0, 1))]]


def _call(chance: Random, name: str, *, pivot: bool) -> Call:
    undo = Undo(f"un{name}", chance.choice((5.0, 20.0)), chance.choice(_POLICIES))
    return Call(
        name=name,
        service=chance.choice(("one", "one", "two")),
        participant=name,
        queue="q",
        args={},
        timeout_s=chance.choice((5.0, 20.0)),
        retry=chance.choice(_POLICIES),
        undo=None if pivot else undo,
        pivot=pivot,
        read_only=not pivot and chance.random() < 0.1,
        barrier=chance.random() < 0.5,
    )
