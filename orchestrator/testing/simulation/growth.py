"""``Grower``: draws the nodes of a plan, of every kind the builder knows, one name after the other."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Branch,
    Call,
    Const,
    Each,
    Expr,
    Finish,
    Let,
    Node,
    Parallel,
    RetryPolicy,
    Sequence,
    Sleep,
    Undo,
    Wait,
    When,
)
from orchestrator.testing.simulation import expressions
from orchestrator.testing.simulation.expressions import Scope, Seen

SIGNALS = ("go", "stop")
STEP_TIMEOUT_S = 10.0
FORGETFUL = "courier"
"""The service whose outside world forgets keys; see ``shop``."""
WITH_SESSION = frozenset({"act", "async_act", "book", "move", "async_move"})
"""Participants that write through a session, so that the barrier vouches for them."""

_KINDS = (
    ("shop", "act"),
    ("shop", "act"),
    ("shop", "async_act"),
    ("shop", "ship"),
    ("bank", "pay"),
    ("bank", "async_pay"),
)
_TRIES = (("shop", "book"), ("bank", "hold"))
"""What is tried, confirmed and cancelled: with a barrier and without."""
_PREPARED = (("vault", "move"), ("safe", "move"), ("safe", "async_move"))
"""What is prepared in a database."""
_READER = ("shop", "look")
GROUPED: tuple[tuple[tuple[str, str], Branch], ...] = (
    *((kind, "tcc") for kind in _TRIES),
    *((kind, "database") for kind in _PREPARED),
    (_READER, "reader"),
)
"""What branches of atomic groups are made of, but the last one."""
_MOST_NODES = 9
_DEEPEST = 3

Grown = tuple[Node, tuple[Seen, ...]]
"""A node, and what may be read after it."""


class Grower:
    """Draws nodes until its budget is spent."""

    def __init__(self, random: Random, *, forgetful: bool) -> None:
        self._random = random
        self.kinds = (*_KINDS, *[(FORGETFUL, "send")] * 2) if forgetful else _KINDS
        """``(service, participant)`` to choose from, some more often."""
        self._names = 0
        self._prefix: tuple[str, ...] = ()
        self._budget = random.randint(2, _MOST_NODES)

    def body(self) -> Sequence:
        """A whole saga; its first step is called ``first``."""
        first = self.call("first", ("shop", "act"), Const(0), read_only=False)
        sequence, _ = self._sequence((), (Seen("first", ()),), 0)
        return Sequence((first, *sequence.nodes))

    def call(self, name: str, kind: tuple[str, str], argument: Expr, *, read_only: bool) -> Call:
        """A step by a participant of this kind: ``(service, participant)``."""
        service, participant = kind
        timeout_s = STEP_TIMEOUT_S if service == FORGETFUL else self._timeout_s()
        return Call(
            name=name,
            service=service,
            participant=participant,
            queue=f"saga.{service}",
            args={"a": argument},
            timeout_s=timeout_s,
            retry=self.policy(),
            undo=None if read_only else Undo(f"{participant}.undo", timeout_s, self.policy()),
            read_only=read_only,
            barrier=participant in WITH_SESSION,
            confirm=self._finish("confirm", kind),
            cancel=self._finish("cancel", kind),
        )

    def branch(self, name: str, kind: tuple[str, str], how: Branch, argument: Expr) -> Call:
        """A step of an atomic group."""
        call = self.call(name, kind, argument, read_only=how == "reader")
        return replace(call, branch=how)

    def policy(self) -> RetryPolicy:
        """When to try again; some errors may be final."""
        random = self._random
        return RetryPolicy(
            attempts=random.choice((1, 2, 3, None)),
            budget_s=random.choice((15.0, 40.0)),
            strategy=random.choice(("exponential", "linear", "fixed")),
            initial_s=1.0,
            jitter=random.choice((0.0, 0.25)),
            final=random.choice(((), (), ("builtins.OSError",))),
        )

    def _finish(self, name: str, kind: tuple[str, str]) -> Finish | None:
        if kind not in _TRIES:
            return None
        return Finish(f"{kind[1]}.{name}", self._timeout_s(), self.policy())

    def _timeout_s(self) -> float:
        return self._random.choice((4.0, STEP_TIMEOUT_S, STEP_TIMEOUT_S, 30.0))

    def _sequence(
        self, scope: Scope, seen: tuple[Seen, ...], depth: int
    ) -> tuple[Sequence, tuple[Seen, ...]]:
        nodes: list[Node] = []
        for _ in range(self._random.randint(1, 3)):
            if self._budget <= 0:
                break
            node, seen = self._node(scope, seen, depth)
            nodes.append(node)
        return Sequence(tuple(nodes)), seen

    def _node(self, scope: Scope, seen: tuple[Seen, ...], depth: int) -> Grown:
        self._budget -= 1
        kinds = [*["call"] * 6, "wait", "sleep", "atomic", "atomic"]
        if depth < _DEEPEST:
            kinds += ["parallel", "parallel", "when", "each", "map", "sequence", "saga"]
        match self._random.choice(kinds):
            case "parallel":
                return self._parallel(scope, seen, depth)
            case "when":
                return self._when(scope, seen, depth)
            case "each":
                return self._each(scope, seen, depth)
            case "map":
                return self._map(scope, seen)
            case "sequence":
                return self._sequence(scope, seen, depth + 1)
            case "saga":
                return self._saga(scope, seen, depth)
            case "atomic":
                return self._atomic(scope, seen)
            case kind:
                return self._leaf(kind, scope, seen)

    def _leaf(self, kind: str, scope: Scope, seen: tuple[Seen, ...]) -> Grown:
        random, name = self._random, self._name()
        node: Node
        match kind:
            case "wait":
                timeout_s = random.choice((None, 20.0, 200.0))
                node = Wait(name, random.choice(SIGNALS), timeout_s, "int")
            case "sleep":
                node = Sleep(name, expressions.duration(random))
            case _:
                read_only = random.random() < 0.1
                chosen = ("shop", "look") if read_only else random.choice(self.kinds)
                argument = expressions.value(random, scope, seen)
                node = self.call(name, chosen, argument, read_only=read_only)
        return node, (*seen, Seen(name, scope))

    def _parallel(self, scope: Scope, seen: tuple[Seen, ...], depth: int) -> Grown:
        branches: list[Node] = []
        after = seen
        for _ in range(self._random.randint(1, 3)):
            branch, inner = self._sequence(scope, seen, depth + 1)
            branches.append(branch)
            after = (*after, *inner[len(seen) :])
        return Parallel(tuple(branches)), after

    def _when(self, scope: Scope, seen: tuple[Seen, ...], depth: int) -> Grown:
        name, condition = self._name(), expressions.condition(self._random)
        then, inner = self._sequence(scope, seen, depth + 1)
        after = (*seen, *inner[len(seen) :])
        otherwise = None
        if self._random.random() < 0.5:
            otherwise, inner = self._sequence(scope, seen, depth + 1)
            after = (*after, *inner[len(seen) :])
        return When(name, condition, then, otherwise), after

    def _each(self, scope: Scope, seen: tuple[Seen, ...], depth: int) -> Grown:
        """A saga's steps for every item."""
        name = self._name()
        body, inner = self._sequence((*scope, name), seen, depth + 1)
        return Each(name, expressions.items(self._random), body), (*seen, *inner[len(seen) :])

    def _map(self, scope: Scope, seen: tuple[Seen, ...]) -> Grown:
        """One participant for every item."""
        name = f"s{self._names + 1}.items"
        body, inner = self._leaf("call", (*scope, name), seen)
        return Each(name, expressions.items(self._random), body), inner

    def _saga(self, scope: Scope, seen: tuple[Seen, ...], depth: int) -> Grown:
        """A saga inside: its steps carry its name, and what it returns is named after it."""
        name = self._name()
        outer, self._prefix = self._prefix, (*self._prefix, name)
        inner, after = self._sequence(scope, seen, depth + 1)
        self._prefix = outer
        returned = Let(name, expressions.value(self._random, scope, after))
        return Sequence((*inner.nodes, returned)), (*after, Seen(name, scope))

    def _atomic(self, scope: Scope, seen: tuple[Seen, ...]) -> Grown:
        """A group; its branches read nothing of each other."""
        random, name = self._random, self._name()
        chosen = [random.choice(GROUPED) for _ in range(random.choice((1, 2, 2, 3)))]
        if random.random() < 0.3:
            chosen.append((("shop", "act"), "last"))
        branches = [
            self.branch(self._name(), kind, how, expressions.value(random, scope, seen))
            for kind, how in chosen
        ]
        group = Atomic(name, tuple(branches), random.choice((12.0, 40.0)), self.policy())
        return group, (*seen, *(Seen(branch.name, scope) for branch in branches))

    def _name(self) -> str:
        self._names += 1
        return ".".join((*self._prefix, f"s{self._names}"))
