"""`saga launch`: one run, or one for every line of a file."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any

import typer

from orchestrator.cli import parsing
from orchestrator.cli.bulk_launch import LaunchFile, launch_file
from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import SHORTEST_ID, status_text, value_text
from orchestrator.cli.showing import LOOK_EVERY_S, SETTLED
from orchestrator.cli.taken import writer_of
from orchestrator.cli.waiting_option import FOREVER, WaitCommand
from orchestrator.errors import ResultTimeoutError
from orchestrator.kernel.summary import RunSummary

_QUICK_LOOK_S = 0.02

Name = Annotated[str, typer.Argument(metavar="NAME", help="The saga.")]
Input = Annotated[
    str | None,
    typer.Argument(metavar="INPUT", help="Its parameters: a JSON object, a file with one, or -."),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency key: a second launch gives the same run.")
]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="A tag to find it by; repeatable."),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="[SECONDS]",
        min=0,
        help="Wait for the end, so many seconds or for ever, and exit 0 only if completed.",
    ),
]
File = Annotated[
    str | None,
    typer.Option(
        "--file", metavar="FILE", help="Launch a run for every line of a JSON Lines file."
    ),
]
KeyField = Annotated[
    str | None,
    typer.Option("--key-field", help="With --file: the field of each line that is its key."),
]

__all__ = ["WaitCommand", "launch"]


def launch(
    context: typer.Context,
    name: Name,
    given: Input = None,
    key: Key = None,
    tag: Tag = None,
    wait: Wait = None,
    file: File = None,
    key_field: KeyField = None,
) -> None:
    """Launch a run of a saga; it is durable when this returns, also while no coordinator runs."""
    call = invocation(context)
    tags = parsing.tags(tag or ())
    wait_s = math.inf if wait == FOREVER else wait
    if file is not None:
        if given is not None or key is not None:
            raise typer.BadParameter(
                "takes the place of INPUT and --key: use --key-field for keys", param_hint="--file"
            )
        launch_file(call, LaunchFile(name, file, key_field, tags), wait_s)
        return
    if key_field is not None:
        raise typer.BadParameter(
            "goes with --file; for one run use --key", param_hint="--key-field"
        )
    _launch_one(call, name, parsing.given_input(given, sys.stdin), key, tags, wait_s)


def _launch_one(
    call: Invocation,
    name: str,
    given: dict[str, Any],
    key: str | None,
    tags: dict[str, str],
    wait_s: float | None,
) -> None:
    run = call.launcher.launch_named(name, given, key=key, tags=tags)
    row = call.journal.find(run.id)
    if wait_s is not None:
        row = _awaited(call, run.id, wait_s)
    if call.out.json:
        call.out.data({"run_id": run.id, "created": run.created, "run": row})
    else:
        _tell(call, row, created=run.created, waited=wait_s is not None)
    if wait_s is not None:
        raise typer.Exit(Exit.OK if row.status == "completed" else Exit.UNSUCCESSFUL)


def _awaited(call: Invocation, run_id: str, wait_s: float) -> RunSummary:
    ends_at = call.now() + wait_s
    pause_s = _QUICK_LOOK_S
    while True:
        row = call.journal.find(run_id)
        if row.status in SETTLED:
            return call.curtains.row(row)
        if call.now() >= ends_at:
            short = run_id[:SHORTEST_ID]
            raise ResultTimeoutError(
                f"run {run_id} is {row.status} after {wait_s:g} s and goes on: `saga watch {short}`"
            )
        call.backend.sleep(pause_s)
        pause_s = min(pause_s * 1.3, LOOK_EVERY_S)


def _tell(call: Invocation, row: RunSummary, *, created: bool, waited: bool) -> None:
    short = row.run_id[:SHORTEST_ID]
    what = "launched" if created else "was launched before with this key"
    call.out.show(f"run {row.run_id} {what}")
    if waited:
        call.out.show(status_text(row.status, ascii_only=call.out.ascii_only))
        if row.reason:
            call.out.show(row.reason)
        if row.result is not None:
            call.out.show(value_text(row.result))
        return
    call.out.note(f"`saga watch {short}` follows it, `saga show {short}` shows it", "dim")
    if not writer_of(call, row.shard):
        call.out.note("no coordinator is running: start one with `saga coordinator`", "yellow")
