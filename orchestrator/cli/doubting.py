"""`saga in-doubt`: prepared branches of atomic groups in the services' databases, and what the journal says of each.

The same rules as the coordinator's: a recorded decision to commit means commit, another abort, once it can't be decided
otherwise any more. What the journal can't decide, the operator does, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli import options as opt
from orchestrator.cli.exits import Exit
from orchestrator.cli.foretelling import ruled_page
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.looks import short_ids
from orchestrator.cli.output import table
from orchestrator.errors import SettingsError
from orchestrator.views.spans import span_text

if TYPE_CHECKING:
    from orchestrator.console.doubts import Decision, Doubts, InDoubt
    from orchestrator.kernel.event import Ending

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
        "--resolve",
        help="Commit or roll back those whose decision is known, and old ones of runs that are "
        "unknown and have no effect in any service.",
    ),
]
Commit = Annotated[
    list[str] | None,
    typer.Option(
        "--commit", metavar="GID", help="Commit this one, which the journal can't decide."
    ),
]
Abort = Annotated[
    list[str] | None,
    typer.Option(
        "--abort", metavar="GID", help="Roll this one back, which the journal can't decide."
    ),
]


def in_doubt(
    context: typer.Context,
    *,
    resolve: Resolve = False,
    commit: Commit = None,
    abort: Abort = None,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """List prepared branches of atomic groups; exit 1 if any is left that the journal can't decide."""
    call = invocation(context)
    if not call.settings.apps:
        raise SettingsError(
            "which databases? Name the modules with the services, as `saga in-doubt --app mypackage`"
        )
    chosen = [*_each(commit, "commit"), *_each(abort, "abort")]
    if dry_run:
        _foretell(call, chosen)
        return
    found = list(_all(call, chosen, resolve=resolve, reason=reason))
    if call.out.json:
        call.out.data(found)
    elif found:
        call.out.show(_table(found))
        for one in found:
            if one.why:
                call.out.note(f"{one.gid}: {one.why}", _STYLES[one.decision])
            if one.asked is not None:
                call.out.note(_waits(one), "yellow")
    else:
        call.out.note("nothing is in doubt", "green")
    if any(one.is_for_people or one.came_to.startswith("failed") for one in found):
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _each(gids: list[str] | None, kind: Ending) -> Iterator[tuple[str, Ending]]:
    for gid in gids or ():
        yield gid, kind


def _doubts(call: Invocation) -> Doubts:
    from orchestrator.console.doubts import Doubts  # noqa: PLC0415 - start-up time
    from orchestrator.console.rulings import Rulings  # noqa: PLC0415

    journal, settings = call.journal, call.settings
    rulings = Rulings(journal, call.client.two_people, call.now)
    services = call.definitions.services
    return Doubts(services, journal, call.client.state, settings.in_doubt_s, rulings)


def _all(
    call: Invocation, chosen: Sequence[tuple[str, Ending]], *, resolve: bool, reason: str
) -> Iterator[InDoubt]:
    found = _doubts(call)
    yield from [found.decide(gid, kind, call.actor, reason) for gid, kind in chosen]
    if chosen and not resolve:
        return
    for service in found.services:
        yield from found.end(service, lambda _: True) if resolve else found.of(service)


def _foretell(call: Invocation, chosen: Sequence[tuple[str, Ending]]) -> None:
    if not chosen:
        raise typer.BadParameter(
            "name the branches with --commit or --abort", param_hint="--dry-run"
        )
    doubts = _doubts(call)
    seen = [doubts.preview(gid, kind) for gid, kind in chosen]
    if call.out.json:
        call.out.data(seen)
        return
    for one in seen:
        call.out.show(*ruled_page(one))


def _waits(one: InDoubt) -> str:
    assert one.asked is not None
    asked = one.asked
    why = f": {asked.reason}" if asked.reason else ""
    how = f"`saga in-doubt --{asked.kind} {one.gid}`, as another, has it done"
    return f"{one.gid}: {asked.actor} wants to {asked.kind} it{why}; {how}"


def _table(found: list[InDoubt]) -> Table:
    right = ("age", "waiting", "vacuum")
    shown = table(
        "service",
        "run",
        "step",
        "age",
        "decision",
        "locks",
        "waiting",
        "vacuum",
        "",
        right=right,
        wrap="locks",
    )
    ids = short_ids(one.run for one in found)
    for one in found:
        shown.add_row(
            Text(one.service, style="bold"),
            Text(ids[one.run], style="bold"),
            one.step,
            "" if one.age_s is None else span_text(one.age_s),
            Text(one.decision, style=_STYLES[one.decision]),
            ", ".join(one.locks),
            str(one.waiting or ""),
            "" if one.holds_back is None else f"{one.holds_back:,}",
            one.came_to,
        )
    return shown
