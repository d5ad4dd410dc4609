"""Plans as pictures: Mermaid for documents, SVG for pages and the console."""

from __future__ import annotations

from itertools import count

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
)
from orchestrator.definition.svg import branch_text, duration_text, group_text, shortened, svg

__all__ = ["mermaid", "svg"]

_STYLES = (
    "classDef step fill:#eef4ff,stroke:#4a72c4,color:#16233f",
    "classDef pivot fill:#fff1e0,stroke:#c8681a,color:#4a2500,stroke-width:3px",
    "classDef still fill:#f3f3f5,stroke:#8a8a94,color:#2b2b30",
    "classDef end_ fill:#e7f6ec,stroke:#3a9158,color:#0f3d20",
)

_Exits = list[tuple[str, str]]
"""Where the next node hangs on: a node's id, and the label of the edge from it."""


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart. A step's second line is its participant, its third its undo (↩)."""
    drawing = _Mermaid()
    drawing.line(f'start(["{_text(plan.saga)} · version {plan.version}"]):::end_')
    exits = drawing.node(plan.body, [("start", "")])
    result = text_of(plan.result)
    ended = "completed" if result == "null" else f"completed: {shortened(result, 60)}"
    drawing.line(f'done(["{_text(ended)}"]):::end_')
    drawing.edges(exits, "done")
    return (
        "\n".join(["flowchart TD", *(f"    {line}" for line in (*drawing.lines, *_STYLES))]) + "\n"
    )


class _Mermaid:
    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._edges: list[str] = []
        self._numbers = count(1)
        self._indent = ""

    @property
    def lines(self) -> list[str]:
        return [*self._nodes, *self._edges]

    def line(self, text: str) -> None:
        self._nodes.append(self._indent + text)

    def edges(self, exits: _Exits, to: str) -> None:
        """Kept for the end: a subgraph takes in every node an edge inside it names."""
        for origin, label in exits:
            self._edges.append(f'{origin} -->|"{label}"| {to}' if label else f"{origin} --> {to}")

    def node(self, node: Node, entries: _Exits) -> _Exits:
        match node:
            case Sequence():
                for child in node.nodes:
                    entries = self.node(child, entries)
                return entries
            case Parallel():
                return self._parallel(node.branches, entries)
            case Atomic():
                return self._atomic(node, entries)
            case When():
                return self._when(node, entries)
            case Each():
                return self._each(node, entries)
            case Let():
                return entries
            case _:
                return self._leaf(_box(node), entries)

    def _atomic(self, node: Atomic, entries: _Exits) -> _Exits:
        """All that commits together in one frame."""
        number = next(self._numbers)
        self.line(f'subgraph atomic{number}["{_text(group_text(node))}"]')
        self._indent += "    "
        exits = self._parallel(node.branches, entries)
        self._indent = self._indent[:-4]
        self.line("end")
        return exits

    def _parallel(self, branches: tuple[Node, ...], entries: _Exits) -> _Exits:
        fork = self._leaf('(("&nbsp;")):::still', entries)
        exits = [end for branch in branches for end in self.node(branch, fork)]
        return self._leaf('(("&nbsp;")):::still', exits)

    def _when(self, node: When, entries: _Exits) -> _Exits:
        ((condition, _),) = self._leaf(f'{{"{_text(text_of(node.condition))}"}}:::still', entries)
        taken = self.node(node.then, [(condition, "yes")])
        if node.otherwise is None:
            return [*taken, (condition, "no")]
        return [*taken, *self.node(node.otherwise, [(condition, "no")])]

    def _each(self, node: Each, entries: _Exits) -> _Exits:
        number = next(self._numbers)
        self.line(
            f'subgraph each{number}["for each of {_text(shortened(text_of(node.items), 60))}"]'
        )
        self._indent += "    "
        exits = self.node(node.body, entries)
        self._indent = self._indent[:-4]
        self.line("end")
        return exits

    def _leaf(self, box: str, entries: _Exits) -> _Exits:
        name = f"n{next(self._numbers)}"
        self.line(name + box)
        self.edges(entries, name)
        return [(name, "")]


def _box(node: Call | Wait | Sleep) -> str:
    match node:
        case Call():
            rows = [f"<b>{_text(node.name)}</b>", _text(f"{node.service}.{node.participant}")]
            if node.branch:
                rows.append(_text(branch_text(node)))
            if node.undo is not None:
                rows.append(f"↩ {_text(node.undo.name)}")
            if node.read_only:
                rows.append("read-only")
            if node.pivot:
                rows.append("pivot: from here only forward")
                return f'{{{{"{"<br/>".join(rows)}"}}}}:::pivot'
            return f'["{"<br/>".join(rows)}"]:::step'
        case Wait():
            limit = "" if node.timeout_s is None else f", at most {duration_text(node.timeout_s)}"
            return f'[/"wait for {_text(node.signal)}{limit}"/]:::still'
        case Sleep():
            return f'(["sleep {_text(duration_text(node.duration))}"]):::still'


def _text(text: str) -> str:
    """Text for a quoted Mermaid label."""
    escaped = (
        text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    )
    return escaped.replace("`", "#96;").replace("\n", " ")
