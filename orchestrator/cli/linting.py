"""`saga lint`: what sagas may well do, and yet seldom should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from orchestrator.cli.exits import Exit
from orchestrator.cli.invocation import Invocation, invocation
from orchestrator.cli.verifying import wanted_sagas
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from orchestrator.definition.lint import Finding


def lint(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Sagas; all of the apps' if none."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Show accepted findings too, with their reasons.")
    ] = False,
) -> None:
    """Look sagas over for what works today and hurts some day; exit 1 on any finding that isn't accepted."""
    call = invocation(context)
    found = _findings(call, names or [])
    left = [finding for finding in found if not finding.accepted]
    if call.out.json:
        call.out.data({"ok": not left, "findings": found if everything else left})
    else:
        for finding in found if everything else left:
            _show(call, finding)
        accepted = len(found) - len(left)
        rest = f", {accepted} accepted" if accepted else ""
        style = "bold red" if left else "bold green"
        call.out.show(
            Text(f"{len(left)} finding{'' if len(left) == 1 else 's'}{rest}", style=style)
        )
    if left:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _findings(call: Invocation, names: list[str]) -> list[Finding]:
    from orchestrator.definition.lint import lint as look_over  # noqa: PLC0415 - start-up time
    from orchestrator.participant.source_facts import (  # noqa: PLC0415 - start-up time
        facts_about,
        facts_of,
        participants_near,
    )

    known = facts_of(call.definitions.services)
    here = [one for service in call.definitions.services for one in service.participants.values()]
    found: list[Finding] = []
    for saga in wanted_sagas(call, names):
        near = [one for one in participants_near(saga.function).values() if one.is_remote]
        contracts = [*call.definitions.contracts, *near]
        registered = {one.spec.qualified: one.spec for one in (*contracts, *here)}
        try:
            called = facts_about(saga)
        except DefinitionError:
            called = {}  # lint says so
        found += look_over(saga, {**called, **known}, registered)
    return found


def _show(call: Invocation, finding: Finding) -> None:
    step = f" {finding.step}" if finding.step else ""
    call.out.show(
        Text.assemble(
            (f"{finding.where}: " if finding.where else "", "bold"),
            (finding.rule, "yellow"),
            f" ({finding.saga}{step})",
        ),
        Text(f"    {finding.risk}"),
        Text(f"    accepted: {finding.accepted}" if finding.accepted else f"    -> {finding.fix}"),
    )
