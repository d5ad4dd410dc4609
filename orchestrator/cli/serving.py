"""`saga coordinator`, `saga worker`, `saga dev`: the processes that do the work."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli import parsing
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.errors import SettingsError
from orchestrator.telemetry import logs

if TYPE_CHECKING:
    from orchestrator.cli.stack import Stack
    from orchestrator.settings import Settings

_log = logging.getLogger("saga")

Processes = Annotated[
    int | None, typer.Option("--processes", "-p", min=1, help="Worker processes; one per core.")
]
DevProcesses = Annotated[int, typer.Option("--processes", "-p", min=1, help="Worker processes.")]
Queues = Annotated[
    str | None,
    typer.Option("--queues", metavar="A,B", help="Serve only these queues of the apps."),
]
Folder = Annotated[Path, typer.Option("--folder", help="Where journal, broker data and logs go.")]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also", metavar="NAME=COMMAND", help="Another command to keep running; repeatable."
    ),
]


def coordinator(context: typer.Context) -> None:
    """Run a coordinator until SIGTERM or Ctrl-C; then it hands its shards over at once."""
    call = invocation(context)
    start_logging(call.settings)
    from orchestrator import wiring  # noqa: PLC0415 - start-up time

    wiring.check_journal(call.settings)
    for warning in call.backend.probe(call.settings).broker().warnings:
        _log.warning("%s", warning)
    sagas = call.definitions.sagas if call.settings.incidents.saga else {}
    wake = wiring.transport(call.settings).poke
    teller = wiring.notifier(call.settings, call.journal, sagas, wake)
    with wiring.measured(call.settings) as meter:
        driver = wiring.coordinator(call.settings, call.journal, meter)
        _on_stop_signals(driver.stop)
        _log.info(
            "coordinator over %s and %s",
            _shown(call.settings.journal_url),
            _shown(call.settings.broker_url),
        )
        teller.start()
        try:
            driver.run()
        finally:
            teller.stop()
    _log.info("coordinator stopped: its shards are handed over")


def worker(context: typer.Context, processes: Processes = None, queues: Queues = None) -> None:
    """Run a Celery worker for the apps' participants until SIGTERM or Ctrl-C."""
    call = invocation(context)
    start_logging(call.settings)
    from celery.signals import setup_logging  # noqa: PLC0415 - start-up time

    from orchestrator import wiring  # noqa: PLC0415 - start-up time

    setup_logging.connect(_keep_logging, weak=False)
    app = wiring.worker_app(call.settings)
    known = wiring.queues(call.definitions.services)
    chosen = known if queues is None else [name.strip() for name in queues.split(",")]
    strange = [name for name in chosen if name not in known]
    if strange:
        raise typer.BadParameter(
            f"no participant of the apps is on {', '.join(strange)}; their queues are {', '.join(known)}",
            param_hint="--queues",
        )
    _log.info("worker for %s", ", ".join(chosen))
    app.worker_main(_worker_arguments(call.settings, chosen, processes))


def dev(
    context: typer.Context,
    folder: Folder = Path(".dev"),
    processes: DevProcesses = 2,
    also: Also = None,
) -> None:
    """Keep broker, workers and a coordinator running for playing, until Ctrl-C."""
    call = invocation(context)
    from orchestrator.cli.stack import Stack  # noqa: PLC0415 - start-up time

    if not call.settings.apps:
        raise SettingsError(
            "no app to serve: name the modules with your sagas and participants, as `saga dev --app mypackage`"
        )
    for saga in call.definitions.sagas.values():
        _ = saga.plan  # what can't work is told before anything starts
    call.out.note("starting broker, workers and coordinator ...", "dim")
    stack = Stack(
        folder,
        call.settings,
        worker_processes=processes,
        also=parsing.commands(also or ()),
        say=lambda line: call.out.note(line, "yellow"),
    )
    with stack:
        _page(call, stack)
        try:
            stack.wait()
        except KeyboardInterrupt:
            call.out.note("stopping ...", "dim")
    call.out.note(f"everything is stopped; the runs are kept in {folder}", "dim")


def start_logging(settings: Settings) -> None:
    """Log lines to stderr, from the level in the settings on."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        known = "DEBUG, INFO, WARNING, ERROR"
        raise SettingsError(f"log_level: {settings.log_level!r} is none of {known}")
    logging.basicConfig(level=level, handlers=[logs.handler(settings.log_format)])
    # It announces each of its own modules.
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))


def _keep_logging(**_: Any) -> None:
    """Celery sets up logging of its own unless somebody says that it is done."""


def _worker_arguments(settings: Settings, queues: list[str], processes: int | None) -> list[str]:
    arguments = [
        "worker",
        f"--queues={','.join(queues)}",
        f"--loglevel={settings.log_level.upper()}",
    ]
    if processes is not None:
        arguments.append(f"--concurrency={processes}")
    return arguments


def _on_stop_signals(stop: Callable[[], None]) -> None:
    def handle(number: int, _frame: Any) -> None:
        _log.info("%s: stopping after this turn", signal.Signals(number).name)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _shown(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - start-up time

    return make_url(url).render_as_string(hide_password=True)


def _page(call: Invocation, stack: Stack) -> None:
    sagas = call.definitions.sagas
    where = Table.grid(padding=(0, 2, 0, 0))
    where.add_column(no_wrap=True, style="dim")
    where.add_column(overflow="fold")
    where.add_row("journal", _shown(stack.settings.journal_url))
    where.add_row("broker", _shown(stack.settings.broker_url))
    where.add_row("settings", str(stack.config_file))
    where.add_row("logs", str(stack.folder / "logs"))
    where.add_row("apps", ", ".join(stack.settings.apps))
    where.add_row("sagas", ", ".join(sorted(sagas)) or "none: define one with @saga")
    todo = [(f"export SAGA_CONFIG={stack.config_file}", "so that `saga` finds this stack")]
    for name, saga in sorted(sagas.items()):
        needed = [p for p in saga.plan.parameters if p not in saga.plan.optional]
        given = ", ".join(f'"{parameter}": ...' for parameter in needed)
        todo.append((f"saga launch {name} '{{{given}}}'", "a run; or a file with its input"))
    todo.append(("saga watch", "what happens"))
    todo.append(("saga list", "the runs; `saga show RUN` for one of them"))
    call.out.show(Text("everything is up", style="bold green"), where, "")
    call.out.show(Text("In another terminal", style="bold"))
    for line in commands_shown(todo, call.out.console.width):
        call.out.console.print(line, soft_wrap=True)
    call.out.show("")
    call.out.show(Text("Ctrl-C stops all of it.", style="dim"))


def commands_shown(todo: list[tuple[str, str]], width: int) -> list[Text]:
    """Commands with remarks beside them, or above where that gets too wide; a command is never broken, to be copied."""
    longest = max(len(command) for command, _ in todo)
    if all(2 + longest + 2 + len(remark) <= width for _, remark in todo):
        return [
            Text.assemble((f"  {command:<{longest}}", "bold"), (f"  {remark}", "dim"))
            for command, remark in todo
        ]
    return [
        line
        for command, remark in todo
        for line in (Text(f"  # {remark}", style="dim"), Text(f"  {command}", style="bold"))
    ]


__all__ = ["commands_shown", "coordinator", "dev", "start_logging", "worker"]
