"""Random plans of every shape the builder knows, legal by the rules a saga is compiled by.

Their steps use four kinds of participants, which ``shop`` plays: with a barrier, at least once beside a database, and
at least once without one, in front of an outside world that refuses cancelled keys or one that forgets them. In atomic
groups they are tries, with a barrier or without, readers, and a last one.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

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

SIGNALS = ("go", "stop")
STEP_TIMEOUT_S = 10.0
FORGETFUL = "courier"
"""The service whose outside world forgets keys; see ``shop``."""
RESULT: dict[str, Any] = {"v": 2, "ok": True, "list": [1, 2]}

_BROKEN = Field(Const(1), "nothing")
_KINDS = (("shop", "act"), ("shop", "act"), ("shop", "ship"), ("bank", "pay"))
_TRIES = (("shop", "book"), ("bank", "hold"))
"""Branches of atomic groups, with a barrier and without."""
_MOST_NODES = 9
_DEEPEST = 3

Scope = tuple[str, ...]


class Seen(NamedTuple):
    """A name whose result may be read, and the ``Each`` nodes around it."""

    name: str
    scope: Scope


class Workload(NamedTuple):
    """What one schedule runs."""

    plan: Plan
    input: dict[str, Any]
    results: dict[str, Any]
    """What the participants return, by step name; ``""`` stands for all others."""


def random_workload(random: Random) -> Workload:
    """A plan of any shape, with a pivot or without, and an input for it."""
    forgetful = random.random() < 0.25
    grower = _Grower(random, forgetful=forgetful)
    body = grower.body()
    pivots = _candidates(body)
    if pivots and random.random() < 0.5:
        keep_undo, strip = random.random() < 0.5, random.random() < 0.5
        body, _ = _with_pivot(body, random.choice(pivots), keep_undo=keep_undo, strip=strip)
    callbacks = [
        event for event in ("on_completed", "on_compensated", "on_stuck") if random.random() < 0.2
    ]
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
    grower = _Grower(Random(0), forgetful=False)
    kinds = (
        *(("shop", "act"), ("shop", "ship"), ("bank", "pay"), (FORGETFUL, "send")),
        *_TRIES,
    )
    calls = [grower.of_kind("x", kind, Const(1), read_only=False) for kind in kinds]
    calls.append(grower.of_kind("x", ("shop", "look"), Const(1), read_only=True))
    return [*calls, hearing(RetryPolicy())]


class _Grower:
    """Draws a plan's nodes, one name after the other."""

    def __init__(self, random: Random, *, forgetful: bool) -> None:
        self.random = random
        self.kinds = (*_KINDS, (FORGETFUL, "send"), (FORGETFUL, "send")) if forgetful else _KINDS
        self.names = 0
        self.budget = random.randint(2, _MOST_NODES)

    def body(self) -> Sequence:
        first = self.of_kind("first", ("shop", "act"), Const(0), read_only=False)
        sequence, _ = self.sequence((), (Seen("first", ()),), 0)
        return Sequence((first, *sequence.nodes))

    def sequence(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Sequence, tuple[Seen, ...]]:
        nodes: list[Node] = []
        for _ in range(self.random.randint(1, 3)):
            if self.budget <= 0:
                break
            node, seen = self.node(scope, seen, depth)
            nodes.append(node)
        return Sequence(tuple(nodes)), seen

    def node(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        self.budget -= 1
        kinds = [*["call"] * 6, "wait", "sleep", "let", "atomic"]
        if depth < _DEEPEST:
            kinds += ["parallel", "parallel", "when", "each", "sequence"]
        match self.random.choice(kinds):
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
            case kind:
                return self.leaf(kind, scope, seen)

    def leaf(
        self, kind: str, scope: Scope, seen: tuple[Seen, ...]
    ) -> tuple[Node, tuple[Seen, ...]]:
        self.names += 1
        name = f"s{self.names}"
        node: Node
        match kind:
            case "wait":
                timeout_s = self.random.choice((None, 20.0, 200.0))
                node = Wait(name, self.random.choice(SIGNALS), timeout_s)
            case "sleep":
                node = Sleep(name, Const(self.random.choice((5, "PT3S"))))
            case "let":
                node = Let(name, self.value(scope, seen))
            case _:
                read_only = self.random.random() < 0.1
                chosen = ("shop", "look") if read_only else self.random.choice(self.kinds)
                node = self.of_kind(name, chosen, self.value(scope, seen), read_only=read_only)
        return node, (*seen, Seen(name, scope))

    def of_kind(self, name: str, kind: tuple[str, str], argument: Expr, *, read_only: bool) -> Call:
        service, participant = kind
        return Call(
            name=name,
            service=service,
            participant=participant,
            queue=f"saga.{service}",
            args={"a": argument},
            timeout_s=STEP_TIMEOUT_S,
            retry=self.policy(),
            undo=None if read_only else Undo(f"{participant}.undo", STEP_TIMEOUT_S, self.policy()),
            read_only=read_only,
            barrier=participant in {"act", "book"},
            confirm=self.finish("confirm", kind),
            cancel=self.finish("cancel", kind),
        )

    def finish(self, name: str, kind: tuple[str, str]) -> Finish | None:
        if kind not in _TRIES:
            return None
        return Finish(f"{kind[1]}.{name}", STEP_TIMEOUT_S, self.policy())

    def atomic(self, scope: Scope, seen: tuple[Seen, ...]) -> tuple[Node, tuple[Seen, ...]]:
        branches: list[Call] = []
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.choice((*_TRIES, *_TRIES, ("shop", "look")))
            how: Branch = "reader" if kind == ("shop", "look") else "tcc"
            branches.append(self.branch(kind, how, scope, seen))
        if self.random.random() < 0.4:
            branches.append(self.branch(("shop", "act"), "last", scope, seen))
        self.names += 1
        timeout_s = self.random.choice((12.0, 40.0))
        group = Atomic(f"s{self.names}", tuple(branches), timeout_s, self.policy())
        return group, (*seen, *(Seen(branch.name, scope) for branch in branches))

    def branch(
        self, kind: tuple[str, str], how: Branch, scope: Scope, seen: tuple[Seen, ...]
    ) -> Call:
        self.names += 1
        value = self.value(scope, seen)
        call = self.of_kind(f"s{self.names}", kind, value, read_only=how == "reader")
        return replace(call, branch=how)

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            attempts=self.random.choice((1, 2, 3, None)),
            budget_s=self.random.choice((15.0, 40.0)),
            strategy=self.random.choice(("exponential", "linear", "fixed")),
            initial_s=1.0,
        )

    def parallel(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        branches: list[Node] = []
        after = seen
        for _ in range(self.random.randint(1, 3)):
            branch, inner = self.sequence(scope, seen, depth + 1)
            branches.append(branch)
            after = (*after, *inner[len(seen) :])
        return Parallel(tuple(branches)), after

    def when(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        self.names += 1
        name = f"s{self.names}"
        condition = self.random.choice(
            (
                Param("yes"),
                Operation("not", (Param("yes"),)),
                Operation("<", (Param("n"), Const(2)), "number", "number"),
                _BROKEN if self.random.random() < 0.2 else Field(Result("first"), "ok"),
            )
        )
        then, inner = self.sequence(scope, seen, depth + 1)
        after = (*seen, *inner[len(seen) :])
        otherwise = None
        if self.random.random() < 0.5:
            otherwise, inner = self.sequence(scope, seen, depth + 1)
            after = (*after, *inner[len(seen) :])
        return When(name, condition, then, otherwise), after

    def each(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Node, tuple[Seen, ...]]:
        self.names += 1
        name = f"s{self.names}"
        items = self.random.choice(
            (Param("items"), Const([1, 2]), Const([]), Field(Result("first"), "list"))
        )
        body, inner = self.sequence((*scope, name), seen, depth + 1)
        return Each(name, items, body), (*seen, *inner[len(seen) :])

    def value(self, scope: Scope, seen: tuple[Seen, ...]) -> Expr:
        """Now and then without a value: a division by zero."""
        choices: list[Expr] = [Const(1), Param("n"), self.result(scope, seen)]
        choices.append(Record({"x": self.result(scope, seen)}))
        if self.random.random() < 0.1:
            choices = [Operation("/", (Const(6), Param("n")), "number", "number")]
        if scope:
            choices.append(Item(self.random.randrange(len(scope))))
        return self.random.choice(choices)

    def result(self, scope: Scope, seen: tuple[Seen, ...]) -> Result:
        source = self.random.choice(seen)
        shared = 0
        for mine, its in zip(scope, source.scope, strict=False):
            if mine != its:
                break
            shared += 1
        return Result(source.name, shared)


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
            group = replace(node, branches=tuple(call for call, _ in grouped))
            return group, past or any(behind for _, behind in grouped)
        case When():
            other = None if node.otherwise is None else inside(node.otherwise, past)[0]
            return replace(node, then=inside(node.then, past)[0], otherwise=other), past
        case Each():
            return replace(node, body=inside(node.body, past)[0]), past
        case _:
            return node, past
