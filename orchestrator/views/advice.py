"""What an operator can do for a run: asked of the kernel, so that nothing is offered that it would refuse."""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.definition.plan import Atomic
from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import messages as msg
from orchestrator.kernel.operate import possible
from orchestrator.kernel.state import KIND, RunState

Name = Literal["retry", "skip", "resolve as done", "resolve as undone", "forget", "compensate"]

_SOME: list[object] = []
"""Stands for the result an operator would give; a list, as a fan-out's items have to be."""


class Advice(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation that the run's state allows, and what it would do."""

    operation: Name
    step: str
    """Empty for the whole run."""
    effect: str


def advice(run: RunState, now: float) -> list[Advice]:
    """What is possible for the steps that need a person; empty if none does."""
    found: list[Advice] = []
    for key in run.parked:
        found.extend(_for_step(run, key, now))
    for key, step in run.steps.items():
        if step.heuristic is not None and _allowed(run, msg.Forget(at=now, step=key)):
            effect = f"close the file of {key}, which went against its group's decision"
            found.append(Advice("forget", key, effect))
    if run.parked and _allowed(run, msg.Compensate(at=now)):
        found.append(Advice("compensate", "", "give up and undo the whole run"))
    return found


def _for_step(run: RunState, key: str, now: float) -> list[Advice]:
    what = {
        "undo": f"the undo of {key}",
        "callback": f"the callback {key}",
        "commit": f"the commit of {key}",
        "abort": f"the abort of {key}",
    }
    kind = KIND[run.steps[key].status]
    some = None if isinstance(run.program.named[run.steps[key].name], Atomic) else _SOME
    offers: list[tuple[Name, msg.Operation, str]] = [
        ("retry", msg.Retry(at=now, step=key), f"try {what.get(kind, key)} again"),
        (
            "skip",
            msg.Skip(at=now, step=key, result=some),
            f"go on as if {key} had returned this result",
        ),
        (
            "resolve as done",
            msg.Resolve(at=now, step=key, result=some),
            f"state that {key} did take effect",
        ),
        (
            "resolve as undone",
            msg.Resolve(at=now, step=key, undone=True),
            f"state that {key} has no effect"
            + ("" if kind in {"undo", "abort"} else ", and undo the rest"),
        ),
    ]
    return [
        Advice(name, key, effect) for name, operation, effect in offers if _allowed(run, operation)
    ]


def _allowed(run: RunState, operation: msg.Operation) -> bool:
    try:
        possible(run, operation)
    except OperationRefusedError:
        return False
    return True
