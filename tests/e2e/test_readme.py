"""The README, typed as it stands: its files, its commands in two terminals, and its links."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OWN_SAGA = README.partition("## Your own saga")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", OWN_SAGA, re.DOTALL)
WAIT_S = 60.0


def _typed(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S * 2,
    )


def _environment() -> dict[str, str]:
    """A terminal with the environment activated, and nothing of this test's settings."""
    others = {name: v for name, v in os.environ.items() if not name.startswith(("SAGA_", "PYTHON"))}
    return others | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def _terminal(folder: Path, command: str) -> Iterator[Path]:
    """Something that runs while something else is typed elsewhere; ended by Ctrl-C."""
    output = folder / "first-terminal.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: "everything is up" in output.read_text(), WAIT_S, what=command)
        yield output
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)


@pytest.mark.timeout(300)
def test_the_quickstart_works_as_it_stands(tmp_path: Path) -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["python", "sh", "sh", "python", "sh"]
    (_, saga), (_, start), (_, commands), (_, program), (_, run_it) = BLOCKS
    (tmp_path / "hotel.py").write_text(saga)
    (tmp_path / "launch.py").write_text(program)
    with _terminal(tmp_path, start) as first:
        second = _typed(tmp_path, commands)
        assert second.returncode == 0, second.stdout + second.stderr
        ada, bob = second.stdout.index("✔ completed"), second.stdout.index("↩ compensated")
        assert ada < second.stdout.index('"room 7 for Ada"') < bob
        assert "charge: card declined" in second.stdout
        assert "book is undone" in second.stdout
        third = _typed(tmp_path, f"export SAGA_CONFIG=.dev/saga.toml\n{run_it}")
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
