"""Drawings show every step, its undo, the pivot and the shape, and survive any text."""

import re
from xml.etree import ElementTree as ET

import pytest

from orchestrator.definition.drawing import mermaid, svg
from orchestrator.definition.plan import Plan
from orchestrator.definition.shapes import otherwise, parallel, sequence, sleep, wait_for, when
from orchestrator.definition.svg import duration_text
from tests.unit.definition.actions import action, compiled, final, reading

SVG = "{http://www.w3.org/2000/svg}"


@action
def reserve(sku: str) -> str:
    return sku


@reading
def quote(sku: str) -> str:
    return sku


@final
def ship(sku: str) -> str:
    return sku


@final
def mail(sku: str) -> str:
    return sku


def place(sku: str, lines: list[str]) -> str:
    reserve(sku)
    with parallel():
        quote(sku)
        with sequence():
            quote(sku)
            quote.map(lines)
    with when(sku == '<b>"&`'):
        reserve("a")
    with otherwise():
        quote("b")
    with when(sku > "x"):
        quote("c")
    wait_for("approval", str, 5400)
    sleep(90)
    ship.pivot(sku)
    return mail(sku)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compiled(place)


def words(drawing: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(drawing).iter(f"{SVG}text")]


def test_the_svg_says_everything(plan: Plan) -> None:
    shown = words(svg(plan))
    for step, _ in plan.steps():
        if hasattr(step, "participant"):
            assert step.name in shown
    assert shown[0] == "place · version 1"
    assert shown[-1] == "completed: mail"
    for text in (
        "shop.reserve",
        "↩ back",
        "read-only",
        "pivot: from here only forward",
        "for each of lines",
        'sku == "<b>\\"&`"',
        "wait for approval",
        "at most 1 h 30 min",
        "sleep 1 min 30 s",
    ):
        assert text in shown
    assert shown.count("yes") == shown.count("no") == 2


def test_the_svg_stands_alone_and_knows_light_and_dark(plan: Plan) -> None:
    drawing = svg(plan)
    assert "prefers-color-scheme:dark" in drawing
    assert re.findall(r"https?://[^\"]*", drawing) == ["http://www.w3.org/2000/svg"]
    assert "aria-label=" in drawing


def test_nothing_in_the_svg_overlaps_or_leaves_the_page(plan: Plan) -> None:
    root = ET.fromstring(svg(plan))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    cards = [e.attrib for e in root.iter(f"{SVG}rect") if "card" in e.attrib["class"]]
    boxes = [tuple(float(card[name]) for name in ("x", "y", "width", "height")) for card in cards]
    assert len(boxes) == 13
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for i, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[i + 1 :]:
            apart = (
                x + w <= other_x
                or other_x + other_w <= x
                or y + h <= other_y
                or other_y + other_h <= y
            )
            assert apart


def test_mermaid_has_a_node_and_a_way_for_every_step(plan: Plan) -> None:
    lines = [line.strip() for line in mermaid(plan).splitlines()]
    assert lines[0] == "flowchart TD"
    nodes = {m[1] for line in lines if (m := re.match(r"(\w+)(\[|\(|\{)", line))}
    edges = [
        m.groups()
        for line in lines
        if (m := re.fullmatch(r"(\w+) -->(?:\|\"\w+\"\|)? (\w+)", line))
    ]
    assert {name for edge in edges for name in edge} == nodes
    reached = {"start"}
    while more := {to for origin, to in edges if origin in reached} - reached:
        reached |= more
    assert reached == nodes
    assert sum("<b>" in line for line in lines) == 9


def test_mermaid_marks_undo_pivot_and_fan_out_and_escapes(plan: Plan) -> None:
    drawing = mermaid(plan)
    assert '["<b>reserve</b><br/>shop.reserve<br/>↩ back"]:::step' in drawing
    assert '{{"<b>ship</b><br/>shop.ship<br/>pivot: from here only forward"}}:::pivot' in drawing
    assert "subgraph each" in drawing
    assert '["for each of lines"]' in drawing
    assert "sku == #quot;#lt;b#gt;\\#quot;#amp;#96;#quot;" in drawing


def test_edges_stand_outside_subgraphs(plan: Plan) -> None:
    inside = False
    for line in mermaid(plan).splitlines():
        inside = (inside or "subgraph" in line) and line.strip() != "end"
        assert not (inside and "-->" in line)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.5, "0.5 s"), (60, "1 min"), (3661, "1 h 1 min 1 s"), (172800, "2 d")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
