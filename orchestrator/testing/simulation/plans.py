"""Random plans of every shape the builder knows, legal by the rules a saga is compiled by.

Their steps use four kinds of participants, which ``shop`` plays: with a barrier, at least once beside a database, and
at least once without one, in front of an outside world that refuses cancelled keys or one that forgets them. Some are
asynchronous. In atomic groups they are prepared, or tried and confirmed with a barrier or without, or only read, and
the last one may commit by itself.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace

from orchestrator.definition import rules
from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Node,
    Parallel,
    Param,
    Plan,
    Result,
    RetryPolicy,
    Sequence,
    When,
    children,
)
from orchestrator.testing.simulation.growth import GROUPED, SIGNALS, STEP_TIMEOUT_S, Grower

RESULT: dict[str, Any] = {"v": 2, "ok": True, "list": [1, 2]}
_SIGNALLED: dict[str, Any] = dict.fromkeys(SIGNALS, 7)

_EVENTS = ("on_completed", "on_compensated", "on_stuck")


class Workload(NamedTuple):
    """What one schedule runs."""

    plan: Plan
    input: dict[str, Any]
    results: dict[str, Any]
    """What the participants return, by step name; ``""`` stands for all others."""
    signals: dict[str, Any] = _SIGNALLED
    """What may be signalled, and with which data."""


def random_workload(random: Random) -> Workload:
    """A plan of any shape, with a pivot or without, and an input for it."""
    forgetful = random.random() < 0.25
    grower = Grower(random, forgetful=forgetful)
    body = grower.body()
    pivots = _candidates(body)
    if pivots and random.random() < 0.5:
        keep_undo, strip = random.random() < 0.5, random.random() < 0.5
        body, _ = _with_pivot(body, random.choice(pivots), keep_undo=keep_undo, strip=strip)
    callbacks = [event for event in _EVENTS if random.random() < 0.2]
    plan = Plan(
        saga="random",
        version=1,
        parameters={"n": "int", "yes": "bool", "items": "list"},
        body=rules.checked("random", body),
        result=random.choice((Result("first"), Param("n"))),
        timeout_s=random.choice((None, None, 60.0, 300.0)),
        callbacks={event: (hearing(grower.policy()),) for event in callbacks},
    )
    items = [random.randrange(10) for _ in range(random.randrange(4))]
    given = {"n": random.randrange(4), "yes": random.random() < 0.5, "items": items}
    return Workload(plan, given, {"": RESULT})


def hearing(retry: RetryPolicy) -> Call:
    """The participant that hears how runs end."""
    return Call("hear", "shop", "hear", "saga.shop", {}, STEP_TIMEOUT_S, retry, barrier=True)


def every_call() -> list[Call]:
    """One call of every participant that random plans use."""
    grower = Grower(Random(0), forgetful=True)
    kinds = sorted(set(grower.kinds))
    calls = [grower.call("x", kind, Const(1), read_only=False) for kind in kinds]
    calls += [grower.branch("x", kind, how, Const(1)) for kind, how in GROUPED]
    return [*calls, hearing(RetryPolicy())]


def _candidates(node: Node, *, inside_when: bool = False) -> list[tuple[str, bool]]:
    """Calls that may be the pivot, and whether a condition decides on them."""
    match node:
        case Call():
            return [(node.name, inside_when)]
        case Sequence() | When() | Atomic():
            inside = inside_when or isinstance(node, When)
            return [c for child in children(node) for c in _candidates(child, inside_when=inside)]
        case _:
            return []


def _with_pivot(
    node: Any, pivot: tuple[str, bool], *, keep_undo: bool, strip: bool, past: bool = False
) -> tuple[Any, bool]:
    """Mark the pivot; what surely comes after it may do without an undo."""
    name, conditional = pivot

    def inside(child: Any, behind: bool) -> tuple[Any, bool]:  # noqa: FBT001 - as its own parameter
        return _with_pivot(child, pivot, keep_undo=keep_undo, strip=strip, past=behind)

    match node:
        case Call():
            if node.name == name:
                undo = node.undo if keep_undo else None
                return replace(node, pivot=True, undo=undo), not conditional
            return (replace(node, undo=None) if past and strip else node), past
        case Sequence() | Parallel():
            kids = []
            for child in children(node):
                kid, past = inside(child, past)
                kids.append(kid)
            made = Sequence(tuple(kids)) if isinstance(node, Sequence) else Parallel(tuple(kids))
            return made, past
        case Atomic():
            grouped = [inside(child, past) for child in node.branches]
            calls = tuple(call for call, _ in grouped)
            return replace(node, branches=calls), past or any(behind for _, behind in grouped)
        case When():
            other = None if node.otherwise is None else inside(node.otherwise, past)[0]
            return replace(node, then=inside(node.then, past)[0], otherwise=other), past
        case Each():
            return replace(node, body=inside(node.body, past)[0]), past
        case _:
            return node, past
