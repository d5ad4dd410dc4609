"""A plan as one self-contained SVG that follows the reader's light or dark setting.

Every node is first measured as a box with its way in at the top centre and its way out at the bottom centre, then
placed by the box around it.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

from orchestrator.definition.expression_text import text_of
from orchestrator.definition.plan import (
    Atomic,
    Call,
    Const,
    Each,
    Expr,
    Let,
    Node,
    Parallel,
    Plan,
    Sequence,
    Sleep,
    Wait,
    When,
)

_GAP = 30
"""Between nodes below each other: room for an arrow."""
_BETWEEN = 28
"""Between branches."""
_MARGIN = 24
_PAD = 16

Draw = Callable[[float, float], list[str]]


class Box(NamedTuple):
    """A measured drawing; ``draw(x, y)`` draws it with its top centre there."""

    width: float
    height: float
    draw: Draw


def svg(plan: Plan) -> str:
    """The plan from top to bottom: parallel branches side by side, undos (↩) and the pivot marked."""
    result = text_of(plan.result)
    ended = "completed" if result == "null" else f"completed: {shortened(result, 48)}"
    body = _stacked(
        [
            _pill(f"{plan.saga} · version {plan.version}", "cap"),
            *_boxes(plan.body),
            _pill(ended, "cap"),
        ]
    )
    width, height = body.width + 2 * _MARGIN, body.height + 2 * _MARGIN
    size = f'width="{width:g}" height="{height:g}" role="img"'
    label = escape(f"plan of {plan.saga}, version {plan.version}", quote=True)
    return "\n".join(
        [
            f'<svg {_NAMESPACE} viewBox="0 0 {width:g} {height:g}" {size} aria-label="{label}">',
            f"<style>{_STYLE}</style>",
            _ARROW,
            f'<rect class="page" width="{width:g}" height="{height:g}" rx="12"/>',
            *body.draw(width / 2, _MARGIN),
            "</svg>",
            "",
        ]
    )


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters, with an ellipsis where some are left out."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def duration_text(duration: Expr | float) -> str:
    """A duration for people: ``90 s`` as ``1 min 30 s``, an expression as it is written."""
    if isinstance(duration, Const):
        duration = duration.value
    if not isinstance(duration, int | float):
        return str(duration) if isinstance(duration, str) else text_of(duration)
    parts = []
    left = float(duration)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole:g} {unit}")
    if left or not parts:
        parts.append(f"{left:g} s")
    return " ".join(parts)


def group_text(group: Atomic) -> str:
    """What stands over an atomic group."""
    return f"{group.name}: all or nothing, within {duration_text(group.timeout_s)}"


def branch_text(call: Call) -> str:
    """How a call takes part in its group."""
    match call.branch:
        case "tcc":
            names = [finish.name for finish in (call.confirm, call.cancel) if finish is not None]
            return f"try, then {' or '.join(names)}"
        case "last":
            return "last, in one phase"
        case "database":
            return "prepared"
        case _:
            return "votes only"


def _boxes(node: Node) -> list[Box]:
    match node:
        case Sequence():
            return [box for child in node.nodes for box in _boxes(child)]
        case Parallel():
            return [_parallel([_stacked(_boxes(branch)) for branch in node.branches])]
        case When():
            return [_when(node)]
        case Each():
            text = f"for each of {shortened(text_of(node.items), 44)}"
            return [_framed(_stacked(_boxes(node.body)), text, behind=True)]
        case Atomic():
            inside = _parallel([_call(branch) for branch in node.branches])
            return [_framed(inside, group_text(node), behind=False)]
        case Let():
            return []
        case Call():
            return [_call(node)]
        case Wait():
            limit = "" if node.timeout_s is None else f"at most {duration_text(node.timeout_s)}"
            return [_card(f"wait for {node.signal}", [limit] if limit else [], "still", _HOURGLASS)]
        case Sleep():
            return [
                _card(f"sleep {shortened(duration_text(node.duration), 40)}", [], "still", _CLOCK)
            ]


def _call(call: Call) -> Box:
    participant = f"{call.service}.{call.participant}"
    rows = [participant]
    if call.read_only:
        rows.append("read-only")
    if call.branch:
        rows.append(branch_text(call))
    if call.undo is not None:
        rows.append(f"↩ {call.undo.name}")
    card = _card(call.name, rows, "pivot" if call.pivot else "step", "")
    return _with_pivot_line(card) if call.pivot else card


def _card(title: str, rows: list[str], style: str, icon: str) -> Box:
    room = 24 if icon else 0
    widths = [_wide(title, 7.9) + room, *(_wide(row, 7.0) for row in rows)]
    width = max(120, max(widths) + 2 * _PAD)
    height = 38 + 17 * len(rows)

    def draw(x: float, y: float) -> list[str]:
        left = x - width / 2
        parts = [_rect(left, y, width, height, f"card {style}", 8)]
        if icon:
            parts.append(
                f'<path class="icon" transform="translate({left + _PAD:g} {y + 12:g})" d="{icon}"/>'
            )
        parts.append(_words(left + _PAD + room, y + 24, title, "title"))
        parts += [_words(left + _PAD, y + 43 + 17 * i, row, "row") for i, row in enumerate(rows)]
        return parts

    return Box(width, height, draw)


def _with_pivot_line(card: Box) -> Box:
    """The line under a pivot that a run never goes back over."""
    text = "pivot: from here only forward"
    width = max(card.width + 40, 2 * (_wide(text, 6.2) + 10))

    def draw(x: float, y: float) -> list[str]:
        line = y + card.height + 14
        return [
            *card.draw(x, y),
            _line(x, y + card.height, x, y + card.height + 22),
            f'<path class="no-return" d="M{x - width / 2:g} {line:g}H{x + width / 2:g}"/>',
            _words(x + 9, line + 15, text, "no-return-text"),
        ]

    return Box(width, card.height + 22, draw)


def _pill(text: str, style: str) -> Box:
    width = _wide(text, 7.9) + 2 * _PAD + 8

    def draw(x: float, y: float) -> list[str]:
        return [
            _rect(x - width / 2, y, width, 32, f"card {style}", 16),
            _words(x, y + 21, text, "middle title"),
        ]

    return Box(width, 32, draw)


def _stacked(boxes: list[Box]) -> Box:
    height = sum(box.height for box in boxes) + _GAP * max(len(boxes) - 1, 0)

    def draw(x: float, y: float) -> list[str]:
        parts = []
        for index, box in enumerate(boxes):
            if index:
                parts.append(_line(x, y - _GAP, x, y, arrow=True))
            parts += box.draw(x, y)
            y += box.height + _GAP
        return parts

    return Box(max((box.width for box in boxes), default=0), height, draw)


def _parallel(branches: list[Box]) -> Box:
    width = sum(branch.width for branch in branches) + _BETWEEN * (len(branches) - 1)
    tallest = max(branch.height for branch in branches)
    height = tallest + 2 * _GAP

    def draw(x: float, y: float) -> list[str]:
        parts = [_bar(x, y, width), _bar(x, y + height, width)]
        left = x - width / 2
        for branch in branches:
            centre = left + branch.width / 2
            parts.append(_line(centre, y, centre, y + _GAP, arrow=True))
            parts += branch.draw(centre, y + _GAP)
            parts.append(_line(centre, y + _GAP + branch.height, centre, y + height))
            left += branch.width + _BETWEEN
        return parts

    return Box(width, height, draw)


def _when(node: When) -> Box:
    text = shortened(text_of(node.condition), 52)
    across = _wide(text, 7.0) + 56
    sides = [
        _stacked(_boxes(node.then)),
        _nothing() if node.otherwise is None else _stacked(_boxes(node.otherwise)),
    ]
    span = sides[0].width / 2 + _BETWEEN + sides[1].width / 2
    outer = 2 * max(span / 2 + sides[0].width / 2, span / 2 + sides[1].width / 2)
    tallest = max(side.height for side in sides)
    top = 36 + _GAP + 8
    height = top + tallest + _GAP

    def draw(x: float, y: float) -> list[str]:
        shape = (
            f"M{x - across / 2:g} {y + 18:g}l18 -18h{across - 36:g}l18 18l-18 18h{36 - across:g}Z"
        )
        parts = [f'<path class="card still" d="{shape}"/>', _words(x, y + 23, text, "middle row")]
        for side, centre, label in (
            (sides[0], x - span / 2, "yes"),
            (sides[1], x + span / 2, "no"),
        ):
            turn = y + 36 + 10
            into = "" if side.height else " none"
            parts.append(
                f'<path class="line{into}" d="M{x:g} {y + 36:g}V{turn:g}H{centre:g}V{y + top:g}"/>'
            )
            parts.append(_words(centre + 7, turn + 17, label, "label"))
            parts += side.draw(centre, y + top)
            ended = y + top + side.height
            parts.append(
                f'<path class="line" d="M{centre:g} {ended:g}V{y + height - 10:g}H{x:g}V{y + height:g}"/>'
            )
        return parts

    return Box(max(outer, across), height, draw)


def _nothing() -> Box:
    """The branch of a condition that has no steps: a line passes by."""
    return Box(40, 0, lambda _x, _y: [])


def _framed(body: Box, text: str, *, behind: bool) -> Box:
    """Something with a frame around it; with another frame ``behind`` it, it is there many times."""
    width = max(body.width, _wide(text, 6.6)) + 2 * _PAD
    height = body.height + 44 + _PAD

    def draw(x: float, y: float) -> list[str]:
        return [
            *([_rect(x - width / 2 + 6, y - 6, width, height, "behind", 10)] if behind else []),
            _rect(x - width / 2, y, width, height, "each" if behind else "atomic", 10),
            _words(x - width / 2 + 12, y + 18, text, "label"),
            _line(x, y + 26, x, y + 44, arrow=True),
            *body.draw(x, y + 44),
            _line(x, y + 44 + body.height, x, y + height),
        ]

    return Box(width + 12, height, draw)


def _wide(text: str, per_character: float) -> float:
    return len(text) * per_character


def _rect(left: float, top: float, width: float, height: float, style: str, radius: float) -> str:
    return f'<rect class="{style}" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'


def _words(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, *, arrow: bool = False) -> str:
    return f'<path class="line{" arrow" if arrow else ""}" d="M{x:g} {y:g}L{to_x:g} {to_y:g}"/>'


def _bar(x: float, y: float, width: float) -> str:
    return f'<path class="bar" d="M{x - width / 2:g} {y:g}H{x + width / 2:g}"/>'


_HOURGLASS = "M2 1H12M2 15H12M3 1C3 6 11 10 11 15M11 1C11 6 3 10 3 15"
_CLOCK = "M8 1A7 7 0 1 0 8 15A7 7 0 1 0 8 1M8 4V8L11 10"

_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
_ARROW = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path class="tip" d="M0 0.5 8 4 0 7.5Z"/></marker></defs>'
)

_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1b2130}
.title{font-weight:600}
.row{font:11.5px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#4c566b}
.label{font-size:11.5px;fill:#5b6579}
.middle{text-anchor:middle}
.page{fill:#fff}
.card{stroke-width:1.5}
.step{fill:#f1f5ff;stroke:#5b7fd1}
.pivot{fill:#fff3e4;stroke:#c8681a;stroke-width:2.5}
.still{fill:#f4f4f6;stroke:#9297a3}
.cap{fill:#e9f6ee;stroke:#4a9c68}
.each{fill:#fff;fill-opacity:.6;stroke:#7c86a0;stroke-dasharray:5 4}
.behind{fill:none;stroke:#7c86a0;stroke-dasharray:5 4;opacity:.45}
.atomic{fill:#fff;fill-opacity:.6;stroke:#3a9158;stroke-width:2}
.line,.icon{fill:none;stroke:#6b7487;stroke-width:1.5}
.arrow{marker-end:url(#tip)}
.tip{fill:#6b7487}
.bar{fill:none;stroke:#3c4457;stroke-width:4;stroke-linecap:round}
.no-return{fill:none;stroke:#c8681a;stroke-width:2;stroke-dasharray:7 4}
.no-return-text{font-size:11px;fill:#a04f0c}
@media (prefers-color-scheme:dark){
text{fill:#e7eaf2}
.row{fill:#aab3c6}
.label{fill:#a2abbe}
.page{fill:#14171f}
.step{fill:#1d2740;stroke:#7b9be6}
.pivot{fill:#3a2410;stroke:#e58a3c}
.still{fill:#262a34;stroke:#868d9d}
.cap{fill:#16301f;stroke:#5fb680}
.each{fill:#1a1e28;stroke:#838da6}
.behind{stroke:#838da6}
.atomic{fill:#1a1e28;stroke:#5fb680}
.line,.icon{stroke:#98a1b5}
.tip{fill:#98a1b5}
.bar{stroke:#c3cadb}
.no-return{stroke:#e58a3c}
.no-return-text{fill:#f0a765}
}
"""
