"""Run the benchmarks and print what they found: ``python -m benchmarks.run [--json] [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure
from benchmarks.machine import OtherLoad
from benchmarks.scenarios import (
    archiving,
    celery_chain,
    cost,
    database_participants,
    dbos_in_process,
    many_open_runs,
    metrics_cost,
    million_runs,
    mixed_durations,
    transfers,
)
from benchmarks.size import FULL, QUICK, Size
from benchmarks.stack import Servers

Scenario = Callable[[Servers, Size], Iterator[Figure]]

SCENARIOS: dict[tuple[str, ...], Scenario] = {
    ("celery_chain_throughput",): celery_chain.throughput,
    ("celery_chain_throughput_signed",): celery_chain.signed_throughput,
    ("celery_single_message_throughput",): celery_chain.single_message_throughput,
    ("celery_chain_latency",): celery_chain.latency,
    ("dbos_in_process_throughput",): dbos_in_process.throughput,
    ("with_database_participants",): database_participants.throughput,
    ("mixed_durations", "mixed_durations_backlog"): mixed_durations.latency,
    (
        "events_per_step",
        "transactions_per_run",
        "coordinator_cpu_us_per_step",
        "worker_cpu_us_per_step",
    ): cost.per_step,
    (
        "transfers_against_a_bare_loop",
        "transfers_against_a_saga",
        "transfer_writes_before_phase_two",
        "transfer_writes_in_all",
    ): transfers.throughput,
    (
        "transfers_between_hot_accounts",
        "attempts_taken_back_per_hot_transfer",
    ): transfers.contention,
    ("throughput_with_metrics", "cpu_with_metrics"): metrics_cost.throughput,
    ("memory_10k_in_flight", "recovery_10k_open_runs"): many_open_runs.memory_and_recovery,
    ("million_runs_postgresql", "million_runs_sqlite"): million_runs.finding,
    (
        "append_while_archiving_postgresql",
        "append_while_archiving_sqlite",
    ): archiving.beside_appends,
}
"""By the names of the figures each one makes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for. Returns 0 when everything ran, whether or not targets are met."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    console = Console(stderr=True)
    figures: list[Figure] = []
    began = time.monotonic()
    servers = Servers()
    try:
        for scenario in _chosen(options.only):
            others = OtherLoad()
            for figure in scenario(servers, QUICK if options.quick else FULL):
                figure.settings["other_load"] = others.share()
                figures.append(figure)
                console.print(
                    f"{time.monotonic() - began:4.0f} s  {_line(figure)}", highlight=False
                )
    finally:
        servers.close()
    if options.json:
        print(json.dumps({figure.name: figure.as_json() for figure in figures}, indent=2))
    else:
        Console().print(_table(figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    names = [name for group in SCENARIOS for name in group]
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="few runs: shows that it works")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    return parser


def _chosen(only: Sequence[str] | None) -> list[Scenario]:
    return [
        scenario
        for names, scenario in SCENARIOS.items()
        if not only or not set(names).isdisjoint(only)
    ]


def _line(figure: Figure) -> str:
    against = "" if figure.peer is None else f" against {figure.peer:,.4g}"
    ratio = "" if figure.ratio is None else f", ratio {figure.ratio:.3g}"
    others = f" (others had {figure.settings['other_load']:.0%} of the machine)"
    return f"{figure.name}: {figure.ours:,.4g} {figure.unit}{against}{ratio}{others}"


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(title="saga-orchestrator, in one run on this machine")
    for heading in ("figure", "unit"):
        table.add_column(heading)
    for heading in ("ours", "peer", "ratio", "target", "met"):
        table.add_column(heading, justify="right")
    for figure in figures:
        target = figure.target
        sign = "" if target is None else {"more": "≥", "less": "≤"}[target.better]
        table.add_row(
            figure.name,
            figure.unit,
            f"{figure.ours:,.4g}",
            "" if figure.peer is None else f"{figure.peer:,.4g}",
            "" if figure.ratio is None else f"{figure.ratio:.3g}",
            "" if target is None else f"{sign} {target.value:g}",
            {None: "", True: "yes", False: "no"}[figure.met],
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
