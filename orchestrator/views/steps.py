"""A run as its plan: every step with its state, its attempts, and why it waits.

A pure function of the plan, the events and the time: the command line and the console show the same.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from orchestrator.definition.expression_text import text_of
from orchestrator.definition.plan import (
    Atomic,
    Call,
    Each,
    Let,
    Node,
    Parallel,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
    children,
    instance_key,
)
from orchestrator.journal.port import Recorded
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.program import RESULT
from orchestrator.kernel.state import RunState, StepState
from orchestrator.views.attempts import ABORT, COMMIT, Attempt, History, histories
from orchestrator.views.replay import replay
from orchestrator.views.waiting import why_it_waits

Shape = Literal[
    "sequence",
    "parallel",
    "when",
    "each",
    "item",
    "call",
    "wait",
    "sleep",
    "let",
    "callback",
    "atomic",
]

NOT_BEGUN = "not begun"


class StepView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of one run. Times in epoch seconds, durations in seconds."""

    step: str
    status: str
    shape: Shape
    participant: str = ""
    """``service.action`` of a call."""
    queue: str = ""
    signal: str = ""
    """What a wait waits for."""
    undo: str = ""
    """The name of a call's undo."""
    read_only: bool = False
    pivot: bool = False
    attempt: int = 0
    """The number of the latest attempt in the present direction, 0 before the first."""
    attempts_max: int | None = None
    attempts: tuple[Attempt, ...] = ()
    began_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    """From the moment it was due to its end, queueing and retries included; up to now if it runs."""
    took_s: float | None = None
    """What the attempt that succeeded took in its worker."""
    undo_began_at: float | None = None
    undo_ended_at: float | None = None
    undo_duration_s: float | None = None
    args: dict[str, Any] = {}
    result: Any = None
    reason: str = ""
    heuristic: str = ""
    """For a branch of an atomic group: what it did against the decision, until that is forgotten."""
    group: str = ""
    """For a branch: the step that its atomic group is."""
    decision: str = ""
    """For a group: ``commit`` or ``abort``, the last one."""
    waits: str = ""
    """Why it doesn't go on at this moment."""


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node of the plan: a step, or what holds steps together."""

    shape: Shape
    label: str = ""
    step: StepView | None = None
    nodes: tuple[NodeView, ...] = ()


def tree(plan: Plan, records: list[Recorded], now: float) -> NodeView:
    """The run's plan with the state of its steps after ``records``; ``now`` is for what waits."""
    state = None
    moments = []
    for moment in replay(plan, records):
        state = moment.state
        moments.append(moment)
    found = histories(moments)
    if state is None:
        return _Unbegun().node(plan.body)
    return _Tree(state, found, now).root()


def steps_of(node: NodeView) -> list[StepView]:
    """Every step below a node, in the order of the plan."""
    own = [] if node.step is None else [node.step]
    return own + [step for child in node.nodes for step in steps_of(child)]


class _Unbegun:
    """The tree of a run that was accepted but has no events yet."""

    def node(self, node: Node) -> NodeView:
        match node:
            case Sequence():
                return NodeView("sequence", nodes=tuple(map(self.node, node.nodes)))
            case Parallel():
                return NodeView("parallel", "parallel", nodes=tuple(map(self.node, node.branches)))
            case Atomic():
                inside = tuple(_within(node.name, self.node(branch)) for branch in node.branches)
                return NodeView("atomic", _all_or_nothing(node), not_begun(node, node.name), inside)
            case When():
                label = f"when {text_of(node.condition)}"
                return NodeView("when", label, nodes=tuple(map(self.node, children(node))))
            case Each():
                label = f"each of {text_of(node.items)}"
                return NodeView("each", label, nodes=(self.node(node.body),))
            case Let():
                return NodeView("sequence")
            case Call() | Wait() | Sleep():
                return NodeView(_shape(node), step=not_begun(node, node.name))


