"""The page on the kernel shows the tables as they are."""

from __future__ import annotations

from docs.kernel_diagram import PAGE, drawing, renewed
from orchestrator.kernel.state import COMPENSATION_STARTED, TRANSITIONS, Status
from orchestrator.kernel.two_phase import BRANCHES, GROUPS


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "run: python docs/kernel_diagram.py"


def test_every_transition_and_every_status_is_drawn() -> None:
    lines = drawing().splitlines()
    for (old, label), new in {**TRANSITIONS, **GROUPS, **BRANCHES}.items():
        arrow = (
            f"    {old} --> {new}:".replace(" --> ", "\0").replace(" ", "_").replace("\0", " --> ")
        )
        found = [line for line in lines if line.replace("    ", "____").startswith(arrow)]
        assert any(label in line for line in found)
    for status in Status:
        assert any(line.endswith(status.replace(" ", "_")) for line in lines)
    assert all(status in drawing() for status in COMPENSATION_STARTED)


def test_what_stands_around_the_drawing_is_kept() -> None:
    page = PAGE.read_text(encoding="utf-8")
    stale = page.replace("stateDiagram-v2", "stateDiagram-v1")
    assert renewed(f"{stale}\nmore\n") == f"{page}\nmore\n"
