"""What somebody should know before an operation is carried out: effects left behind, done twice, against a decision."""

from __future__ import annotations

from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.state import COMPLETE, KIND, RunState, Status
from orchestrator.kernel.two_phase import IN_GROUP, branches_of, group_of


def caveats(
    before: RunState,
    after: RunState,
    operation: msg.Operation | msg.Signal,
    sent: list[Execute],
) -> list[str]:
    """Warnings about what leads from ``before`` to ``after`` by ``sent``."""
    certain = {command.step for command in sent if command.kind == "commit"}
    if isinstance(operation, msg.Resolve) and not operation.undone:
        certain.add(operation.step)
    undone = [command.step for command in sent if command.kind == "undo"]
    found = [
        f"{key} may have taken effect and has no undo: its effect would be left behind, and the run"
        " would stop there for a person"
        for key, step in after.steps.items()
        if step.status is Status.UNDO_PARKED and was(before, key) is not Status.UNDO_PARKED
    ]
    found += [
        f"{key} declares no undo: what it did would be left behind, only late attempts are stopped"
        for key in undone
        if after.call(key).undo is None and (was(before, key) in COMPLETE or key in certain)
    ]
    if isinstance(operation, msg.Resolve):
        found += against_the_decision(before, operation)
    if isinstance(operation, msg.Resolve) and operation.undone:
        found += _taken_at_word(before, operation.step)
    found += [
        f"an earlier attempt of {command.step} may have taken effect: its participant must know it again"
        " by its idempotency key"
        for command in sent
        if command.kind == "do" and _may_happen_twice(before, command.step)
    ]
    return found


def was(run: RunState, key: str) -> Status | None:
    """Where a step stood; None if it hadn't begun."""
    return run.steps[key].status if key in run.steps else None


def against_the_decision(run: RunState, operation: msg.Resolve) -> list[str]:
    """A branch is said to have gone another way than its group, or decides for it."""
    step, group = run.steps[operation.step], group_of(run, operation.step)
    if group is None or step.status not in IN_GROUP:
        return []
    if run.steps[group].status is Status.RECALLING:
        return [f"{operation.step} is taken at your word: it decides for the whole of {group}"]
    decided = "commit" if KIND[step.status] == "commit" else "abort"
    if operation.undone == (decided == "abort"):
        return []
    others = ", ".join(
        f"{branch} {other.status.value}"
        for branch, other, _ in branches_of(run, group)
        if branch != operation.step
    )
    said = (
        f"{group} was decided: {decided}. {operation.step} goes on record as heuristic, against it;"
        f" the other branches: {others or 'none'}"
    )
    return [said]


def _taken_at_word(run: RunState, key: str) -> list[str]:
    step = run.steps[key]
    if step.status in IN_GROUP or (not step.reached and KIND[step.status] != "undo"):
        return []
    return [f"{key} is taken at your word: if it has an effect, that is left behind"]


def _may_happen_twice(run: RunState, key: str) -> bool:
    step = run.steps.get(key)
    if step is None or not step.doubt:
        return False
    return not run.program.call(step.name).barrier
