"""Incidents: which steps of a run need a person, since when, and which of them have one cause.

An incident is a part of the state, so that the events that park a step open it and those that move it on close it: a
replay of any journal, also an old one, gives the same. Those of one cluster have the same saga, step, direction and
error, whatever numbers, ids and quoted values the error's message carries.
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec

from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.state import KIND, RunState, StepState

MESSAGE_MAX = 300
"""Characters of a message that an incident's row keeps; the event has all of it."""
_CLUSTER_LENGTH = 12
_VARIABLE = (
    (re.compile(r"(?<!\w)(?:'[^'\n]*')+(?!\w)|\"[^\"\n]*\"|`[^`\n]*`"), "''"),
    (re.compile(r"[\w.:-]*\d[\w.:-]*"), "#"),
    (re.compile(r"\s+"), " "),
)


class Incident(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """A step that needs a person. Times are epoch seconds."""

    step: str
    kind: CommandKind
    """The direction: ``do`` is forward."""
    cluster: str
    """The same for all incidents of one cause."""
    since: float
    attempts: int
    message: str
    """Why, shortened to ``MESSAGE_MAX`` characters."""
    error: str = ""
    """The error's type; empty where no error was reported, as when no answer came."""
    frame: str = ""
    """The innermost function of the user's own code that the error came through, as ``module:function``."""
    acked_at: float | None = None
    """When somebody took it on."""
    acked_by: str = ""
    ack_reason: str = ""


def incidents(run: RunState) -> tuple[Incident, ...]:
    """The open incidents of a run, in the order in which they were opened."""
    return tuple(_incident(run, key, run.steps[key]) for key in run.open_incidents)


def fingerprint(
    saga: str, step: str, kind: CommandKind, error: str, message: str, frame: str
) -> str:
    """What incidents of one cause have in common: in hex, short enough to type."""
    parts = (saga, step, kind, error, constant_part(message), frame)
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return sha256(text).hexdigest()[:_CLUSTER_LENGTH]


def constant_part(message: str) -> str:
    """A message without what differs from run to run: quoted values, and every word with a digit in it."""
    for variable, instead in _VARIABLE:
        message = variable.sub(instead, message)
    return message.strip()


def _incident(run: RunState, key: str, step: StepState) -> Incident:
    opened, kind, failure = run.open_incidents[key], KIND[step.status], step.failure
    error = failure.type if failure is not None else step.heuristic or ""
    frame = failure.frame if failure is not None else ""
    saga, message = run.program.plan.saga, step.reason
    if len(message) > MESSAGE_MAX:
        message = message[: MESSAGE_MAX - 2] + " …"
    return Incident(
        step=key,
        kind=kind,
        cluster=fingerprint(saga, step.name, kind, error, step.reason, frame),
        since=opened.since,
        attempts=step.attempt,
        message=message,
        error=error,
        frame=frame,
        acked_at=opened.acked_at,
        acked_by=opened.acked_by,
        ack_reason=opened.ack_reason,
    )
