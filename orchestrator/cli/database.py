"""`saga db` and `saga journal`: the journal's schema, its hash chain, its read model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.errors import InvalidInputError

CheckedArchive = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="FOLDER",
        help="Check the files that `saga archive` wrote there, too, and that they fill the gaps in the log.",
    ),
]

db = typer.Typer(help="The journal's schema.", no_args_is_help=True)
journal = typer.Typer(help="The journal's contents.", no_args_is_help=True)


@db.command("upgrade")
def upgrade(
    context: typer.Context,
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL for someone else to run; change nothing.")
    ] = False,
) -> None:
    """Make the journal's tables, or bring them to this release; harmless when they are."""
    call = invocation(context)
    from orchestrator.journal import upgrade as schema  # noqa: PLC0415 - start-up time
    from orchestrator.views.read_model import stuck_runs  # noqa: PLC0415 - start-up time

    settings = call.settings
    if sql:
        call.out.raw(schema.upgrade_sql(settings.journal_url, shards=settings.shards))
        return
    given = "shards" in settings.model_fields_set
    schema.upgrade(settings.journal_url, shards=settings.shards if given else None)
    shards = call.journal.shards()
    if any(run.parked and not run.incidents for run in stuck_runs(call.journal)):
        from orchestrator.views.replay import row_of  # noqa: PLC0415 - start-up time

        call.journal.rebuild(row_of)  # stuck since before incidents were kept
    if call.out.json:
        call.out.data({"upgraded": True, "shards": shards})
    else:
        call.out.show(f"the journal has this release's schema, with {shards} shards")


@db.command("check")
def check(context: typer.Context) -> None:
    """Say whether the journal's schema is this release's; exit 4 if not."""
    call = invocation(context)
    from orchestrator import wiring  # noqa: PLC0415 - start-up time

    wiring.check_journal(call.settings)
    shards = call.journal.shards()
    if call.out.json:
        call.out.data({"ok": True, "shards": shards})
    else:
        call.out.show(f"the schema is this release's, with {shards} shards")


@journal.command("check")
def check_journal(context: typer.Context, archive: CheckedArchive = None) -> None:
    """Walk every shard's hash chain, and compare the read model with a replay; exit 1 on any finding."""
    call = invocation(context)
    from orchestrator.views.read_model import (  # noqa: PLC0415 - start-up time
        FINDINGS_MAX,
        differences,
    )

    checks = itertools.chain(
        call.journal.verify(), differences(call.journal), _archive_faults(call, archive)
    )
    found = list(itertools.islice(checks, FINDINGS_MAX + 1))
    gone = call.journal.archives()
    shown, more = found[:FINDINGS_MAX], len(found) > FINDINGS_MAX
    if call.out.json:
        call.out.data({"ok": not found, "findings": shown, "more": more, "archived": gone})
    elif found:
        call.out.show(*shown)
        call.out.note(f"{len(shown)}{' or more' if more else ''} findings", "red")
    else:
        call.out.show("every shard's chain holds, and the read model says what the log says")
    if gone.files and not call.out.json:
        how = "not looked at: name them with --archive" if archive is None else "looked at, too"
        call.out.note(
            f"{gone.events:,} events of {gone.runs:,} runs are archived in {gone.files:,} files, {how}"
        )
    if found:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _archive_faults(call: Invocation, archive: str | None) -> Iterable[str]:
    if archive is None:
        return ()
    from orchestrator.journal.archive_check import archive_faults  # noqa: PLC0415 - start-up time
    from orchestrator.journal.sql import SqlJournal  # noqa: PLC0415 - start-up time

    if not isinstance(call.journal, SqlJournal):
        raise InvalidInputError("only a journal in a database has archives")
    return archive_faults(call.journal, Path(archive))


@journal.command("forgotten")
def forgotten(context: typer.Context) -> None:
    """After restoring a backup: effects in the apps' databases that the log doesn't account for; exit 1 on any."""
    call = invocation(context)
    from orchestrator.views.forgotten import Known  # noqa: PLC0415 - start-up time
    from orchestrator.views.forgotten import forgotten as look  # noqa: PLC0415 - start-up time

    services = call.definitions.services
    asked = [service for service in services if service.database is not None]
    unasked = sorted(service.name for service in services if service.database is None)
    if not asked:
        raise InvalidInputError(
            "no service with a database is known here: name modules with --app, or set SAGA_APPS"
        )
    found = [
        finding
        for service in asked
        for finding in look(
            call.journal,
            (Known(service.name, held.run, held.step, held.status) for held in service.held()),
        )
    ]
    if call.out.json:
        call.out.data({"ok": not found, "findings": found, "not_compared": unasked})
    else:
        for finding in found:
            ending = " (the run is open: it may meet it again)" if finding.open else ""
            call.out.show(
                f"{finding.run} {finding.step} at {finding.service}: {finding.what}{ending}"
            )
        for name in unasked:
            call.out.note(f"{name}: not compared, it has no database of its own")
        if not found:
            call.out.show("the log accounts for every effect that the participants remember")
    if found:
        raise typer.Exit(Exit.UNSUCCESSFUL)


@journal.command("rebuild")
def rebuild(context: typer.Context) -> None:
    """Make the read model anew from the log; each shard's writer waits meanwhile."""
    call = invocation(context)
    from orchestrator.views.replay import row_of  # noqa: PLC0415 - start-up time

    runs = call.journal.rebuild(row_of)
    if call.out.json:
        call.out.data({"runs": runs})
    else:
        call.out.show(f"the rows of {runs:,} runs were made anew from the log")
