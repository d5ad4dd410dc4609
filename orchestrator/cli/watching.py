"""`saga watch` without a run: how many runs stand where, and what moved last, until Ctrl-C."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.text import Text

from orchestrator.cli.figures import counts_table
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.listing import runs_table
from orchestrator.journal.port import RunFilter

_LOOK_EVERY_S = 0.5
_RUNS_SHOWN = 12


def watch_all(call: Invocation) -> None:
    """Draw the counts and the newest runs again and again; for a pipe or JSON, a line at every change."""
    if call.out.console.is_terminal and not call.out.json:
        _drawn(call)
    else:
        _lines(call)


def _drawn(call: Invocation) -> None:
    from rich.live import Live  # noqa: PLC0415 - start-up time

    with Live(console=call.out.console, auto_refresh=False, screen=True) as live:
        while True:
            newest = call.journal.runs(RunFilter(), None, _RUNS_SHOWN).runs
            page = Group(
                counts_table(call.journal.counts()),
                Text(""),
                runs_table(call, call.curtains.rows(newest))
                if newest
                else Text("no runs yet", style="dim"),
                Text(""),
                Text("Ctrl-C ends this", style="dim"),
            )
            live.update(page, refresh=True)
            call.backend.sleep(_LOOK_EVERY_S)


def _lines(call: Invocation) -> None:
    before: dict[str, Any] | None = None
    while True:
        counts = call.journal.counts()
        if counts != before:
            before = counts
            if call.out.json:
                call.out.line({"at": call.now(), "sagas": counts})
            else:
                for saga, by_status in counts.items():
                    shown = ", ".join(f"{number} {status}" for status, number in by_status.items())
                    call.out.show(f"{saga}: {shown}")
        call.backend.sleep(_LOOK_EVERY_S)
