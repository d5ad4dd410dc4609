"""One operation for many runs: what would happen is shown first, and a script has to say --yes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import typer
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.foretelling import gathered_page
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.listing import runs_table
from orchestrator.cli.looks import SHORTEST_ID
from orchestrator.cli.taken import Taken, await_taken, under_an_id, writer_of
from orchestrator.errors import OperationRefusedError, RunNotFoundError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg
from orchestrator.kernel.preview import Preview
from orchestrator.kernel.summary import RunSummary
from orchestrator.views.gathered import Gathered, gathered

PREVIEWED = 20
_PAGE = 500
_WAIT_S = 10.0
"""How long all operations together are waited for."""


class Refusal(msgspec.Struct, frozen=True):
    """A run whose state didn't allow the operation."""

    run_id: str
    why: str


class Many(msgspec.Struct, frozen=True):
    """What came of an operation for many runs."""

    operation: str
    matched: int
    sent: int
    taken: int
    """How many of those sent a coordinator had carried out when the command ended."""
    refused: tuple[Refusal, ...]
    waits: int = 0
    """How many of those taken wait for a second person."""


def for_many(
    call: Invocation,
    where: RunFilter,
    message: msg.Operation,
    *,
    step: str | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Show which runs fit and what would happen, ask, and operate on each; ends with ``REFUSED`` if any refused."""
    name = msg.operation_name(message)
    if step is not None:
        where = msgspec.structs.replace(where, step=step)
    runs = list(_matching(call, where))
    message = under_an_id(msgspec.structs.replace(message, bulk=msg.MANY))
    _foretell(call, runs, message, dry_run=dry_run)
    if dry_run:
        return
    if runs and not yes:
        _ask(call, name, len(runs))
    sent: list[RunSummary] = []
    refused: list[Refusal] = []
    for run in runs:
        try:
            call.client.operate(run.run_id, message)
        except (OperationRefusedError, RunNotFoundError) as error:
            refused.append(Refusal(run.run_id, str(error)))
        else:
            sent.append(run)
    taken, late = _await_all(call, message, sent)
    waits = sum(bool(one.waits) for one in taken)
    done = Many(name, len(runs), len(sent), len(taken), (*refused, *late), waits)
    _tell(call, done, sent)
    if done.refused:
        raise typer.Exit(Exit.REFUSED)


def foretell_many(
    call: Invocation, where: RunFilter, message: msg.Operation, *, yes: bool, dry_run: bool
) -> bool:
    """Show which runs fit and what a recorded operation would do, and ask; whether to go on."""
    runs = list(_matching(call, where))
    _foretell(call, runs, message, dry_run=dry_run, recorded=True)
    if not dry_run and runs and not yes:
        _ask(call, msg.operation_name(message), len(runs))
    return not dry_run and bool(runs)


def _foretell(
    call: Invocation,
    runs: list[RunSummary],
    message: msg.Operation,
    *,
    dry_run: bool,
    recorded: bool = False,
) -> None:
    if not dry_run and (call.out.json or not runs):
        return
    name = msg.operation_name(message)
    foretold = gathered(_previews(call, runs, message))
    if recorded:
        sagas = tuple({run.saga for run in runs})
        whole = call.client.two_people.whole(name, sagas)
        foretold = msgspec.structs.replace(foretold, second=0, whole=whole)
    if call.out.json:
        call.out.data({"operation": name, "matched": len(runs), "preview": foretold})
    else:
        _preview(call, runs, name, foretold)


def _previews(
    call: Invocation, runs: list[RunSummary], message: msg.Operation
) -> Iterator[Preview]:
    for run in runs:
        if run.status != "accepted":  # else nothing of it has begun
            yield call.client.preview(run.run_id, message)


def _matching(call: Invocation, where: RunFilter) -> Iterator[RunSummary]:
    cursor = None
    while True:
        page = call.journal.runs(where, cursor, _PAGE)
        yield from page.runs
        cursor = page.cursor
        if cursor is None:
            return


def _preview(call: Invocation, runs: list[RunSummary], operation: str, foretold: Gathered) -> None:
    if not runs:
        call.out.note("no run fits")
        return
    call.out.show(runs_table(call, call.curtains.rows(runs[:PREVIEWED])))
    if len(runs) > PREVIEWED:
        call.out.show(Text(f"and {len(runs) - PREVIEWED} more", style="dim"))
    call.out.show("", Text(f"{operation}: {_runs(len(runs))}", style="bold"))
    call.out.show(*gathered_page(foretold))


def _ask(call: Invocation, operation: str, number: int) -> None:
    if not call.out.interactive:
        raise typer.BadParameter(
            f"{operation} would change {_runs(number)}: say --yes to do it without being asked",
            param_hint="--yes",
        )
    typer.confirm("Go on?", abort=True, err=True)


def _await_all(
    call: Invocation, message: msg.Operation, sent: list[RunSummary]
) -> tuple[list[Taken], list[Refusal]]:
    taken: list[Taken] = []
    refused: list[Refusal] = []
    ends_at = call.now() + _WAIT_S
    for run in sent:
        if not writer_of(call, run.shard):
            continue
        try:
            found = await_taken(call, run.run_id, message, ends_at - call.now())
        except OperationRefusedError as error:
            refused.append(Refusal(run.run_id, str(error)))
        else:
            taken += [found] if found.taken else []
    return taken, refused


def _tell(call: Invocation, done: Many, sent: list[RunSummary]) -> None:
    if call.out.json:
        call.out.data(done)
        return
    if not done.matched:
        call.out.note("no run fits")
        return
    carried_out = done.taken - done.waits
    call.out.show(f"{done.operation}: {_runs(done.sent)} sent, {carried_out} carried out")
    if done.waits:
        call.out.note(
            f"{_runs(done.waits)} wait for a second person: `saga approvals list`", "yellow"
        )
    for refusal in done.refused:
        call.out.note(f"{refusal.run_id[:SHORTEST_ID]} refused: {refusal.why}", "red")
    waiting = done.sent - done.taken
    if waiting and not any(writer_of(call, run.shard) for run in sent):
        call.out.note(
            "no coordinator is running: they will be carried out once `saga coordinator` does",
            "yellow",
        )


def _runs(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'}"
