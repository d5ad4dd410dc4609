"""Prepared branches of atomic groups in the services' databases, and what the journal says of each.

The same rules as the coordinator's: a recorded decision to commit means commit, another abort, once it can't be decided
otherwise any more. Of a branch that the journal has no record of nothing is presumed, as it has lost it. But here all
services can be asked: where none has an effect of the run, to roll the branch back leaves nothing half done. Else a
person decides, and names it. Without the console's extra, for the command line has it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from orchestrator.console.rulings import Rulings, Wanted
from orchestrator.errors import IllegalEventError, InvalidInputError, RunNotFoundError, SagaError
from orchestrator.journal.port import Journal
from orchestrator.journal.records import shard_of
from orchestrator.kernel.event import Ending
from orchestrator.kernel.preview import Second
from orchestrator.kernel.state import RunState
from orchestrator.kernel.verdict import verdict_of
from orchestrator.participant.service import Service
from orchestrator.participant.two_phase.port import Found
from orchestrator.transport.messages import Work
from orchestrator.views.spans import span_text

ENDING_TIMEOUT_S = 30.0

Decision = Literal["commit", "abort", "undecided", "no record", "unknown"]


class InDoubt(msgspec.Struct):
    """One prepared branch. ``came_to`` is what resolving it did; ``why`` explains a decision that isn't plain."""

    service: str
    gid: str
    run: str
    step: str
    round: int
    shard: int
    age_s: float | None
    decision: Decision
    why: str
    locks: tuple[str, ...]
    waiting: int
    holds_back: int | None
    came_to: str = ""
    asked: Wanted | None = None
    """How somebody wants it to end, if that waits for another who says the same."""

    @property
    def is_for_people(self) -> bool:
        """Whether the journal can't decide it, and nobody has."""
        return self.decision in {"no record", "unknown"} and not self.came_to


class Ruled(msgspec.Struct, frozen=True):
    """What somebody should know before they decide a branch."""

    branch: InDoubt
    kind: Ending
    effects: tuple[str, ...]
    """What its run has in the databases of the services, as far as they remember."""
    others: tuple[InDoubt, ...]
    """Other prepared branches of the run."""
    warnings: tuple[str, ...]
    second: Second | None = None
    """It takes two people: the first only asks for it."""


class _Case(NamedTuple):
    branch: InDoubt
    kind: Ending | None
    """What may be done about it; None for nothing."""
    found: Found
    epoch: int


