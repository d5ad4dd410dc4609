"""A workload for any plan: an input and results that have the fields its expressions read.

So a user's own saga can be simulated without its participants: what they would return is made up, which steps run in
which order is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from orchestrator.definition.plan import Each, Element, Field, Item, Param, Plan, Result, Wait
from orchestrator.testing.simulation.plans import Workload


def workload_of(plan: Plan) -> Workload:
    """What ``plan`` can be run with. A leaf is the number 1, what is mapped over is a list of two."""
    given: dict[str, Any] = dict.fromkeys(plan.parameters, 1)
    results: dict[str, Any] = {step.name: 1 for step, _ in plan.steps()}
    paths = sorted(set(_paths(plan)), key=lambda path: (len(path), repr(path)))
    for root, *keys in paths:
        assert isinstance(root, tuple)
        kind, name = root
        _set(given if kind == "param" else results, [name, *keys])
    signals = {
        node.signal: results[node.name] for node, _ in plan.steps() if isinstance(node, Wait)
    }
    return Workload(plan, given, results, signals or {"unknown": 1})


_Path = tuple[Any, ...]
_ITEMS = object()


def _paths(node: Any) -> Iterator[_Path]:
    """Every value that is read: where it comes from, and the keys that lead to it."""
    if isinstance(node, Each) and (path := _path(node.items)) is not None:
        yield (*path, _ITEMS)
    if (path := _path(node)) is not None:
        yield path
    for child in _children(node):
        yield from _paths(child)


def _children(node: Any) -> Iterable[Any]:
    match node:
        case msgspec.Struct():
            return [getattr(node, name) for name in node.__struct_fields__]
        case dict():
            return node.values()
        case list() | tuple():
            return node
        case _:
            return ()


def _path(expression: Any) -> _Path | None:
    match expression:
        case Param():
            return (("param", expression.name),)
        case Result():
            return (("result", expression.step),)
        case Field():
            path = _path(expression.of)
            return None if path is None else (*path, expression.name)
        case Element():
            path = _path(expression.of)
            return (
                None if path is None or isinstance(expression.of, Item) else (*path, expression.key)
            )
        case _:
            return None


def _set(into: dict[str, Any], keys: list[Any]) -> None:
    target: Any = into
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if key is _ITEMS or not isinstance(target, dict):
            return
        if following is _ITEMS:
            target[key] = [1, 2]
        elif following is None:
            target.setdefault(key, 1)
        elif not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
