"""The rules of compensation, checked when a saga is compiled: nothing can take effect that could then not be undone.

Up to the pivot every step needs an undo or is read-only; from the pivot on a run only goes forward.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Let,
    Node,
    Parallel,
    Sequence,
    When,
    children,
)
from orchestrator.errors import DefinitionError


class Past(Enum):
    """Whether the pivot is behind: on every path to here, on some, on none."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


def checked(saga: str, body: Sequence) -> Sequence:
    """The body with its pivot marked; raises ``DefinitionError`` naming saga, step, place and fix.

    Without a declared pivot, a last step that has no undo is the pivot: nothing comes after it that could fail.
    """
    if not body.nodes:
        raise DefinitionError(f"saga {saga!r} has no step")
    if not _has_pivot(body):
        marked = _with_last_as_pivot(body)
        assert isinstance(marked, Sequence)
        body = marked
    _walk(saga, body, Past.NO, "")
    return body


def _has_pivot(node: Node) -> bool:
    return (isinstance(node, Call) and node.pivot) or any(map(_has_pivot, children(node)))


def _with_last_as_pivot(node: Node) -> Node:
    if isinstance(node, Call) and node.undo is None and not node.read_only:
        return msgspec.structs.replace(node, pivot=True)
    if isinstance(node, Atomic):
        return _with_group_as_pivot(node)
    if not isinstance(node, Sequence):
        return node
    nodes = list(node.nodes)
    last = max((i for i, child in enumerate(nodes) if not isinstance(child, Let)), default=None)
    if last is not None:
        nodes[last] = _with_last_as_pivot(nodes[last])
    return Sequence(tuple(nodes))


def _with_group_as_pivot(group: Atomic) -> Node:
    """A group at the end is the pivot where one of its branches has no undo: all of it commits at once."""
    branches = list(group.branches)
    for position, call in enumerate(branches):
        marked = _with_last_as_pivot(call)
        if marked is not call and isinstance(marked, Call):
            branches[position] = marked
            return msgspec.structs.replace(group, branches=tuple(branches))
    return group


def _walk(saga: str, node: Node, past: Past, inside: str) -> Past:
    match node:
        case Call():
            return _call(saga, node, past, inside)
        case Sequence():
            for child in node.nodes:
                past = _walk(saga, child, past, inside)
            return past
        case Atomic():
            return _group(saga, node, past, inside)
        case Parallel():
            for branch in node.branches:
                _walk(saga, branch, past, "parallel()")
            return past
        case Each():
            _walk(saga, node.body, past, ".map()")
            return past
        case When():
            taken = _walk(saga, node.then, past, inside)
            other = past if node.otherwise is None else _walk(saga, node.otherwise, past, inside)
            return taken if taken is other else Past.MAYBE
        case _:
            return past


def _group(saga: str, group: Atomic, past: Past, inside: str) -> Past:
    """A pivot inside makes the whole group one: its branches commit together."""
    pivot = next((call for call in group.branches if call.pivot), None)
    if pivot is None:
        for call in group.branches:
            _call(saga, call, past, inside)
        return past
    _call(saga, pivot, past, inside)
    return Past.YES


def _call(saga: str, call: Call, past: Past, inside: str) -> Past:
    if call.pivot:
        if inside:
            raise _error(
                saga,
                call,
                f"is a pivot inside {inside}, where other steps run at the same time; "
                "make the step before or after it the pivot",
            )
        if past is not Past.NO:
            raise _error(saga, call, "is a second pivot on the same path; leave out one .pivot")
        return Past.YES
    if past is not Past.YES and call.undo is None and not call.read_only:
        raise _error(saga, call, _needs_undo(call, past))
    return past


def _needs_undo(call: Call, past: Past) -> str:
    where = (
        "comes before the pivot"
        if past is Past.NO
        else "comes before the pivot on one of the paths to it"
    )
    return (
        f"{where} and has no undo, so a later failure could not be compensated; give the action an undo "
        f"(@{call.participant}.undo), declare it read_only=True if it changes nothing, or make it the pivot: "
        f"{call.participant}.pivot(...)"
    )


def _error(saga: str, call: Call, text: str) -> DefinitionError:
    return DefinitionError(
        f"saga {saga!r}, {call.source}: step {call.name!r} ({call.service}.{call.participant}) {text}"
    )
