"""What the source of a participant says of it, where its types can't: may it refuse, does its undo do anything.

Read from the syntax tree, never by running anything. What can't be read is None or False: unknown.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from orchestrator.definition.building import source_of
from orchestrator.errors import Refused

_DEPTH = 6
"""How many calls deep a refusal is looked for."""


class Facts(msgspec.Struct, frozen=True):
    """One participant, as its source shows it."""

    may_refuse: bool | None = None
    """Whether it, or a function of its own package that it calls, raises ``Refused``; None: its source isn't here."""
    undo_is_empty: bool = False
    """Its undo has a body without a single statement that does anything."""
    undo_needs_result: bool = False
    """Its undo reads the action's result without ever asking whether that is None."""
    uses_key: bool | None = None
    """It reads the idempotency key of its ``Call``, or hands the ``Call`` on; None: its source isn't here."""
    returns: bool = False
    """It is declared to return something."""
    undo_takes_result: bool = False
    touches: tuple[str, ...] = ()
    """The resources it was declared with."""
    source: str = ""
    """File and line of the action."""
    undo_source: str = ""
    """File and line of the undo; empty where there is none here."""


NOTHING_KNOWN = Facts()


def read_facts(
    action: Callable[..., Any],
    undo: Callable[..., Any] | None = None,
    result: str | None = None,
    *,
    call: str | None = None,
    returns: bool = False,
    touches: tuple[str, ...] = (),
) -> Facts:
    """Read an action and its undo.

    ``result`` is the undo's parameter that gets the action's result, ``call`` the action's that gets its ``Call``.
    """
    tree = _tree(action)
    undo_tree = None if undo is None else _tree(undo)
    return Facts(
        may_refuse=None if tree is None else _may_refuse(action, set(), _DEPTH),
        uses_key=None if tree is None else call is not None and _uses_key(tree, call),
        returns=returns,
        undo_takes_result=result is not None,
        touches=touches,
        undo_is_empty=undo_tree is not None and _is_empty(undo_tree),
        undo_needs_result=undo_tree is not None and bool(result) and _needs(undo_tree, result),
        source=_place(action),
        undo_source="" if undo is None else _place(undo),
    )


def _place(function: Callable[..., Any]) -> str:
    plain = inspect.unwrap(function)
    return source_of(plain) if isinstance(plain, FunctionType) else ""


@lru_cache(maxsize=4096)
def _tree(function: Callable[..., Any]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    try:
        parsed = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None
    first = parsed.body[0] if parsed.body else None
    return first if isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _may_refuse(function: Callable[..., Any], seen: set[int], depth: int) -> bool:
    if id(function) in seen or depth == 0:
        return False
    seen.add(id(function))
    tree = _tree(function)
    if tree is None:
        return False
    names = _names(function)
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            kind = _resolved(raised, names)
            if isinstance(kind, type) and issubclass(kind, Refused):
                return True
        elif isinstance(node, ast.Call):
            called = _resolved(node.func, names)
            near = isinstance(called, FunctionType) and _package(called) == _package(function)
            if near and _may_refuse(called, seen, depth - 1):
                return True
    return False


def _names(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What the names in a function stand for: those around it, then those of its module."""
    plain = inspect.unwrap(function)
    code, cells = getattr(plain, "__code__", None), getattr(plain, "__closure__", None)
    around: dict[str, Any] = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells or (), strict=False):
        try:
            around[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    return {**getattr(plain, "__globals__", {}), **around}


def _resolved(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name():
            return names.get(node.id)
        case ast.Attribute():
            base = _resolved(node.value, names)
            return getattr(base, node.attr, None) if isinstance(base, ModuleType | type) else None
        case _:
            return None


def _package(function: Callable[..., Any]) -> str:
    return function.__module__.partition(".")[0]


def _is_empty(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (
            isinstance(statement, ast.Return)
            and (statement.value is None or isinstance(statement.value, ast.Constant))
        )
        for statement in tree.body
    )


def _uses_key(tree: ast.FunctionDef | ast.AsyncFunctionDef, call: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "idempotency_key":
            return True
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(_is(value, call) for value in given):
                return True
    return False


def _needs(tree: ast.FunctionDef | ast.AsyncFunctionDef, result: str | None) -> bool:
    used = any(
        isinstance(node, ast.Attribute | ast.Subscript) and _is(node.value, result)
        for node in ast.walk(tree)
    )
    return used and not any(_is(node, result) for node in _tested(tree))


def _tested(tree: ast.AST) -> Iterator[ast.expr]:
    """Every expression that decides something."""
    for node in ast.walk(tree):
        match node:
            case ast.If() | ast.IfExp() | ast.While() | ast.Assert():
                yield node.test
            case ast.Compare():
                yield node.left
                yield from node.comparators
            case ast.BoolOp():
                yield from node.values
            case ast.UnaryOp(op=ast.Not()):
                yield node.operand
            case ast.Match():
                yield node.subject
            case _:
                pass


def _is(node: ast.expr, name: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == name
