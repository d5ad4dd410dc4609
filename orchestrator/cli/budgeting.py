"""`saga budget`: how often a step of one run may be tried."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.invocation import invocation
from orchestrator.cli.repairing import operate_on
from orchestrator.kernel import messages as msg

Attempts = Annotated[
    int, typer.Option("--attempts", min=1, help="How often in all, those made so far among them.")
]


def budget(
    context: typer.Context,
    run: opt.RunId,
    step: opt.StepKey,
    *,
    attempts: Attempts,
    dry_run: opt.DryRun = False,
    reason: opt.Reason = "",
) -> None:
    """Have a step, or its undo, tried up to so often; one that was given up is tried again at once.

    It counts for this run and until an operator retries the step; a time limit that its plan has doesn't count then.
    """
    call = invocation(context)
    message = msg.Budget(
        at=call.now(), actor=call.actor, step=step, attempts=attempts, reason=reason
    )
    operate_on(call, run, message, dry_run=dry_run)
