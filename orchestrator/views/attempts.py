"""What was tried for each step and when: read from a run's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from orchestrator.kernel import events as ev
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.state import GROUP_OPEN, KIND, OUTSTANDING, PARKED, Status
from orchestrator.views.replay import Change, Moment

COMMIT, ABORT = "decided to commit", "decided to abort"


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt of a step that came to an end. ``at`` and ``retry_at`` in epoch seconds."""

    kind: CommandKind
    attempt: int
    at: float
    outcome: str
    """succeeded, refused, failed, unknown, undone or heard; of a branch also its vote, committed, aborted,
    heuristic; of a group its decision, to commit or to abort.
    """
    message: str = ""
    error: str = ""
    """The error's type."""
    took_s: float | None = None
    retry_at: float | None = None


class Span(msgspec.Struct):
    """How long a step was under way in one direction. Open while ``ended_at`` is None."""

    began_at: float
    ended_at: float | None = None

    def duration_s(self, now: float) -> float:
        """Its length, up to ``now`` if it is open."""
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.began_at)


def repeated(attempts: Iterable[Attempt]) -> Iterator[str]:
    """In words, what was tried more than once: ``2 attempts`` at the action, ``3 undo attempts``. A group's decision
    is no attempt.
    """
    tried = (one.kind for one in attempts if one.kind != "do" or one.attempt)
    for kind, count in Counter(tried).items():
        if count > 1:
            yield f"{count} attempts" if kind == "do" else f"{count} {kind} attempts"


_PHASES: tuple[CommandKind, ...] = ("prepare", "commit", "abort")


@dataclass(slots=True)
class History:
    """What happened to one step."""

    attempts: list[Attempt] = field(default_factory=list)
    spans: dict[CommandKind, Span] = field(default_factory=dict)
    took_s: float | None = None

    def span(self, kind: CommandKind) -> Span | None:
        """When it was under way in this direction; None if never."""
        return self.spans.get(kind)

    def forward(self, kind: CommandKind) -> Span | None:
        """When it was under way before any undo: for a branch of a group, from its first vote to its end."""
        parts = [self.spans[part] for part in (kind, *_PHASES) if part in self.spans]
        if len(parts) < 2:
            return parts[0] if parts else None
        ends = [part.ended_at for part in parts]
        ended_at = None if None in ends else max(end for end in ends if end is not None)
        return Span(min(part.began_at for part in parts), ended_at)


def histories(moments: Iterable[Moment]) -> dict[str, History]:
    """The history of every step that began."""
    found: dict[str, History] = {}
    for moment in moments:
        for change in moment.changes:
            _note_change(found.setdefault(change.step, History()), change, moment.record.at)
        attempt = attempt_of(moment.event)
        if attempt is not None:
            step, tried = attempt
            history = found.setdefault(step, History())
            history.attempts.append(tried)
            if tried.outcome == "succeeded":
                history.took_s = tried.took_s
    return found


def attempt_of(event: ev.Event) -> tuple[str, Attempt] | None:
    """The attempt that an event ends, with its step; None for an event about anything else."""
    match event:
        case ev.StepSucceeded():
            made = Attempt("do", event.attempt, event.at, "succeeded", took_s=event.took_s)
        case ev.StepRefused():
            failure = event.failure
            made = Attempt("do", event.attempt, event.at, "refused", failure.message, failure.type)
        case ev.StepFailed():
            failure = event.failure
            made = Attempt(
                event.kind,
                event.attempt,
                event.at,
                "failed",
                failure.message,
                failure.type,
                retry_at=event.retry_at,
            )
        case ev.StepInDoubt():
            made = Attempt(
                event.kind,
                event.attempt,
                event.at,
                "unknown",
                event.reason,
                retry_at=event.retry_at,
            )
        case ev.StepUndone():
            made = Attempt("undo", event.attempt, event.at, "undone")
        case ev.CallbackDelivered():
            made = Attempt("callback", event.attempt, event.at, "heard")
        case _:
            return _of_branch(event)
    return event.step, made


def _of_branch(event: ev.Event) -> tuple[str, Attempt] | None:
    match event:
        case ev.BranchVoted():
            vote = event.vote.replace("_", "-")
            made = Attempt("prepare", event.attempt, event.at, vote, took_s=event.took_s)
        case ev.BranchCommitted():
            took_s = event.took_s
            made = Attempt("commit", event.attempt, event.at, "committed", took_s=took_s)
        case ev.BranchAborted():
            made = Attempt("abort", event.attempt, event.at, "aborted")
        case ev.CommitDecided():
            made = Attempt("do", 0, event.at, COMMIT)
        case ev.AbortDecided():
            made = Attempt("do", 0, event.at, ABORT, event.reason, retry_at=event.retry_at)
        case ev.HeuristicFound():
            reason = event.reason
            made = Attempt(event.kind, event.attempt, event.at, "heuristic", reason, event.found)
        case _:
            return None
    return event.step, made


def _note_change(history: History, change: Change, at: float) -> None:
    status = change.after
    kind = _kind(status)
    turned = _kind(change.before)
    left = history.spans.get(turned) if turned is not None and turned != kind else None
    if left is not None and left.ended_at is None:  # from running straight to being undone
        left.ended_at = at
    if kind is not None and status in OUTSTANDING | PARKED | GROUP_OPEN:
        span = history.spans.setdefault(kind, Span(at))
        span.ended_at = None
        return
    ended = turned or kind
    if ended is None:
        if change.before is None and status is Status.DONE:  # a signal that came before its step
            history.spans["do"] = Span(at, at)
        return
    span = history.spans.setdefault(ended, Span(at))
    if span.ended_at is None:
        span.ended_at = at


def _kind(status: Status | None) -> CommandKind | None:
    """Which direction a status is of; a group goes forward until all its branches are settled."""
    if status is None or status in GROUP_OPEN:
        return None if status is None else "do"
    return KIND.get(status)