class _Tree:
    def __init__(self, state: RunState, found: dict[str, History], now: float) -> None:
        self._state = state
        self._found = found
        self._now = now
        self._unbegun = _Unbegun()

    def root(self) -> NodeView:
        body = self._node(self._state.program.plan.body, ())
        callbacks = tuple(
            NodeView("callback", step=self._begun(key, step, self._state.call(key)))
            for key, step in self._state.steps.items()
            if key.startswith("@") and key != RESULT
        )
        result = self._let(RESULT, ())
        results = () if result.step is None else (result,)
        return NodeView("sequence", nodes=(*body.nodes, *results, *callbacks))

    def _node(self, node: Node, index: tuple[int, ...]) -> NodeView:
        match node:
            case Sequence():
                return NodeView("sequence", nodes=self._nodes(node.nodes, index))
            case Parallel():
                return NodeView("parallel", "parallel", nodes=self._nodes(node.branches, index))
            case Atomic():
                return self._atomic(node, index)
            case When():
                return self._when(node, index)
            case Each():
                return self._each(node, index)
            case Let():
                return self._let(node.name, index)
            case Call() | Wait() | Sleep():
                key = instance_key(node.name, index)
                step = self._state.steps.get(key)
                view = not_begun(node, key) if step is None else self._begun(key, step, node)
                return NodeView(_shape(node), step=view)

    def _nodes(self, nodes: tuple[Node, ...], index: tuple[int, ...]) -> tuple[NodeView, ...]:
        return tuple(self._node(node, index) for node in nodes)

    def _atomic(self, node: Atomic, index: tuple[int, ...]) -> NodeView:
        key = instance_key(node.name, index)
        own = self._own(node, key) or not_begun(node, key)
        inside = tuple(_within(key, branch) for branch in self._nodes(node.branches, index))
        return NodeView("atomic", _all_or_nothing(node), own, inside)

    def _when(self, node: When, index: tuple[int, ...]) -> NodeView:
        key = instance_key(node.name, index)
        taken = self._state.branches.get(key)
        label = f"when {text_of(node.condition)}"
        if taken is None:
            return NodeView("when", label, self._own(node, key), self._unbegun.node(node).nodes)
        branch = node.then if taken else node.otherwise
        inside = () if branch is None else (self._node(branch, index),)
        return NodeView(
            "when", f"{label}: {'yes' if taken else 'no'}", self._own(node, key), inside
        )

    def _each(self, node: Each, index: tuple[int, ...]) -> NodeView:
        key = instance_key(node.name, index)
        items = self._state.scopes.get(key)
        label = f"each of {text_of(node.items)}"
        if items is None:
            return NodeView("each", label, self._own(node, key), (self._unbegun.node(node.body),))
        inside = tuple(
            NodeView("item", f"item {i}", nodes=(self._node(node.body, (*index, i)),))
            for i in range(len(items))
        )
        return NodeView("each", f"{label}: {len(items)}", self._own(node, key), inside)

    def _let(self, name: str, index: tuple[int, ...]) -> NodeView:
        """A named value is shown only where it has none: then it is for a person to settle."""
        node = self._state.program.named[name]
        assert isinstance(node, Let)
        own = self._own(node, instance_key(name, index))
        return NodeView("sequence") if own is None else NodeView("let", step=own)

    def _own(self, node: When | Each | Let | Atomic, key: str) -> StepView | None:
        """A group is a step of its own, as is a condition or list that has no value, for a person to settle."""
        step = self._state.steps.get(key)
        return None if step is None else self._begun(key, step, node)

    def _begun(self, key: str, step: StepState, node: Node) -> StepView:
        history = self._found.get(key, History())
        do, undo = history.forward(_forward(key)), history.span("undo")
        call = node if isinstance(node, Call) else None
        policy = None
        if call is not None:
            undoing = undo is not None and call.undo is not None
            policy = call.undo.retry if undoing and call.undo else call.retry
        of_plan = None if policy is None else policy.attempts
        most = of_plan if step.limit is None else step.limit
        return StepView(
            step=key,
            status=step.status.value,
            shape="callback" if call is not None and key.startswith("@") else _shape(node),
            participant=f"{call.service}.{call.participant}" if call else "",
            queue=call.queue if call else "",
            signal=node.signal if isinstance(node, Wait) else "",
            undo=call.undo.name if call and call.undo else "",
            read_only=call.read_only if call else False,
            pivot=call.pivot if call else False,
            attempt=step.attempt,
            attempts_max=None if most is None else most + step.base,
            attempts=tuple(history.attempts),
            began_at=do.began_at if do else None,
            ended_at=do.ended_at if do else None,
            duration_s=do.duration_s(self._now) if do else None,
            took_s=history.took_s,
            undo_began_at=undo.began_at if undo else None,
            undo_ended_at=undo.ended_at if undo else None,
            undo_duration_s=undo.duration_s(self._now) if undo else None,
            args=step.args,
            result=step.result,
            reason=step.reason,
            heuristic=step.heuristic or "",
            decision=_decision(history),
            waits=why_it_waits(self._state, key, self._now),
        )


def not_begun(node: Call | Wait | Sleep | Atomic, key: str) -> StepView:
    """A step whose turn hasn't come."""
    call = node if isinstance(node, Call) else None
    return StepView(
        step=key,
        status=NOT_BEGUN,
        shape=_shape(node),
        participant=f"{call.service}.{call.participant}" if call else "",
        queue=call.queue if call else "",
        signal=node.signal if isinstance(node, Wait) else "",
        undo=call.undo.name if call and call.undo else "",
        read_only=call.read_only if call else False,
        pivot=call.pivot if call else False,
    )


def _within(group: str, branch: NodeView) -> NodeView:
    assert branch.step is not None, group
    return replace(branch, step=replace(branch.step, group=group))


def _decision(history: History) -> str:
    decided = [tried.outcome for tried in history.attempts if tried.outcome in {COMMIT, ABORT}]
    return {COMMIT: "commit", ABORT: "abort"}[decided[-1]] if decided else ""


def _all_or_nothing(group: Atomic) -> str:
    return f"all or nothing, within {group.timeout_s:g} s"


def _forward(key: str) -> CommandKind:
    return "callback" if key.startswith("@") else "do"


def _shape(node: Node) -> Shape:
    shape = type(node).__name__.lower()
    assert shape in {"call", "wait", "sleep", "when", "each", "let", "atomic"}, shape
    return shape  # type: ignore[return-value]
