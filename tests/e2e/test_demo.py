"""``python -m sagas.demo`` on real servers: what it shows is what happened, and its exit code says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sagas.demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(400)
def test_the_demo_ends_well(tmp_path: Path) -> None:
    done = _demo("--folder", str(tmp_path / "demo"))
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert "300 orders launched" in said
    assert _outcomes(said) == {
        ("completed", ""): 282,
        ("compensated", "charge: card declined"): 6,
        ("compensated", "quote: no courier goes to Atlantis"): 4,
        ("compensated", "reserve: out of stock: lantern"): 4,
        ("compensated", "dispatch: no place left on the boat to Island"): 3,
        ("stuck", "charge: westbank takes no refunds: its line is down"): 1,
    }
    assert "eastbank doesn't answer" in said  # what was tried again
    assert "charge is undone" in said  # the compensated run
    repair = said.partition("The repair")[2].partition("The books")[0]
    assert re.search(r"\$ saga retry \w+ --reason", repair), repair
    assert re.search(
        r"the undo of charge is retried.*charge is undone.*run compensated", repair, re.DOTALL
    )
    books = said.partition("The books")[2]
    assert books.count("✔") == 12  # eleven counts, and the last line
    assert "✖" not in books


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    done = _demo("--folder", str(tmp_path))
    assert done.returncode == 2
    assert "name another --folder" in done.stderr
    assert precious.read_text() == "mine"


def _outcomes(said: str) -> dict[tuple[str, str], int]:
    table = said.partition("What became of them")[2].partition("attempts failed")[0]
    rows = re.findall(r"^ *(\d+)  (completed|compensated|stuck) *(.*?) *$", table, re.MULTILINE)
    return {(outcome, reason): int(number) for number, outcome, reason in rows}
