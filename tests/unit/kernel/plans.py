"""Random plans for Hypothesis: every node, nested, and legal by the rules a saga is compiled by."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.definition import rules
from orchestrator.definition.plan import (
    Atomic,
    Branch,
    Call,
    Const,
    Each,
    Expr,
    Field,
    Finish,
    Item,
    Let,
    Node,
    Operation,
    Parallel,
    Param,
    Plan,
    Record,
    Result,
    RetryPolicy,
    Sequence,
    Sleep,
    Undo,
    Wait,
    When,
    children,
)

BROKEN = Field(Const(1), "nothing")
"""An expression that never has a value."""

SIGNALS = ("go", "stop")
FINAL = "builtins.ValueError"
"""The kind of error that some policies never retry."""

Scope = tuple[str, ...]


class Seen(NamedTuple):
    """A name whose result may be read, and the ``Each`` nodes around it."""

    name: str
    scope: Scope


class Grower:
    """Draws a plan's nodes, one name after the other."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.names = 0
        self.budget = 12

    def body(self) -> Sequence:
        nodes = [Call("first", "shop", "act", "q", {}, 10.0, RetryPolicy(), _undo(RetryPolicy()))]
        sequence, _ = self.sequence((), (Seen("first", ()),), 0)
        return Sequence((*nodes, *sequence.nodes))

    def sequence(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Sequence, tuple[Seen, ...]]:
        nodes: list[Node] = []
        for _ in range(self.draw(st.integers(1, 3))):
            if self.budget <= 0:
                break
            node, seen = self.node(scope, seen, depth)
            nodes.append(node)
        return Sequence(tuple(nodes)), seen

    def node(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        self.budget -= 1
        kinds = ["call", "call", "call", "wait", "sleep", "let", "atomic"]
        if depth < 3:
            kinds += ["parallel", "parallel", "when", "each", "sequence"]
        kind = self.draw(st.sampled_from(kinds))
        match kind:
            case "parallel":
                return self.parallel(scope, seen, depth)
            case "when":
                return self.when(scope, seen, depth)
            case "each":
                return self.each(scope, seen, depth)
            case "sequence":
                return self.sequence(scope, seen, depth + 1)
            case "atomic":
                return self.atomic(scope, seen)
            case _:
                return self.leaf(kind, scope, seen)

    def leaf(
        self, kind: str, scope: Scope, seen: tuple[Seen, ...]
    ) -> tuple[Node, tuple[Seen, ...]]:
        name = self.name()
        node: Node
        match kind:
            case "wait":
                timeout_s = self.draw(st.sampled_from([None, 20.0, 200.0]))
                node = Wait(name, self.draw(st.sampled_from(SIGNALS)), timeout_s)
            case "sleep":
                node = Sleep(name, self.draw(st.sampled_from([Const(5), Const("PT3S"), BROKEN])))
            case "let":
                node = Let(name, self.value(scope, seen))
            case _:
                node = self.call(name, scope, seen)
        return node, (*seen, Seen(name, scope))

    def call(self, name: str, scope: Scope, seen: tuple[Seen, ...]) -> Call:
        read_only = self.draw(st.sampled_from([False, False, False, True]))
        return Call(
            name=name,
            service="shop",
            participant="act",
            queue="q",
            args={"a": self.value(scope, seen)},
            timeout_s=10.0,
            retry=self.draw(policies()),
            undo=None if read_only else _undo(self.draw(policies())),
            read_only=read_only,
            barrier=self.draw(st.booleans()),
        )

    def atomic(self, scope: Scope, seen: tuple[Seen, ...]) -> tuple[Node, tuple[Seen, ...]]:
        name = self.name()
        kinds: list[Branch] = self.draw(
            st.lists(st.sampled_from(["database", "database", "tcc", "reader"]), max_size=2)
        )
        kinds.append(self.draw(st.sampled_from(["database", "tcc", "last", "last"])))
        branches = tuple(self.branch(kind, scope, seen) for kind in kinds)
        timeout_s = self.draw(st.sampled_from([5.0, 15.0, 60.0]))
        group = Atomic(name, branches, timeout_s, self.draw(policies()))
        return group, (*seen, *(Seen(branch.name, scope) for branch in branches))

    def branch(self, kind: Branch, scope: Scope, seen: tuple[Seen, ...]) -> Call:
        call = self.call(self.name(), scope, seen)
        finish = Finish("finish", 10.0, self.draw(policies())) if kind == "tcc" else None
        reads = kind == "reader"
        return replace(
            call,
            branch=kind,
            barrier=call.barrier if kind in {"tcc", "reader"} else True,
            read_only=reads,
            undo=None if reads else call.undo or _undo(RetryPolicy()),
            confirm=finish,
            cancel=finish,
        )

    def parallel(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        branches: list[Node] = []
        after = seen
        for _ in range(self.draw(st.integers(1, 3))):
            branch, inner = self.sequence(scope, seen, depth + 1)
            branches.append(branch)
            after = (*after, *inner[len(seen) :])
        return Parallel(tuple(branches)), after

    def when(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        name = self.name()
        condition = self.draw(
            st.sampled_from(
                [
                    Param("yes"),
                    Operation("not", (Param("yes"),)),
                    Operation("<", (Param("n"), Const(2)), "number", "number"),
                    Field(self.result(scope, seen), "ok"),
                    BROKEN,
                ]
            )
        )
        then, inner = self.sequence(scope, seen, depth + 1)
        after = (*seen, *inner[len(seen) :])
        otherwise = None
        if self.draw(st.booleans()):
            otherwise, inner = self.sequence(scope, seen, depth + 1)
            after = (*after, *inner[len(seen) :])
        return When(name, condition, then, otherwise), after

    def each(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        name = self.name()
        items = self.draw(
            st.sampled_from(
                [
                    Param("items"),
                    Const([1, 2]),
                    Const([]),
                    Field(self.result(scope, seen), "list"),
                    BROKEN,
                ]
            )
        )
        body, inner = self.sequence((*scope, name), seen, depth + 1)
        return Each(name, items, body), (*seen, *inner[len(seen) :])

    def value(self, scope: Scope, seen: tuple[Seen, ...]) -> Expr:
        """Sometimes broken: by a division by zero, or by a field of what isn't a record."""
        divided = Operation("/", (Const(6), Param("n")), "number", "number")
        choices: list[Expr] = [Const(1), Param("n"), divided, self.result(scope, seen)]
        choices += [Field(self.result(scope, seen), "v"), Record({"x": self.result(scope, seen)})]
        if scope:
            choices.append(Item(self.draw(st.integers(0, len(scope) - 1))))
        chosen: Expr = self.draw(st.sampled_from(choices))
        return chosen

    def result(self, scope: Scope, seen: tuple[Seen, ...]) -> Result:
        source = self.draw(st.sampled_from(seen))
        shared = 0
        for mine, its in zip(scope, source.scope, strict=False):
            if mine != its:
                break
            shared += 1
        return Result(source.name, shared)

    def name(self) -> str:
        self.names += 1
        return f"s{self.names}"


@st.composite
def policies(draw: Any) -> RetryPolicy:
    """A few attempts, sometimes bounded by time alone."""
    return RetryPolicy(
        attempts=draw(st.sampled_from([1, 2, 3, None])),
        budget_s=draw(st.sampled_from([15.0, 40.0])),
        strategy=draw(st.sampled_from(["exponential", "linear", "fixed"])),
        initial_s=1.0,
        final=draw(st.sampled_from([(), (FINAL,)])),
    )


@st.composite
def plans(draw: Any) -> Plan:
    """A legal plan of any shape, with a pivot or without."""
    body = Grower(draw).body()
    pivots = list(_candidates(body))
    if pivots and draw(st.booleans()):
        pivot = draw(st.sampled_from(pivots))
        undo = draw(st.booleans())
        body, _ = _with_pivot(body, pivot, keep_undo=undo, strip=draw(st.booleans()))
    last = Result("first") if draw(st.booleans()) else draw(st.sampled_from([Param("n"), BROKEN]))
    callback = Call("hear", "shop", "hear", "q", {}, 10.0, draw(policies()), barrier=True)
    events = draw(st.sets(st.sampled_from(["on_completed", "on_compensated", "on_stuck"])))
    return Plan(
        saga="random",
        version=1,
        parameters={"n": "int", "yes": "bool", "items": "list"},
        body=rules.checked("random", body),
        result=last,
        timeout_s=draw(st.sampled_from([None, None, 60.0, 300.0])),
        callbacks={event: (callback,) * draw(st.integers(1, 2)) for event in events},
    )


def inputs() -> st.SearchStrategy[dict[str, Any]]:
    """What a random plan is launched with."""
    return st.fixed_dictionaries(
        {
            "n": st.integers(0, 3),
            "yes": st.booleans(),
            "items": st.lists(st.integers(0, 9), max_size=3),
        }
    )


def _undo(retry: RetryPolicy) -> Undo:
    return Undo("act.undo", 10.0, retry)


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
    match node:
        case Call():
            if node.name == name:
                undo = node.undo if keep_undo else None
                return replace(node, pivot=True, undo=undo), not conditional
            return (replace(node, undo=None) if past and strip else node), past
        case Sequence() | Parallel():
            kids = []
            for child in children(node):
                kid, past = _with_pivot(child, pivot, keep_undo=keep_undo, strip=strip, past=past)
                kids.append(kid)
            made = Sequence(tuple(kids)) if isinstance(node, Sequence) else Parallel(tuple(kids))
            return made, past
        case Atomic():
            kids = [
                _with_pivot(child, pivot, keep_undo=keep_undo, strip=strip, past=past)
                for child in node.branches
            ]
            grouped = replace(node, branches=tuple(kid for kid, _ in kids))
            return grouped, past or any(behind for _, behind in kids)
        case When():
            then, _ = _with_pivot(node.then, pivot, keep_undo=keep_undo, strip=strip, past=past)
            other = node.otherwise
            if other is not None:
                other, _ = _with_pivot(other, pivot, keep_undo=keep_undo, strip=strip, past=past)
            return replace(node, then=then, otherwise=other), past
        case Each():
            body, _ = _with_pivot(node.body, pivot, keep_undo=keep_undo, strip=strip, past=past)
            return replace(node, body=body), past
        case _:
            return node, past
