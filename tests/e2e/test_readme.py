"""The README, typed as it stands: its files, its commands in two terminals, and its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.terminal import terminal, typed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OWN_SAGA = README.partition("## Your own saga")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", OWN_SAGA, re.DOTALL)


@pytest.mark.timeout(300)
def test_the_quickstart_works_as_it_stands(tmp_path: Path) -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["python", "sh", "sh", "python", "sh"]
    (_, saga), (_, start), (_, commands), (_, program), (_, run_it) = BLOCKS
    (tmp_path / "hotel.py").write_text(saga)
    (tmp_path / "launch.py").write_text(program)
    first = tmp_path / "first-terminal.txt"
    with terminal(tmp_path, start, first):
        second = typed(tmp_path, commands)
        assert second.returncode == 0, second.stdout + second.stderr
        ada, bob = second.stdout.index("✔ completed"), second.stdout.index("↩ compensated")
        assert ada < second.stdout.index('"room 7 for Ada"') < bob
        assert "charge: card declined" in second.stdout
        assert "book is undone" in second.stdout
        third = typed(tmp_path, f"export SAGA_CONFIG=.dev/saga.toml\n{run_it}")
        assert third.stdout == "room 7 for Cleo\n", third.stderr
    assert "everything is stopped" in first.read_text()


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test", "dev", "venv"} <= named
    assert named <= targets


def test_the_saga_it_shows_is_the_one_that_ships() -> None:
    shown = re.search(r"```python\n(@saga.*?)```", README, re.DOTALL)
    assert shown is not None
    lines = [
        line for line in (ROOT / "sagas/orders.py").read_text().splitlines() if '"""' not in line
    ]
    assert shown.group(1).strip() in "\n".join(lines)
