"""`saga db` and `saga journal`: the journal's schema, its hash chain, its read model."""

from __future__ import annotations

import itertools
from typing import Annotated

import typer

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import invocation

FINDINGS_MAX = 100

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

    settings = call.settings
    if sql:
        call.out.raw(schema.upgrade_sql(settings.journal_url, shards=settings.shards))
        return
    given = "shards" in settings.model_fields_set
    schema.upgrade(settings.journal_url, shards=settings.shards if given else None)
    shards = call.journal.shards()
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
def check_journal(context: typer.Context) -> None:
    """Walk every shard's hash chain, and compare the read model with a replay; exit 1 on any finding."""
    call = invocation(context)
    from orchestrator.views.read_model import differences  # noqa: PLC0415 - start-up time

    found = list(
        itertools.islice(
            itertools.chain(call.journal.verify(), differences(call.journal)), FINDINGS_MAX + 1
        )
    )
    shown, more = found[:FINDINGS_MAX], len(found) > FINDINGS_MAX
    if call.out.json:
        call.out.data({"ok": not found, "findings": shown, "more": more})
    elif found:
        call.out.show(*shown)
        call.out.note(f"{len(shown)}{' or more' if more else ''} findings", "red")
    else:
        call.out.show("every shard's chain holds, and the read model says what the log says")
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
