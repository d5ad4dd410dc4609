"""A run on one page: who it is, its plan as a tree, why it waits, and the commands that would help."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.looks import (
    LOOKS,
    SHORTEST_ID,
    TONES,
    ago,
    clock,
    status_text,
    value_text,
)
from orchestrator.cli.output import Output, table
from orchestrator.kernel.state import PARKED
from orchestrator.views.advice import Advice
from orchestrator.views.attempts import Attempt, repeated
from orchestrator.views.look import RunLook
from orchestrator.views.spans import span_text
from orchestrator.views.steps import NOT_BEGUN, NodeView, StepView, steps_of
from orchestrator.views.timeline import Entry

ITEMS_SHOWN = 5
"""Of a fan-out: those that need a look first; --full shows all."""
_VALUE_WIDTH = 60
_PARKED = {status.value for status in PARKED}


def run_page(seen: RunLook, now: float, out: Output, *, full: bool) -> Iterator[RenderableType]:
    """The page, part by part."""
    page = _Page(now, out, full=full)
    yield from _head(seen, now, out, page.limit)
    yield page.tree(seen.plan)
    if seen.run.result is not None:
        yield Text.assemble(("result  ", "bold"), value_text(seen.run.result, page.limit))
    if seen.advice:
        yield Text("")
        yield Text("What you can do", style="bold")
        yield _advice(seen)


def events_table(entries: Sequence[Entry]) -> Table:
    """A run's events, one a line."""
    by_person = any(entry.actor for entry in entries[1:])
    shown = table(
        "time",
        "after",
        "what happened",
        *(["by"] if by_person else []),
        right=("after",),
        wrap="what happened",
    )
    for entry in entries:
        text = Text(entry.text, style=TONES[entry.tone])
        for label, steps in (("starts", entry.began), ("undoes", entry.undoing)):
            if steps:
                text.append(f"  {label} {_names(steps)}", style="dim")
        cells = [
            Text(clock(entry.at), style="dim"),
            Text(f"+{span_text(max(0.0, entry.after_s))}"),
            text,
            *([Text(entry.actor, style="dim")] if by_person else []),
        ]
        shown.add_row(*cells)
    return shown


def command_for(advice: Advice, run_id: str) -> str:
    """The command line that carries out an advice."""
    short = run_id[:SHORTEST_ID]
    step = shlex.quote(advice.step)
    match advice.operation:
        case "retry":
            return f"saga retry {short} --step {step}"
        case "skip":
            return f"saga skip {short} {step} --result JSON"
        case "resolve as done":
            return f"saga resolve {short} {step} --result JSON"
        case "resolve as undone":
            return f"saga resolve {short} {step} --undone"
        case "forget":
            return f"saga forget {short} {step}"
        case "compensate":
            return f"saga compensate {short}"


def _head(seen: RunLook, now: float, out: Output, limit: int) -> Iterator[RenderableType]:
    run = seen.run
    status = status_text(run.status, ascii_only=out.ascii_only)
    yield Text.assemble((run.saga, "bold"), f" {run.run_id}  ", status)
    facts = [f"version {run.version}", f"launched {ago(now, run.launched_at)}"]
    if seen.actor:
        facts[-1] += f" by {seen.actor}"
    if run.key is not None:
        facts.insert(0, f"key {run.key}")
    facts += [f"{name}={value}" for name, value in sorted(run.tags.items())]
    if run.ended_at is not None:
        facts.append(f"took {span_text(max(0.0, run.ended_at - run.launched_at))}")
    yield Text(" · ".join(facts), style="dim")
    if run.status == "accepted":
        yield Text("accepted; waits for a coordinator", style="blue")
    if run.reason:
        label = "needs a person: " if run.status == "stuck" else "because: "
        yield Text.assemble((label, "bold"), (run.reason, LOOKS[run.status].style))
    if seen.input:
        yield Text.assemble(("input  ", "bold"), value_text(seen.input, limit))


