"""What `docs/reliability.md` says is shown by a test is shown by one that exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from tests.mutation.guards import GUARDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
IDS = sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", PAGE)))
WITNESSES = sorted({witness for guard in GUARDS.values() for witness in guard.witnesses})


def test_every_saga_fault_has_a_row_with_a_test() -> None:
    rows = {
        cells[1].strip(): cells[4]
        for line in PAGE.splitlines()
        if len(cells := line.split("|")) == 6 and re.fullmatch(r" S\d+ ", cells[1])
    }
    assert sorted(rows, key=lambda name: int(name[1:])) == [f"S{n}" for n in range(1, 15)]
    assert [name for name, tests in rows.items() if "::" not in tests] == []


def test_every_row_of_the_two_phase_matrix_has_a_test() -> None:
    rows = {
        cells[1].strip(): cells[4]
        for line in PAGE.splitlines()
        if len(cells := line.split("|")) == 6 and re.fullmatch(r" [CPQRO]\d+ ", cells[1])
    }
    assert set(rows) == {
        *(f"C{n}" for n in range(1, 13)),
        *(f"P{n}" for n in range(1, 18) if n not in {11, 16}),
        *(f"Q{n}" for n in range(1, 12) if n != 10),
        *(f"R{n}" for n in range(1, 5)),
        *(f"O{n}" for n in range(1, 5)),
    }
    assert [name for name, tests in rows.items() if "::" not in tests] == []


def test_every_test_it_names_exists() -> None:
    assert [test for test in IDS if not _exists(test)] == []


def test_every_witness_of_a_guard_exists() -> None:
    assert [test for test in WITNESSES if not _exists(test)] == []


def test_there_are_some() -> None:
    assert len(IDS) > 50
    assert len(WITNESSES) > 15


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return name.partition("[")[0] in _defined(path)


@functools.cache
def _defined(path: str) -> set[str]:
    """The tests of a file, as pytest names them."""
    tree = ast.parse((ROOT / path).read_text())
    found = {""} | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
            found |= {f"{node.name}::{name}" for name in methods}
    return found
