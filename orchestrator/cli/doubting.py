"""`saga in-doubt`: prepared branches of atomic groups in the services' databases, and what the journal says of each.

The same rules as the coordinator's: a recorded decision to commit means commit, anything else abort, once it can't be
decided otherwise any more. A journal that is older than the branch, or another one, presumes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.output import table
from orchestrator.errors import IllegalEventError, RunNotFoundError, SagaError, SettingsError
from orchestrator.views.spans import span_text

if TYPE_CHECKING:
    from orchestrator.participant.service import Service
    from orchestrator.participant.two_phase.port import Found

ENDING_TIMEOUT_S = 30.0

Decision = Literal["commit", "abort", "undecided", "no record", "unknown"]
_STYLES: dict[Decision, str] = {
    "commit": "green",
    "abort": "yellow",
    "undecided": "dim",
    "no record": "magenta",
    "unknown": "red",
}

Resolve = Annotated[
    bool,
    typer.Option(
        "--resolve", help="Commit or roll back those whose decision is known, and old orphans."
    ),
]


class InDoubt(msgspec.Struct):
    """One prepared branch. ``came_to`` is what resolving it did; ``why`` explains a decision that isn't plain."""

    service: str
    gid: str
    run: str
    step: str
    round: int
    shard: int
    age_s: float | None
    decision: Decision
    why: str
    locks: tuple[str, ...]
    waiting: int
    holds_back: int | None
    came_to: str = ""


def in_doubt(context: typer.Context, *, resolve: Resolve = False) -> None:
    """List prepared branches of atomic groups; exit 1 if any is left that the journal can't decide."""
    call = invocation(context)
    if not call.settings.apps:
        raise SettingsError(
            "which databases? Name the modules with the services, as `saga in-doubt --app mypackage`"
        )
    found = list(_all(call, resolve=resolve))
    if call.out.json:
        call.out.data(found)
    elif found:
        call.out.show(_table(found))
        for one in found:
            if one.why:
                call.out.note(f"{one.gid}: {one.why}", _STYLES[one.decision])
    else:
        call.out.note("nothing is in doubt", "green")
    if any(one.decision == "unknown" or one.came_to.startswith("failed") for one in found):
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _all(call: Invocation, *, resolve: bool) -> Iterator[InDoubt]:
    epochs = {lease.shard: lease.epoch for lease in call.journal.leases()}
    for service in call.definitions.services:
        branches = service.branches
        if branches is None:
            continue
        heard_of = branches.heard_of()
        for found in branches.found():
            shard = found.gid.shard
            older = heard_of.get(shard, 0) > epochs.get(shard, 0)
            one, kind = _judged(call, service, found, older=older)
            if resolve and kind is not None:
                one.came_to = _ended(service, found, one, kind, heard_of.get(shard, 0))
            yield one


def _judged(
    call: Invocation, service: Service, found: Found, *, older: bool
) -> tuple[InDoubt, Literal["commit", "abort"] | None]:
    """A branch with its decision; and what may be done about it, None for nothing."""
    from orchestrator.journal.records import shard_of  # noqa: PLC0415 - start-up time
    from orchestrator.kernel.verdict import verdict_of  # noqa: PLC0415 - start-up time

    gid = found.gid
    one = InDoubt(
        service=service.name,
        gid=str(gid),
        run=gid.run,
        step=gid.step,
        round=gid.round,
        shard=gid.shard,
        age_s=found.age_s,
        decision="unknown",
        why="",
        locks=found.locks,
        waiting=found.waiting,
        holds_back=found.holds_back,
    )
    if older:
        one.why = "the journal is older than this branch: was it restored from a backup? Nothing is presumed"
        return one, None
    if not gid.has_whole_run or shard_of(gid.run, call.journal.shards()) != gid.shard:
        one.why = "the run isn't one of this journal's: is it the right --journal?"
        return one, None
    try:
        verdict = verdict_of(call.client.state(gid.run), gid.is_of, gid.round)
    except RunNotFoundError:
        one.decision = "no record"
        return one, _orphan(call, one)
    except IllegalEventError as error:
        one.why = f"the run can't be read: {error}"
        return one, None
    one.step = verdict.step or gid.step
    one.decision = verdict.kind if verdict.decided else "undecided"
    return one, verdict.kind if verdict.decided else None


def _orphan(call: Invocation, one: InDoubt) -> Literal["abort"] | None:
    safe_s = call.settings.in_doubt_s
    if one.age_s is None:
        one.why = "the database doesn't tell its age: a worker of the service that sees it for long enough asks itself"
        return None
    if one.age_s < safe_s:
        one.why = f"left alone until it is {span_text(safe_s)} old"
        return None
    return "abort"


def _ended(
    service: Service, found: Found, one: InDoubt, kind: Literal["commit", "abort"], epoch: int
) -> str:
    from orchestrator.transport.messages import Work  # noqa: PLC0415 - start-up time

    work = Work(
        run=one.run,
        shard=one.shard,
        epoch=epoch,
        step=one.step,
        kind=kind,
        attempt=0,
        participant=f"{service.name}.",
        args={},
        timeout_s=ENDING_TIMEOUT_S,
        round=found.gid.round,
    )
    try:
        settled = service.performer.end(work)
    except SagaError as error:
        return f"failed: {error}"
    if settled.outcome == "succeeded":
        return "committed" if kind == "commit" else "rolled back"
    return f"failed: {settled.failure.message if settled.failure else settled.outcome}"


def _table(found: list[InDoubt]) -> Table:
    right = ("age", "waiting", "vacuum")
    shown = table(
        "service", "run", "step", "age", "decision", "locks", "waiting", "vacuum", "", right=right
    )
    for one in found:
        shown.add_row(
            Text(one.service, style="bold"),
            one.run,
            one.step,
            "" if one.age_s is None else span_text(one.age_s),
            Text(one.decision, style=_STYLES[one.decision]),
            ", ".join(one.locks),
            str(one.waiting or ""),
            "" if one.holds_back is None else f"{one.holds_back:,}",
            one.came_to,
        )
    return shown
