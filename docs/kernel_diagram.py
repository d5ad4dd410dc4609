"""Draws the states of a step from the kernel's own tables into ``kernel.md``: ``python docs/kernel_diagram.py``.

A test fails while the page isn't what this would write.
"""  # noqa: INP001 - a script beside its page

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.kernel.state import (
    COMPENSATION_STARTED,
    GROUP_OPEN,
    STARTS,
    TRANSITIONS,
    UNDO_DUE,
    Status,
)
from orchestrator.kernel.two_phase import (
    BEGINS,
    BRANCHES,
    FOLLOWS,
    GROUPS,
    HALTED,
    IN_GROUP,
    SETTLED,
)

PAGE = Path(__file__).parent / "kernel.md"
BEGIN = "<!-- drawn by docs/kernel_diagram.py from orchestrator/kernel/state.py and two_phase.py; don't edit -->"
END = "<!-- end of the drawing -->"


def drawing() -> str:
    """The Mermaid state diagrams of an action, its undo, a callback, an atomic group and its branches."""
    callback = {Status.CALLING, Status.CALL_FAILED, Status.CALL_PARKED, Status.HEARD}
    undo = {Status.UNDOING, Status.UNDO_FAILED, Status.UNDO_PARKED, Status.UNDONE}
    groups = {
        "An action, a wait or a sleep": set(Status)
        - callback
        - undo
        - IN_GROUP
        - GROUP_OPEN
        - {Status.ABORTED},
        "An undo": undo,
        "A callback": callback,
    }
    parts = [f"### {title}\n\n{_diagram(mine, groups)}" for title, mine in groups.items()]
    parts += [
        f"### {title}\n\n{_mermaid(_labelled(edges))}"
        for title, edges in (
            ("An atomic group", _group_edges()),
            ("A branch of an atomic group", _branch_edges()),
        )
    ]
    return "\n\n".join(parts)


def renewed(page: str) -> str:
    """``page`` with the drawing between its markers made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{drawing()}\n\n{END}{after}"


def _diagram(mine: set[Status], groups: Mapping[str, set[Status]]) -> str:
    return _mermaid(
        _labelled(
            (old, new, label)
            for old, new, label in _edges()
            if old in mine or (new in mine and not any(old in group for group in groups.values()))
        )
    )


def _labelled(edges: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], list[str]]:
    labels: dict[tuple[str, str], list[str]] = {}
    for old, new, label in edges:
        labels.setdefault((old, new), []).append(label)
    return labels


def _mermaid(labels: dict[tuple[str, str], list[str]]) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{name}" as {_id(name)}' for name in _names(labels)]
    for (old, new), texts in labels.items():
        text = f": {' / '.join(texts)}" if any(texts) else ""
        lines.append(f"    {_id(old)} --> {_id(new)}{text}")
    return "\n".join([*lines, "```"])


def _edges() -> Iterator[tuple[str, str, str]]:
    for status, why in STARTS.items():
        yield "[*]", status, why
    for (old, label), new in TRANSITIONS.items():
        yield old, new, label
    for old, news in COMPENSATION_STARTED.items():
        for new in news:
            yield old, new, "CompensationStarted"
    for old in Status:
        if old in UNDO_DUE:
            yield old, Status.UNDOING, "its undo is due"
            yield old, Status.UNDO_FAILED, "its undo is due and there is none"


def _group_edges() -> Iterator[tuple[str, str, str]]:
    yield "[*]", Status.VOTING, BEGINS[Status.VOTING]
    yield "[*]", Status.BROKEN, "an argument of a branch has no value"
    for (old, label), new in GROUPS.items():
        yield old, new, label
    for table, why in ((SETTLED, "its branches are settled"), (HALTED, "CompensationStarted")):
        for old, news in table.items():
            for new in news:
                yield old, new, why


def _branch_edges() -> Iterator[tuple[str, str, str]]:
    for status in (Status.PREPARING, Status.HELD):
        yield "[*]", status, BEGINS[status]
    for (old, label), new in BRANCHES.items():
        yield old, new, label
    for old, news in FOLLOWS.items():
        for new in news:
            yield old, new, "its group goes on"


def _names(labels: dict[tuple[str, str], list[str]]) -> list[str]:
    names = [name for edge in labels for name in edge if name != "[*]"]
    return list(dict.fromkeys(names))


def _id(name: str) -> str:
    return name.replace(" ", "_")


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
