"""What the demo shows, step by step: start, launch, watch, outcomes, one compensated run, the stuck one, the books."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestrator import Client, wiring
from orchestrator.cli.exits import Exit
from orchestrator.cli.stack import Stack
from orchestrator.journal.port import Journal, RunFilter
from orchestrator.kernel.events import StepFailed
from orchestrator.kernel.summary import RunSummary
from orchestrator.settings import Settings
from sagas.books import Check, check
from sagas.orders import Order, place_order

APPS = (
    "sagas.orders",
    "workers.inventory",
    "workers.mail",
    "workers.payments",
    "workers.shipping",
)
ORDERS = Path(__file__).with_name("data") / "orders.jsonl"
REASON = "westbank takes refunds again"
SETTLED = ("completed", "compensated", "stuck")
STYLES = {"completed": "green", "compensated": "yellow", "stuck": "bold red"}
TIMEOUT_S = 240.0
"""How long to wait for what should take seconds: the machine may have other things to do."""
WINDOW = 64
"""The most commands under way to a service: what waits longer waits in the journal, not in the broker."""
PAGE = 200


class _Line(msgspec.Struct):
    order: Order


class DemoError(Exception):
    """Something isn't as it should be; the demo ends with exit code 1."""


def tour(folder: Path) -> int:
    """Everything, in a folder of its own. The exit code."""
    began = time.monotonic()
    console = Console(highlight=False)
    orders = [
        msgspec.json.decode(line, type=_Line).order for line in ORDERS.read_bytes().splitlines()
    ]
    stack = Stack(
        folder,
        Settings(apps=APPS, window=WINDOW),
        say=lambda line: console.print(Text(line, style="yellow")),
    )
    try:
        with console.status("starting broker, workers and coordinator ..."):
            stack.start()
        _Tour(console, stack, orders).run(time.monotonic() - began)
    except DemoError as error:
        console.print(Text(f"\n✖ {error}", style="bold red"))
        console.print(f"The logs are in {_relative(folder / 'logs')}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        with console.status("stopping everything ..."):
            stack.stop()
    console.print(
        Text(f"✔ Everything holds, after {time.monotonic() - began:.0f} s.", style="bold green")
    )
    console.print(
        f"The servers are stopped, the runs are still there: "
        f"[bold]saga --config {_relative(folder / 'saga.toml')} list[/]"
    )
    return 0


class _Tour:
    def __init__(self, console: Console, stack: Stack, orders: Sequence[Order]) -> None:
        self._console = console
        self._stack = stack
        self._orders = orders
        self._journal: Journal = stack.journal
        sagas = wiring.definitions(APPS).sagas
        self._client: Client = wiring.client(stack.settings, stack.journal, sagas)

    def run(self, start_s: float) -> None:
        """The whole tour. Raises ``DemoError``."""
        self._introduce(start_s)
        self._launch()
        self._watch()
        self._outcomes()
        self._show_compensated()
        self._repair()
        self._balance()

    def _introduce(self, start_s: float) -> None:
        self._title("A shop with four services, each with a database of its own")
        what = Table.grid(padding=(0, 2))
        for name, meaning in (
            ("place_order", "inventory.reserve, then payments.charge beside shipping.quote,"),
            ("", "then shipping.dispatch (the pivot), then mail.send_receipt"),
            ("processes", ", ".join(f"{c.name} {c.pid}" for c in self._stack.children)),
            ("folder", f"{_relative(self._stack.folder)}  (journal, databases, logs)"),
        ):
            what.add_row(Text(name, style="bold"), meaning)
        self._console.print(what)
        self._console.print(Text(f"everything was up after {start_s:.1f} s", style="dim"))

    def _launch(self) -> None:
        began = time.monotonic()
        self._client.launch_many(
            place_order, [(order,) for order in self._orders], keys=[o.id for o in self._orders]
        )
        took_ms = (time.monotonic() - began) * 1000
        self._title(f"{len(self._orders)} orders launched")
        self._console.print(
            Text(f"from {_relative(ORDERS)}, all durable after {took_ms:.0f} ms", style="dim")
        )

    def _watch(self) -> None:
        progress = Progress(
            TextColumn("settled"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        task = progress.add_task("settled", total=len(self._orders))
        deadline = time.monotonic() + TIMEOUT_S
        view = Table.grid()
        with Live(view, console=self._console, refresh_per_second=8) as live:
            while True:
                counts = self._counts()
                settled = sum(counts[status] for status in SETTLED)
                progress.update(task, completed=settled)
                view = Table.grid()
                view.add_row(progress)
                view.add_row(_live_counts(counts))
                live.update(view)
                if settled == len(self._orders):
                    return
                if time.monotonic() > deadline:
                    raise DemoError(f"{len(self._orders) - settled} runs still go on: {counts}")
                time.sleep(0.1)

    def _outcomes(self) -> None:
        self._title("What became of them")
        table = Table(box=None, pad_edge=False)
        for column in ("orders", "outcome", "because"):
            table.add_column(column, justify="right" if column == "orders" else "left")
        outcomes = Counter((run.status, run.reason) for run in self._runs())
        order = {status: place for place, status in enumerate(SETTLED)}
        for (status, reason), number in sorted(
            outcomes.items(), key=lambda item: (order[item[0][0]], -item[1])
        ):
            table.add_row(str(number), Text(status, style=STYLES[status]), Text(reason))
        self._console.print(table)
        failures = Counter(event.failure.message for event in self._transient())
        if not failures:
            raise DemoError("no attempt met a transient fault, though two services are flaky")
        self._console.print(
            Text("\nattempts that failed on the way, and were tried again", style="dim")
        )
        for what, times in failures.most_common():
            self._console.print(Text(f"{times:>6}  {what}", style="dim"))

    def _show_compensated(self) -> None:
        runs = self._runs(status=("compensated",))
        chosen = next((run for run in runs if "Island" in run.reason), None)
        if chosen is None:
            raise DemoError("no run was compensated at its pivot")
        self._title("One that was compensated: paid, then no place on the boat")
        self._saga("events", chosen.run_id[:8])

    def _repair(self) -> None:
        stuck = self._runs(status=("stuck",))
        if len(stuck) != 1:
            raise DemoError(f"one run should be stuck, not {len(stuck)}")
        run_id = stuck[0].run_id
        self._title(
            "One is stuck: nothing is given up, and nothing is said to be undone that isn't"
        )
        self._saga("show", run_id[:8])
        self._title("The repair: have the bank mend its line, then try again")
        self._command(sys.executable, "-m", "workers.payments", "mend", "westbank")
        self._saga("retry", run_id[:8], "--reason", REASON)
        self._saga(
            "watch", run_id[:8], ends_with=Exit.UNSUCCESSFUL
        )  # a compensated run has no result
        if self._client.get(run_id).status != "compensated":
            raise DemoError(f"run {run_id} is still {self._client.get(run_id).status}")

    def _balance(self) -> None:
        self._title("The books: what the runs say against what stands in the four databases")
        checks = check(self._client, self._orders)
        table = Table(box=None, pad_edge=False)
        for column in ("service", "what", "by the runs", "found", ""):
            table.add_column(
                column, justify="right" if column in {"by the runs", "found"} else "left"
            )
        for one in checks:
            mark = Text("✔", style="green") if one.holds else Text("✖", style="bold red")
            table.add_row(one.where, one.what, one.expected, one.found, mark)
        self._console.print(table)
        wrong = [one for one in checks if not one.holds]
        if wrong:
            raise DemoError("\n".join(_differences(wrong)))

    # -- parts

    def _counts(self) -> Counter[str]:
        return Counter(self._journal.counts().get("place_order", {}))

    def _runs(self, status: tuple[str, ...] = ()) -> list[RunSummary]:
        found: list[RunSummary] = []
        cursor: str | None = None
        while True:
            page = self._client.list(RunFilter(status=status), cursor=cursor, limit=PAGE)
            found += page.runs
            cursor = page.cursor
            if cursor is None:
                return found

    def _transient(self) -> Iterator[StepFailed]:
        for shard in range(self._journal.shards()):
            after = -1
            while records := self._journal.feed(shard, after, PAGE):
                after = records[-1].offset
                for record in records:
                    event = record.event
                    if isinstance(event, StepFailed) and event.kind == "do" and event.retry_at:
                        yield event

    def _title(self, text: str) -> None:
        self._console.print()
        self._console.rule(Text(text, style="bold"), align="left", style="dim")

    def _saga(self, *arguments: str, ends_with: int = Exit.OK) -> None:
        """A command of ``saga``, as anybody would type it."""
        config = str(self._stack.config_file)
        self._shown("saga", *arguments)
        command = [sys.executable, "-m", "orchestrator.cli", "--config", config, *arguments]
        self._done(command, ends_with)

    def _command(self, *command: str) -> None:
        self._shown("python", *command[1:])
        self._done(command)

    def _shown(self, *words: str) -> None:
        self._console.print(Text(f"$ {shlex.join(words)}", style="bold cyan"))
        self._console.file.flush()  # the command writes to the same place

    def _done(self, command: Sequence[str], ends_with: int = Exit.OK) -> None:
        try:
            code = subprocess.run(command, check=False, timeout=TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            raise DemoError(f"{shlex.join(command)} took over {TIMEOUT_S:g} s") from None
        if code != ends_with:
            raise DemoError(f"{shlex.join(command)} ended with exit code {code}")


def _live_counts(counts: Counter[str]) -> Text:
    text = Text()
    for status in ("accepted", "running", "compensating", *SETTLED):
        text.append(f"{counts[status]:>4} {status}  ", style=STYLES.get(status, "dim"))
    return text


def _differences(wrong: Sequence[Check]) -> Iterator[str]:
    yield "the books don't balance"
    for one in wrong:
        yield f"  {one.where}, {one.what}: " + "; ".join(one.differences[:5] or (one.found,))


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
