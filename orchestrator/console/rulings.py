"""What people decide of prepared branches that the journal can't decide: on record before it is done.

The record is an event of no run, under ``branch:gid``, in the hash chain and the audit like any other. Where stating
something against a group's decision (``force``) takes two people, so does this: the first to say it only asks, and
another who says the same has it done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from orchestrator.errors import OperationRefusedError
from orchestrator.journal.port import ReaderJournal
from orchestrator.kernel import events as ev
from orchestrator.kernel.event import Ending
from orchestrator.kernel.messages import Noted
from orchestrator.kernel.second import FORCE, NOBODY, TwoPeople
from orchestrator.transport.gid import Gid


def subject_of(gid: str) -> str:
    """What stands in the log in the place of a run's id."""
    return f"branch:{gid}"


class Wanted(msgspec.Struct, frozen=True):
    """What somebody asked for, and that waits for another who says the same. Times are epoch seconds."""

    kind: Ending
    actor: str
    reason: str
    at: float
    expires_at: float


class Rulings:
    """Asking for them and recording them. Safe for threads."""

    def __init__(
        self,
        journal: ReaderJournal,
        rule: TwoPeople = NOBODY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rule = rule
        self._journal = journal
        self._clock = clock

    @property
    def take_two(self) -> bool:
        """Whether they take two people. Of which saga a branch is, nobody knows: so in all of them."""
        return FORCE in self.rule.operations

    def waiting(self, gid: str) -> Wanted | None:
        """What somebody asked for, if it still waits for another who says the same."""
        last = None
        for record in self._journal.history(subject_of(gid)):
            last = record.event
        if isinstance(last, ev.BranchAsked) and self._clock() <= last.expires_at:
            return _wanted(last)
        return None

    def rule_on(
        self, gid: Gid, service: str, kind: Ending, actor: str, reason: str
    ) -> Wanted | None:
        """Record that ``actor`` says so: what waits for another now, or None if it is to be done.

        Raises ``OperationRefusedError`` for somebody who can't be one of the two.
        """
        now, second = self._clock(), ""
        about: dict[str, Any] = {
            "gid": str(gid),
            "service": service,
            "step": gid.step,
            "kind": kind,
        }
        if self.take_two:
            if not actor.strip():
                raise OperationRefusedError(f"{kind} takes two people, and nobody says who you are")
            asked = self.waiting(str(gid))
            if asked is None or asked.kind != kind:
                expires_at = now + self.rule.expires_s
                event = ev.BranchAsked(
                    at=now, actor=actor, expires_at=expires_at, reason=reason, **about
                )
                self._note(event)
                return _wanted(event)
            self.rule.check(asked.actor, actor)
            reason = "; ".join(one for one in (asked.reason, reason) if one)
            actor, second = asked.actor, actor
        self._note(ev.BranchRuled(at=now, actor=actor, second=second, reason=reason, **about))
        return None

    def _note(self, event: ev.BranchAsked | ev.BranchRuled) -> None:
        noted = Noted(at=event.at, actor=event.actor, event=event)
        self._journal.note(subject_of(event.gid), noted)


def _wanted(event: ev.BranchAsked) -> Wanted:
    return Wanted(event.kind, event.actor, event.reason, event.at, event.expires_at)
