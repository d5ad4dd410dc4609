"""Inquiries: a worker has found a branch prepared long ago, and asks what was decided.

A run that is under way gets no answer: its own commands end the branch. For the others the journal is asked: committed
if the run's events say so, else aborted. Of a branch that they never came to, nothing is presumed: no prepare goes out
before its record is durable, so the journal has lost it, and a sibling may have committed. An operator decides.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import msgspec

from orchestrator.coordinator.live import OwnedShard
from orchestrator.coordinator.ownership import Ownership
from orchestrator.errors import JournalUnavailableError
from orchestrator.kernel.verdict import Verdict, verdict_of
from orchestrator.telemetry.bound import Subject, handling
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle, CoordinatorTransport

_log = logging.getLogger(__name__)

INQUIRY = 0
"""The attempt of an inquiry, and of what it is answered with; real attempts begin with 1."""
ENDING_TIMEOUT_S = 30.0


class _Asked(msgspec.Struct, frozen=True):
    """What an inquiry says beside the branch."""

    round: int
    queue: str


class Inquiries:
    """Takes inquiries out of the answers, and sends what the journal says."""

    def __init__(
        self,
        transport: CoordinatorTransport,
        ownership: Ownership,
        counts: Counter[str],
    ) -> None:
        self._transport = transport
        self._ownership = ownership
        self._counts = counts
        self._answers: list[Bundle] = []

    def takes(self, answer: Answer, owned: OwnedShard) -> bool:
        """Whether this is an inquiry, or what came of one; then it is no answer for a run."""
        if answer.attempt != INQUIRY:
            return False
        if answer.kind == "prepare":
            with handling(
                Subject(answer.run, "", answer.step, answer.kind, participant=answer.participant)
            ):
                self._take(answer, owned)
        else:
            self._counts[f"in doubt: {answer.kind} {answer.outcome}"] += 1
        return True

    def publish(self) -> None:
        """Send the answers. One that is lost is asked for again."""
        if self._answers:
            for error in self._transport.dispatch(self._answers):
                if error is not None:
                    _log.warning("an inquiry couldn't be answered: %s", error)
            self._answers = []

    def _take(self, answer: Answer, owned: OwnedShard) -> None:
        asked = _asked(answer.result)
        if asked is None or answer.run in owned.runs:
            self._counts["in doubt: under way"] += 1
            return
        gid = Gid(answer.shard, asked.round, answer.run, answer.step)
        verdict = self._verdict(answer, gid, owned)
        if verdict is None:
            self._counts["in doubt: nothing presumed"] += 1
            return
        _log.warning("branch %s of %s was in doubt: %s", gid, answer.participant, verdict.kind)
        work = Work(
            run=answer.run,
            shard=answer.shard,
            epoch=owned.tenure.epoch,
            step=verdict.step,
            kind=verdict.kind,
            attempt=INQUIRY,
            participant=answer.participant,
            args={},
            timeout_s=ENDING_TIMEOUT_S,
            round=asked.round,
        )
        self._answers.append(Bundle(asked.queue, (work,)))

    def _verdict(self, answer: Answer, gid: Gid, owned: OwnedShard) -> Verdict | None:
        """What the journal says; None where it can't be trusted with the answer, or must be asked again."""
        mine = owned.tenure.epoch
        if answer.epoch > mine or not gid.has_whole_run:
            heard = f"it has epoch {mine} of the shard, the participant has heard of {answer.epoch}"
            _tell_people(gid, answer, heard)
            return None
        try:
            live = self._ownership.history(answer.shard, answer.run)
            if live is None and self._ownership.has_record(answer.shard, answer.run):
                return None  # it can't be read
        except JournalUnavailableError:
            return None
        verdict = None if live is None else verdict_of(live.state, gid.is_of, gid.round)
        if verdict is None:
            known = "the run's record never came to it" if live else "it has no record of the run"
            _tell_people(gid, answer, known)
        return verdict


def _tell_people(gid: Gid, answer: Answer, why: str) -> None:
    _log.error(
        "branch %s of %s is in doubt, and this journal can't tell: %s. Was it restored from a backup? `saga in-doubt` "
        "says what is known of the run, and ends the branch as you decide",
        *(gid, answer.participant, why),
    )


def _asked(result: Any) -> _Asked | None:
    try:
        return msgspec.convert(result, _Asked)
    except msgspec.ValidationError:
        return None
