"""`saga`: the command line, from its global options to its exit code."""

from __future__ import annotations

import io
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from orchestrator.cli import (
    approving,
    archiving,
    auditing,
    budgeting,
    bulk_record,
    database,
    desk,
    doubting,
    figures,
    holding,
    incidents,
    launching,
    linting,
    listing,
    pausing,
    plans,
    repairing,
    serving,
    showing,
    simulating,
    verifying,
)
from orchestrator.cli.doctor import doctor
from orchestrator.cli.group import SagaGroup
from orchestrator.cli.invocation import Backend, GlobalOptions, Invocation, Wired
from orchestrator.cli.waiting_option import WaitCommand

CONFIG_VARIABLE = "SAGA_CONFIG"

app = typer.Typer(
    cls=SagaGroup,
    name="saga",
    help="Launch sagas, look at their runs, and repair those that are stuck.",
    epilog="The options above may also stand behind the command: `saga list --json`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _LOOK, _REPAIR = "Running sagas", "Looking at runs", "Repairing runs"
_PLANS, _KEEP = "Definitions", "Keeping it running"

app.command("launch", cls=WaitCommand, rich_help_panel=_RUN)(launching.launch)
app.command("dev", rich_help_panel=_RUN)(serving.dev)
app.command("coordinator", rich_help_panel=_RUN)(serving.coordinator)
app.command("worker", rich_help_panel=_RUN)(serving.worker)
app.command("list", rich_help_panel=_LOOK)(listing.list_runs)
app.command("show", rich_help_panel=_LOOK)(showing.show)
app.command("events", rich_help_panel=_LOOK)(showing.events)
app.command("watch", rich_help_panel=_LOOK)(showing.watch)
app.command("audit", rich_help_panel=_LOOK)(auditing.audit)
app.command("holds", rich_help_panel=_LOOK)(holding.holds)
app.command("stats", rich_help_panel=_LOOK)(figures.stats)
app.add_typer(incidents.incidents, name="incidents", rich_help_panel=_LOOK)
app.command("retry", rich_help_panel=_REPAIR)(repairing.retry)
app.command("skip", rich_help_panel=_REPAIR)(repairing.skip)
app.command("resolve", rich_help_panel=_REPAIR)(repairing.resolve)
app.command("forget", rich_help_panel=_REPAIR)(repairing.forget)
app.command("compensate", rich_help_panel=_REPAIR)(repairing.compensate)
app.command("cancel", rich_help_panel=_REPAIR)(repairing.cancel)
app.command("budget", rich_help_panel=_REPAIR)(budgeting.budget)
app.command("pause", rich_help_panel=_REPAIR)(pausing.pause)
app.command("resume", rich_help_panel=_REPAIR)(pausing.resume)
app.command("hold", rich_help_panel=_REPAIR)(holding.hold)
app.command("release", rich_help_panel=_REPAIR)(holding.release)
app.command("signal", rich_help_panel=_REPAIR)(repairing.signal)
app.command("plans", rich_help_panel=_PLANS)(plans.plans)
app.command("draw", rich_help_panel=_PLANS)(plans.draw)
app.command("verify", rich_help_panel=_PLANS)(verifying.verify)
app.command("lint", rich_help_panel=_PLANS)(linting.lint)
app.command("simulate", rich_help_panel=_PLANS)(simulating.simulate)
app.command("in-doubt", rich_help_panel=_KEEP)(doubting.in_doubt)
app.command("doctor", rich_help_panel=_KEEP)(doctor)
app.command("archive", rich_help_panel=_KEEP)(archiving.archive)
app.add_typer(approving.approvals, name="approvals", rich_help_panel=_REPAIR)
app.add_typer(bulk_record.bulk, name="bulk", rich_help_panel=_REPAIR)
app.add_typer(desk.console, name="console", rich_help_panel=_KEEP)
app.add_typer(database.db, name="db", rich_help_panel=_KEEP)
app.add_typer(database.journal, name="journal", rich_help_panel=_KEEP)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"saga-orchestrator {version('saga-orchestrator')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    journal: Annotated[
        str | None, typer.Option("--journal", metavar="URL", help="The journal's database.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", metavar="URL", help="Redis, Valkey or RabbitMQ.")
    ] = None,
    apps: Annotated[
        list[str] | None,
        typer.Option(
            "--app", metavar="MODULE", help="A module with sagas and participants; repeatable."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings, instead of saga.toml.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")] = False,
    version: Annotated[  # noqa: ARG001 - eager: its callback ends the program
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Take the global options; environment variables (SAGA_...) and the settings file stand behind them."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = config  # for the processes that this one starts, too
    backend: Backend = Wired() if context.obj is None else context.obj
    context.obj = Invocation(GlobalOptions(journal, broker, tuple(apps or ()), json), backend)


def main() -> None:
    """Run ``saga``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets question marks
    app()
