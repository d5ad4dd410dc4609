"""`saga pause`, `saga resume`: have runs stand still, and go on."""

from __future__ import annotations

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.invocation import invocation
from orchestrator.cli.repairing import ManyRuns, one_or_many
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg


@opt.chooses_runs
def pause(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    where: RunFilter,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Have runs stand still: nothing new is sent, no time passes for them, answers are still taken."""
    call = invocation(context)
    message = msg.Pause(at=call.now(), actor=call.actor, reason=reason)
    one_or_many(call, run, where, message, yes=yes, dry_run=dry_run)


@opt.chooses_runs
def resume(
    context: typer.Context,
    run: ManyRuns = None,
    *,
    where: RunFilter,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Have paused runs go on; what had time left when they were paused has as much now."""
    call = invocation(context)
    message = msg.Resume(at=call.now(), actor=call.actor, reason=reason)
    one_or_many(call, run, where, message, yes=yes, dry_run=dry_run)
