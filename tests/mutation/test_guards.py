"""Take a guard away, and a test must fail: else the tests prove nothing about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.guards import GUARDS, VARIABLE, Guard

ROOT = Path(__file__).parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider")


@pytest.mark.parametrize("name", GUARDS)
def test_without_it_its_witnesses_fail(name: str, tmp_path: Path) -> None:
    guard = GUARDS[name]
    said = _without(name, guard, tmp_path)
    for witness in guard.witnesses:
        assert f"FAILED {witness}" in said, f"without this nobody notices: {guard.what}\n{said}"


def _without(name: str, guard: Guard, folder: Path) -> str:
    """What pytest says of the witnesses; they must have run and failed."""
    done = subprocess.run(
        [
            *PYTEST,
            "-p",
            "tests.mutation.plugin",
            f"--basetemp={folder}/tests",
            *guard.witnesses,
        ],
        cwd=ROOT,
        env={**os.environ, VARIABLE: name},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout
