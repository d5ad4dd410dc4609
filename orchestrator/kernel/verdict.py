"""What a run's state says of a branch of one of its atomic groups: the decision, for whoever finds it prepared.

Presumed abort: only a recorded decision to commit, in the very round of votes, means commit. But a prepare goes out
once its round is on record, not before. So of a branch that the record never came to, the journal has lost the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from orchestrator.kernel.state import RunState, Status
from orchestrator.kernel.two_phase import group_of

_COMMITTED = frozenset({Status.COMMITTING, Status.COMMIT_STUCK, Status.COMMIT_ASTRAY, Status.DONE})
"""What a branch is when it is to commit, or has."""
_UNDECIDED = frozenset({Status.VOTING, Status.RECALLING})


class Verdict(msgspec.Struct, frozen=True):
    """What is to become of a branch."""

    kind: Literal["commit", "abort"]
    step: str
    """The branch's step."""
    decided: bool = True
    """False while its group may still decide otherwise."""


def verdict_of(run: RunState, is_step: Callable[[str], bool], round_: int) -> Verdict | None:
    """The verdict on the branch of the step that ``is_step`` recognizes, in the round of votes it was prepared in.

    None if the run never came to that step, or not to that round.
    """
    for key, step in run.steps.items():
        group = group_of(run, key) if is_step(key) else None
        if group is None:
            continue
        if step.round < round_:
            return None
        if step.round > round_:
            return Verdict("abort", key)
        if step.status in _COMMITTED:
            return Verdict("commit", key)
        return Verdict("abort", key, decided=run.steps[group].status not in _UNDECIDED)
    return None
