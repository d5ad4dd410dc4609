"""How often a step may be tried in a row: an operator gives one run more attempts than its plan has, or fewer.

They count from where the plan's own would: the step's beginning in its present direction, or an operator's last retry.
Where they are given, they alone are the limit: a budget of time in the plan no longer counts.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import Call
from orchestrator.errors import IllegalEventError, OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import EXECUTING, KIND, PARKED, Phase, RunState, Status, StepState

ATTEMPTS_MAX = 1_000_000


def budget(run: RunState, operation: msg.Budget, step: StepState) -> list[ev.Event]:
    """What the request means for a step that has begun. Raises ``OperationRefusedError``."""
    key, attempts = operation.step, operation.attempts
    if not isinstance(run.program.named[step.name], Call) or step.name in run.program.grouped:
        raise OperationRefusedError(f"{key!r} has no attempts of its own to give: only a call has")
    parked = step.status in PARKED
    if not parked and step.status not in EXECUTING:
        raise OperationRefusedError(f"step {key!r} is {step.status.value}: it isn't tried")
    if not parked and step.status is Status.RUNNING and run.phase is not Phase.FORWARD:
        raise OperationRefusedError("the run is compensating: its steps aren't tried again")
    if not step.attempt:
        raise OperationRefusedError(
            f"{key!r} has never been tried: {step.reason}; more attempts don't mend that"
        )
    made = step.attempt - step.base
    least = made + 1 if parked else made
    if not least <= attempts <= ATTEMPTS_MAX:
        raise OperationRefusedError(
            f"{key!r} is at attempt {made}: it can be given {least} to {ATTEMPTS_MAX:,}, not {attempts}"
        )
    asked: dict[str, Any] = {"at": operation.at, "actor": operation.actor}
    asked["request"] = operation.request
    kind, reason = KIND[step.status], operation.reason
    left = attempts - made if parked else attempts
    given = ev.BudgetSet(**asked, step=key, kind=kind, attempts=attempts, limit=left, reason=reason)
    if not parked:
        return [given]
    return [ev.StepRetried(**asked, step=key, kind=kind, reason=reason), given]


def budget_set(run: RunState, event: ev.BudgetSet) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    step = run.steps.get(event.step)
    if step is None or step.status not in EXECUTING or KIND[step.status] != event.kind:
        raise IllegalEventError(f"run {run.run_id}: a budget for {event.step!r}, which isn't tried")
    run.steps[event.step] = replace(step, limit=event.limit)
