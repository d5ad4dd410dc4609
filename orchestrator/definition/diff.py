"""How two plans of one saga differ, in words: what a user reads when a plan changed under an old version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.definition.expression_text import text_of
from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Finish,
    Let,
    Node,
    Parallel,
    Plan,
    RetryPolicy,
    Sequence,
    Sleep,
    Undo,
    Wait,
    When,
    children,
)


def differences(old: Plan, new: Plan) -> list[str]:
    """One line per difference; empty exactly when the plans have the same hash."""
    if old.hash == new.hash:
        return []
    found = [*_heads(old, new), *_nodes(old, new), *_order(old, new)]
    return found or [
        f"{path}: {was} is now {now}" for path, was, now in _raw(_data(old), _data(new))
    ]


def _heads(old: Plan, new: Plan) -> Iterator[str]:
    yield from _changed("saga", {"name": old.saga}, {"name": new.saga})
    yield from _changed("saga", {"version": str(old.version)}, {"version": str(new.version)})
    yield from _members("parameter", _parameters(old), _parameters(new))
    yield from _changed(
        "saga", {"timeout": _time(old.timeout_s)}, {"timeout": _time(new.timeout_s)}
    )
    yield from _changed("saga", {"result": text_of(old.result)}, {"result": text_of(new.result)})
    yield from _members("callback", _callbacks(old), _callbacks(new))
    if list(old.parameters) != list(new.parameters) and set(old.parameters) == set(new.parameters):
        yield f"parameters: {', '.join(old.parameters)} are now {', '.join(new.parameters)}"


def _nodes(old: Plan, new: Plan) -> Iterator[str]:
    was = {name: _facts(node) for name, node in _named(old.body)}
    now = {name: _facts(node) for name, node in _named(new.body)}
    for name in [*was, *(name for name in now if name not in was)]:
        if name not in now:
            yield f"step {name!r} is gone"
        elif name not in was:
            yield f"step {name!r} is new"
        else:
            yield from _changed(f"step {name!r}", was[name], now[name])


def _order(old: Plan, new: Plan) -> Iterator[str]:
    """A change of order or shape among the steps that both have."""
    common = {name for name, _ in _named(old.body)} & {name for name, _ in _named(new.body)}
    was, now = _outline(old.body, common), _outline(new.body, common)
    if was != now:
        yield f"order of the steps: {was} is now {now}"


def _members(what: str, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{what} {name!r} is gone"
        elif name not in old:
            yield f"{what} {name!r} is new: {new[name]}"
        elif old[name] != new[name]:
            yield f"{what} {name!r}: {old[name]} is now {new[name]}"


def _changed(what: str, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        was, now = old.get(name, "nothing"), new.get(name, "nothing")
        if was != now:
            yield f"{what}, {name}: {was} is now {now}"


def _parameters(plan: Plan) -> dict[str, str]:
    return {
        name: f"{type_} (optional)" if name in plan.optional else type_
        for name, type_ in plan.parameters.items()
    }


def _callbacks(plan: Plan) -> dict[str, str]:
    return {
        event: "; ".join(
            ", ".join(f"{name} {value}" for name, value in _call(call).items()) for call in calls
        )
        for event, calls in plan.callbacks.items()
    }


def _named(node: Node) -> Iterator[tuple[str, Node]]:
    if not isinstance(node, Sequence | Parallel):
        yield node.name, node
    for child in children(node):
        yield from _named(child)


def _facts(node: Node) -> dict[str, str]:
    match node:
        case Call():
            return _call(node)
        case Wait():
            return {
                "kind": "wait",
                "signal": node.signal,
                "timeout": _time(node.timeout_s),
                "type": node.type,
            }
        case Sleep():
            return {"kind": "sleep", "duration": text_of(node.duration)}
        case Let():
            return {"kind": "result of a saga", "value": text_of(node.value)}
        case When():
            return {"kind": "condition", "condition": text_of(node.condition)}
        case Each():
            return {"kind": "fan-out", "items": text_of(node.items)}
        case Atomic():
            return {
                "kind": "atomic group",
                "timeout": _time(node.timeout_s),
                "retry": _retry(node.retry),
            }
        case _:
            return {}


def _call(call: Call) -> dict[str, str]:
    return {
        "kind": "call",
        "participant": f"{call.service}.{call.participant}",
        "queue": call.queue,
        **{f"argument {name}": text_of(value) for name, value in call.args.items()},
        "timeout": _time(call.timeout_s),
        "retry": _retry(call.retry),
        "undo": _undo(call.undo),
        "pivot": _yes(call.pivot),
        "read-only": _yes(call.read_only),
        "database": _yes(call.barrier),
        **_in_group(call),
    }


def _in_group(call: Call) -> dict[str, str]:
    if not call.branch:
        return {}
    return {
        "in its group": _BRANCHES[call.branch],
        "confirm": _finish(call.confirm),
        "cancel": _finish(call.cancel),
    }


_BRANCHES = {
    "database": "a prepared transaction",
    "tcc": "try, confirm, cancel",
    "last": "the last, in one phase",
    "reader": "changes nothing",
}


def _finish(finish: Finish | None) -> str:
    if finish is None:
        return "none"
    return f"{finish.name} (timeout {_time(finish.timeout_s)}, retry {_retry(finish.retry)})"


def _undo(undo: Undo | None) -> str:
    if undo is None:
        return "none"
    return f"{undo.name} (timeout {_time(undo.timeout_s)}, retry {_retry(undo.retry)})"


def _retry(policy: RetryPolicy) -> str:
    parts = msgspec.structs.asdict(policy)
    return " ".join(f"{name}={value}" for name, value in parts.items() if value not in {None, ()})


def _time(value_s: float | None) -> str:
    return "none" if value_s is None else f"{value_s:g} s"


def _yes(value: bool) -> str:  # noqa: FBT001 - it is what is shown
    return "yes" if value else "no"


def _outline(node: Node, names: set[str]) -> str:
    inner = [text for text in (_outline(child, names) for child in children(node)) if text]
    own = "" if isinstance(node, Sequence | Parallel) or node.name not in names else node.name
    match node:
        case Sequence():
            return ", ".join(inner)
        case Parallel():
            return f"({' | '.join(inner)})" if len(inner) > 1 else "".join(inner)
        case When() | Each():
            return f"{own}({' / '.join(inner)})" if inner else own
        case Atomic():
            return f"{own}({' & '.join(inner)})" if inner else own
        case _:
            return own


def _data(plan: Plan) -> Any:
    return msgspec.json.decode(plan.encoded())


def _raw(old: Any, new: Any, path: str = "plan") -> Iterator[tuple[str, str, str]]:
    """For what the words above leave out: the places in the JSON that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key != "source":
                yield from _raw(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _raw(was, now, f"{path}[{index}]")
    elif old != new:
        yield path, msgspec.json.encode(old).decode(), msgspec.json.encode(new).decode()
