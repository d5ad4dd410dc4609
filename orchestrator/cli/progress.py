"""How far long work has come: bars on stderr, for people only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.cli.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress

    from orchestrator.testing.explorer import Progress as Told


@contextmanager
def exploring(out: Output, name: str) -> Iterator[Told]:
    """A bar of worlds seen out of those known so far; how many there are is known only at the end."""
    with _bars(out) as bars:
        task = bars.add_task(name, total=None)

        def tell(worlds: int, waiting: int, faults: int) -> None:
            text = f"{name}, {faults} fault{'' if faults == 1 else 's'}: {worlds:,} worlds, {waiting:,} to go so far"
            bars.update(task, description=text, completed=worlds, total=worlds + waiting)

        yield tell


@contextmanager
def counting(out: Output, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of things done, of about ``total``."""
    with _bars(out) as bars:
        task = bars.add_task(name, total=total)

        def tell(done: int) -> None:
            text = f"{name}: {done:,} of {max(done, total):,}"
            bars.update(task, description=text, completed=done, total=max(done, total))

        yield tell


def _bars(out: Output) -> Progress:
    from rich.progress import (  # noqa: PLC0415 - start-up time
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn("line" if out.ascii_only else "dots"),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    hidden = out.json or not out.errors.is_terminal
    return Progress(*columns, console=out.errors, transient=True, disable=hidden)
