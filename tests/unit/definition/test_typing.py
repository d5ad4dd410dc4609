"""The types that users see: what is right is accepted, what is wrong is an error in the editor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.definition.plan import Call
from orchestrator.definition.saga import SAGAS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_right_is_accepted_and_every_wrong_line_is_an_error(checker: str) -> None:
    """In wrong.py an ignored error that isn't there is itself an error, to mypy."""
    done = subprocess.run(
        [sys.executable, "-m", checker, "tests/typing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_wrong_line_is_an_error_to_the_other_checker_too(tmp_path: Path) -> None:
    """It has no check of its own for comments that ignore nothing in standard mode."""
    config = tmp_path / "pyrightconfig.json"
    settings = {
        "include": [str(ROOT / "tests/typing/wrong.py")],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": False,
    }
    config.write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "-p", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = (ROOT / "tests/typing/wrong.py").read_text().splitlines()
    expected = {number for number, line in enumerate(wrong, 1) if "# type: ignore" in line}
    found = {
        int(line.split("wrong.py:")[1].split(":")[0])
        for line in done.stdout.splitlines()
        if "wrong.py:" in line and " error:" in line
    }
    assert found == expected, done.stdout


def test_what_type_checkers_accept_compiles() -> None:
    with SAGAS.isolated():
        from tests.typing.right import place_order

        plan = place_order.plan
    names = [step.name for step, _ in plan.steps()]
    assert len(names) == len(set(names)) == 14
    assert [step.name for step, _ in plan.steps() if isinstance(step, Call) and step.pivot] == [
        "dispatch"
    ]
