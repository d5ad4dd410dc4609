"""Writes docs/cli.md from the commands themselves: ``python -m orchestrator.cli.reference > docs/cli.md``."""

from __future__ import annotations

import sys

import typer
from typer.cli import get_docs_for_click

from orchestrator.cli.app import app
from orchestrator.cli.exits import MEANING

_HEAD = """<!-- Made by `python -m orchestrator.cli.reference > docs/cli.md`; a test checks that it is up to date. -->

# The command line

The global options of `saga` may also stand behind a command: `saga list --json`. What isn't given comes from
the environment (`SAGA_JOURNAL_URL`, `SAGA_BROKER_URL`, `SAGA_APPS`, ...), then from the settings file.
Ids may be shortened as long as they fit one run. With `--json`, data is on stdout and an error is one line of
JSON on stderr.

## Exit codes

| code | meaning |
| --- | --- |
"""


def reference() -> str:
    """The page."""
    rows = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANING.items())
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="saga")
    body = get_docs_for_click(obj=command, ctx=context, name="saga", title="Commands")
    return _HEAD + rows + "\n" + body.replace("\n# ", "\n## ").rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
