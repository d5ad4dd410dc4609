"""What a plan's marks mean for the values of its runs: redacted is what is declared so, and what is made of that.

An argument made from a redacted value is redacted, whatever the parameter says, so that one mark at the saga's input
covers every step that the value is handed to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Element,
    Expr,
    Field,
    Item,
    Let,
    Listing,
    Node,
    Operation,
    Param,
    Path,
    Plan,
    Record,
    Result,
    Wait,
    children,
)
from orchestrator.definition.redacted import EACH

REDACTED = "(redacted)"
"""Stands where something was."""

_Paths = frozenset[Path]
_NONE: _Paths = frozenset()
_ALL: _Paths = frozenset({()})


class Secrecy:
    """Where the values of a plan's runs are redacted."""

    def __init__(self, plan: Plan) -> None:
        self.input: _Paths = frozenset(plan.redacted)
        self.args: dict[str, _Paths] = {}
        """By the name of the step."""
        self.results: dict[str, _Paths] = {}
        self.signals: dict[str, _Paths] = {}
        self._depths: dict[str, int] = {}
        self._walk(plan.body, ())
        self.result: _Paths = frozenset(plan.redacted_result) | self._of(plan.result, ())
        heard = _below("input", self.input) | _below("result", self.result)
        self.args |= {f"@{event}": _below(EACH, heard) for event in plan.callbacks}

    def __bool__(self) -> bool:
        """Whether there is anything to redact."""
        places = (self.args, self.results, self.signals)
        return bool(self.input or self.result) or any(
            paths for place in places for paths in place.values()
        )

    def _walk(self, node: Node, items: tuple[_Paths, ...]) -> None:
        match node:
            case Call():
                self._depths[node.name] = len(items)
                given = [_below(name, self._of(e, items)) for name, e in node.args.items()]
                self.args[node.name] = frozenset(node.redacted).union(*given)
                self.results[node.name] = frozenset(node.redacted_result)
            case Wait():
                self._depths[node.name] = len(items)
                paths = frozenset(node.redacted)
                self.results[node.name] = paths
                self.signals[node.signal] = self.signals.get(node.signal, _NONE) | paths
            case Let():
                self._depths[node.name] = len(items)
                self.results[node.name] = self._of(node.value, items)
            case Each():
                element = _at(self._of(node.items, items), EACH)
                self._walk(node.body, (*items, element))
                return
            case _:
                pass
        for child in children(node):
            self._walk(child, items)
        if isinstance(node, Atomic):
            parts = (_below(call.name, self.results[call.name]) for call in node.branches)
            self.results[node.name] = _NONE.union(*parts)

    def _of(self, expr: Expr, items: tuple[_Paths, ...]) -> _Paths:
        match expr:
            case Param():
                return _at(self.input, expr.name)
            case Result():
                paths = self.results.get(expr.step, _NONE)
                for _ in range(self._depths.get(expr.step, 0) - expr.shared):
                    paths = _below(EACH, paths)
                return paths
            case Item():
                return items[expr.depth] if expr.depth < len(items) else _NONE
            case Field():
                return _at(self._of(expr.of, items), expr.name)
            case Element():
                return _at(self._of(expr.of, items), str(expr.key))
            case Operation():
                return _ALL if any(self._of(part, items) for part in expr.args) else _NONE
            case _:
                parts = [_below(name, self._of(part, items)) for name, part in _parts(expr)]
                return _NONE.union(*parts)


def _parts(expr: Const | Record | Listing) -> list[tuple[str, Expr]]:
    match expr:
        case Const():
            return []
        case Record():
            return list(expr.fields.items())
        case Listing():
            return [(str(n), part) for n, part in enumerate(expr.items)]


def hidden(data: Any, paths: Iterable[Path]) -> Any:
    """``data`` with ``REDACTED`` in these places; an empty place stays empty."""
    paths = frozenset(paths)
    if not paths or data is None:
        return data
    if () in paths:
        return REDACTED
    if isinstance(data, dict):
        return {key: hidden(item, _at(paths, str(key))) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [hidden(item, _at(paths, str(n))) for n, item in enumerate(data)]
    return data


def texts_in(data: Any, paths: Iterable[Path]) -> Iterator[str]:
    """The redacted values themselves, as they may turn up in the text of an error."""
    paths = frozenset(paths)
    if not paths or data is None:
        return
    parts: list[tuple[Any, Any]] | None = None
    if isinstance(data, dict):
        parts = list(data.items())
    elif isinstance(data, list | tuple):
        parts = list(enumerate(data))
    if parts is not None:
        for key, item in parts:
            yield from texts_in(item, _ALL if () in paths else _at(paths, str(key)))
    elif () in paths and not isinstance(data, bool):
        yield str(data)


def _at(paths: _Paths, key: str) -> _Paths:
    found = (path[1:] if path else path for path in paths if not path or _meets(path[0], key))
    return frozenset(found)


def _meets(one: str, other: str) -> bool:
    return one == other or EACH in {one, other}


def _below(key: str, paths: _Paths) -> _Paths:
    return frozenset((key, *path) for path in paths)