class _Page:
    def __init__(self, now: float, out: Output, *, full: bool) -> None:
        self._now = now
        self._ascii = out.ascii_only
        self._full = full
        self.limit = 0 if full else max(_VALUE_WIDTH, min(out.console.width, 160) - 20)

    def tree(self, node: NodeView) -> Tree:
        """The plan, from its first step on; what only holds steps together isn't shown as a level."""
        root = Tree("", hide_root=True, guide_style="dim")
        for child in node.nodes:
            self._add(root, child)
        return root

    def _add(self, parent: Tree, node: NodeView) -> None:
        if node.shape == "sequence":
            for child in node.nodes:
                self._add(parent, child)
            return
        if node.step is not None and not node.label:
            self._step(parent, node.step)
            return
        branch = parent.add(Text(node.label, style="italic dim"))
        if node.step is not None:
            self._step(branch, node.step)
        shown = node.nodes if node.shape != "each" or self._full else _worth_a_look(node.nodes)
        for child in shown:
            self._add(branch, child)
        if len(shown) < len(node.nodes):
            branch.add(Text(_rest(node.nodes, shown), style="dim"))

    def _step(self, parent: Tree, step: StepView) -> None:
        look = LOOKS[step.status]
        line = Text.assemble(
            (look.ascii if self._ascii else look.mark, look.style),
            " ",
            (step.step, "dim" if step.status == NOT_BEGUN else "bold"),
        )
        if step.heuristic:
            line.append(f" heuristic {step.heuristic}", style="bold red")
        if step.pivot:
            line.append(" pivot", style="yellow")
        if step.status not in {"done", NOT_BEGUN}:
            line.append(f"  {step.status}", style=look.style)
        if step.decision:
            line.append(f"  decision: {step.decision}", style="bold")
        for fact in self._facts(step):
            line.append(f"  {fact}", style="dim")
        branch = parent.add(line)
        for detail in self._details(step):
            branch.add(detail)

    def _facts(self, step: StepView) -> Iterator[str]:
        if step.status == NOT_BEGUN:
            return
        if step.duration_s is not None and step.shape != "when":
            yield span_text(step.duration_s)
        if step.undo_duration_s is not None:
            yield f"undo {span_text(step.undo_duration_s)}"
        if not self._full:
            yield from repeated(step.attempts)

    def _details(self, step: StepView) -> Iterator[Text]:
        if step.waits and step.status not in _PARKED and step.status != NOT_BEGUN:
            yield Text(step.waits, style="cyan")
        if self._full:
            if step.participant:
                yield Text(f"{step.participant} on queue {step.queue}", style="dim")
            if step.args:
                yield Text.assemble(("args ", "dim"), value_text(step.args))
            for attempt in step.attempts:
                yield _attempt(attempt)
        elif step.args and step.status in _PARKED:
            yield Text.assemble(("args ", "dim"), value_text(step.args, self.limit))
        if step.reason and step.status in _PARKED | {"refused", "failed", "undo failed"}:
            yield Text(step.reason, style=LOOKS[step.status].style)
        if step.result is not None:
            yield Text.assemble(("gave ", "dim"), (value_text(step.result, self.limit), "dim"))


def _attempt(attempt: Attempt) -> Text:
    if not attempt.attempt:
        why = f": {attempt.message}" if attempt.message else ""
        return Text(f"{attempt.outcome} at {clock(attempt.at)}{why}", "dim")
    kind = "" if attempt.kind == "do" else f"{attempt.kind} "
    text = Text(f"{kind}attempt {attempt.attempt} {attempt.outcome} at {clock(attempt.at)}", "dim")
    if attempt.took_s is not None:
        text.append(f" in {span_text(attempt.took_s)}")
    if attempt.message:
        name = attempt.error.rpartition(".")[2]
        text.append(f": {name}: {attempt.message}" if name else f": {attempt.message}")
    return text


def _worth_a_look(items: Sequence[NodeView]) -> list[NodeView]:
    """The items that aren't simply done, in order, then others, up to ``ITEMS_SHOWN``."""
    if len(items) <= ITEMS_SHOWN:
        return list(items)
    quiet = {"done", NOT_BEGUN}
    odd = [item for item in items if any(step.status not in quiet for step in steps_of(item))]
    chosen = [*odd, *(item for item in items if item not in odd)][:ITEMS_SHOWN]
    return [item for item in items if item in chosen]


def _rest(items: Sequence[NodeView], shown: Sequence[NodeView]) -> str:
    hidden = [item for item in items if item not in shown]
    counts = Counter(step.status for item in hidden for step in steps_of(item))
    steps = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    return f"and {len(hidden)} more ({steps}); --full shows all"


def _advice(seen: RunLook) -> Table:
    shown = Table.grid(padding=(0, 2, 0, 2), pad_edge=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for item in seen.advice:
        shown.add_row(
            Text(command_for(item, seen.run.run_id), style="bold"), Text(item.effect, style="dim")
        )
    return shown


def _names(steps: Sequence[str]) -> str:
    if len(steps) <= ITEMS_SHOWN:
        return ", ".join(steps)
    return f"{', '.join(steps[:ITEMS_SHOWN])} and {len(steps) - ITEMS_SHOWN} more"