class Doubts:
    """What is prepared in the databases of some services. Safe for threads."""

    def __init__(
        self,
        services: Iterable[Service],
        journal: Journal,
        state: Callable[[str], RunState],
        safe_s: float,
        rulings: Rulings | None = None,
    ) -> None:
        self.rulings = rulings or Rulings(journal)
        self._all = list(services)
        self._services = [one for one in self._all if one.branches is not None]
        self._journal = journal
        self._state = state
        self._safe_s = safe_s

    @property
    def services(self) -> tuple[str, ...]:
        """The services that are asked."""
        return tuple(one.name for one in self._services)

    def of(self, service: str) -> list[InDoubt]:
        """What one service's database has prepared. Raises its errors."""
        return [case.branch for case in self._of(self._named(service))]

    def end(self, service: str, chosen: Callable[[InDoubt], bool]) -> list[InDoubt]:
        """Commit or roll back those of the chosen whose decision is known, and old orphans; tells what came of it.

        Raises the database's errors.
        """
        asked = self._named(service)
        cases = [case for case in self._of(asked) if chosen(case.branch)]
        for case in cases:
            if case.kind is not None:
                case.branch.came_to = _ended(asked, case.found, case.branch, case.kind, case.epoch)
        return [case.branch for case in cases]

    def preview(self, gid: str, kind: Ending, service: str | None = None) -> Ruled:
        """What is known of the run of a branch that people have to decide, and what to fear. Raises as ``decide``."""
        case = self._case(gid, service)
        one, faults = case.branch, []
        effects: list[str] = []
        others: list[InDoubt] = []
        for held in self._all:
            try:
                effects += _effects(held, one.run)
                if held.branches is not None:
                    others += [
                        other.branch
                        for other in self._of(held)
                        if other.branch.run == one.run and other.branch.gid != gid
                    ]
            except Exception as error:  # noqa: BLE001 - of any driver; what one database can't say is a warning
                faults.append(f"{held.name} doesn't answer: {error}")
        warnings = (*faults, *_fears(kind, effects, others))
        second = self.rulings.rule.told if self.rulings.take_two else None
        return Ruled(one, kind, tuple(effects), tuple(others), warnings, second)

    def decide(
        self, gid: str, kind: Ending, actor: str, reason: str = "", service: str | None = None
    ) -> InDoubt:
        """Commit or roll back a branch that the journal can't decide, because a person has: it is on record first.
        Where that takes two people, the first only asks.

        Raises ``InvalidInputError`` if there is none, or the journal can; ``OperationRefusedError`` for somebody who
        can't be one of the two; and the database's errors.
        """
        case = self._case(gid, service)
        one, owner = case.branch, self._named(case.branch.service)
        one.asked = self.rulings.rule_on(case.found.gid, one.service, kind, actor, reason)
        if one.asked is None:
            one.came_to = _ended(owner, case.found, one, kind, case.epoch)
        return one

    def _case(self, gid: str, service: str | None) -> _Case:
        """The branch of that name, for people to decide. Raises ``InvalidInputError``."""
        for case in self._cases(service):
            one = case.branch
            if one.gid != gid:
                continue
            if one.decision not in {"no record", "unknown"}:
                raise InvalidInputError(
                    f"{gid} isn't for you to decide, the journal says: {one.decision}"
                )
            if not case.found.gid.is_whole:
                raise InvalidInputError(
                    f"the name {gid} is cut: end it by hand, in {one.service}'s database"
                )
            return case
        names = ", ".join(self.services) if service is None else service
        raise InvalidInputError(f"nothing called {gid} is prepared in the databases of {names}")

    def _cases(self, service: str | None) -> Iterator[_Case]:
        for one in self._services:
            if service in {None, one.name}:
                yield from self._of(one)

    def _named(self, service: str) -> Service:
        return next(one for one in self._services if one.name == service)

    def _of(self, service: Service) -> Iterator[_Case]:
        branches = service.branches
        assert branches is not None, service.name
        epochs = {lease.shard: lease.epoch for lease in self._journal.leases()}
        heard_of = branches.heard_of()
        for found in branches.found():
            shard = found.gid.shard
            epoch = heard_of.get(shard, 0)
            one, kind = self._judged(service, found, older=epoch > epochs.get(shard, 0))
            if one.is_for_people:
                one.asked = self.rulings.waiting(one.gid)
            yield _Case(one, kind, found, epoch)

    def _judged(
        self, service: Service, found: Found, *, older: bool
    ) -> tuple[InDoubt, Ending | None]:
        """A branch with its decision; and what may be done about it, None for nothing."""
        gid = found.gid
        one = InDoubt(
            service=service.name,
            gid=str(gid),
            run=gid.run,
            step=gid.step,
            round=gid.round,
            shard=gid.shard,
            age_s=found.age_s,
            decision="unknown",
            why="",
            locks=found.locks,
            waiting=found.waiting,
            holds_back=found.holds_back,
        )
        if older:
            one.why = "the journal is older than this branch: was it restored from a backup? Nothing is presumed"
            return one, None
        if not gid.has_whole_run or shard_of(gid.run, self._journal.shards()) != gid.shard:
            one.why = "the run isn't one of this journal's: is it the right --journal?"
            return one, None
        try:
            verdict = verdict_of(self._state(gid.run), gid.is_of, gid.round)
        except RunNotFoundError:
            one.decision = "no record"
            return one, self._orphan(one)
        except IllegalEventError as error:
            one.why = f"the run can't be read: {error}"
            return one, None
        if verdict is None:
            one.decision = "no record"
            one.why = "the run's record never came to this branch: was the journal restored from a backup?"
            return one, None
        one.step = verdict.step
        one.decision = verdict.kind if verdict.decided else "undecided"
        return one, verdict.kind if verdict.decided else None

    def _orphan(self, one: InDoubt) -> Ending | None:
        if ended := self._journal.archived([one.run]).get(one.run):
            one.why = f"the run was archived as {ended}: look there whether its group committed"
            return None
        effects = [held for service in self._all for held in _effects(service, one.run)]
        if effects:
            one.why = f"the journal has forgotten its run, and this has taken effect: {', '.join(effects)}"
            return None
        safe_s = self._safe_s
        if one.age_s is None:
            one.why = "the database doesn't tell its age"
            return None
        if one.age_s < safe_s:
            one.why = f"left alone until it is {span_text(safe_s)} old"
            return None
        return "abort"


def _effects(service: Service, run: str) -> list[str]:
    """What has taken effect of a run in a service's database, if it has one."""
    held = service.held_of(run) if service.database is not None else []
    return [f"{one.step} in {service.name}" for one in held if one.status == "done"]


def _fears(kind: Ending, effects: list[str], others: list[InDoubt]) -> Iterator[str]:
    """What an ending would leave half done, as far as can be told."""
    if kind == "abort" and effects:
        yield f"this has taken effect, and stays: {', '.join(effects)}"
    if kind == "commit" and not effects:
        yield "nothing else of the run is known to have taken effect: this may be the only part of it that does"
    if others:
        names = ", ".join(f"{other.step} in {other.service}" for other in others)
        yield f"also prepared, and to be decided alike: {names}"


def _ended(service: Service, found: Found, one: InDoubt, kind: Ending, epoch: int) -> str:
    work = Work(
        run=one.run,
        shard=one.shard,
        epoch=epoch,
        step=one.step,
        kind=kind,
        attempt=0,
        participant=f"{service.name}.",
        args={},
        timeout_s=ENDING_TIMEOUT_S,
        round=found.gid.round,
    )
    try:
        settled = service.performer.end(work)
    except SagaError as error:
        return f"failed: {error}"
    if settled.outcome == "succeeded":
        return "committed" if kind == "commit" else "rolled back"
    return f"failed: {settled.failure.message if settled.failure else settled.outcome}"
