"""What a command doesn't need isn't imported: a command line that makes people wait isn't used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tables import make_tables

ASK = """
import json, sys
from orchestrator.cli.app import main
sys.argv = ["saga", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""
NEVER = {"alembic", "celery", "fastapi", "kombu", "redis", "sqlalchemy.orm"}


@pytest.mark.parametrize(
    ("args", "without"),
    [(("--help",), NEVER | {"pydantic", "sqlalchemy"}), (("list",), NEVER), (("stats",), NEVER)],
    ids=["help", "list", "stats"],
)
def test_a_command_imports_what_it_needs(
    args: tuple[str, ...], without: set[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 1)
    done = subprocess.run(
        [sys.executable, "-c", ASK, "--journal", url, *args],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert imported & without == set()


def test_a_coordinator_imports_nothing_of_workers_and_no_migrations() -> None:
    ask = """
import sys
from orchestrator.wiring import coordinator, check_journal
print(*sys.modules)
"""
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    imported = set(done.stdout.split())
    assert imported & {"alembic", "fastapi", "sqlalchemy.orm", "orchestrator.client"} == set()
    assert not any(name.startswith("orchestrator.participant") for name in imported)
