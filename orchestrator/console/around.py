"""What is around the journal: the services that the apps define, their queues and workers, what their databases hold.

A console without it (no apps, no broker) says so instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from orchestrator.console.doubts import Doubts, InDoubt
from orchestrator.console.kept import Kept
from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import SagaError
from orchestrator.participant.service import Service
from orchestrator.transport.safety import QueueState

_KEPT_S = 5.0
_WHY_LENGTH = 300


class ParticipantRow(msgspec.Struct, frozen=True):
    """One action of a service."""

    name: str
    defined: bool
    """By the apps of this console."""
    needed_by: tuple[str, ...]
    """Sagas whose plans call it."""


class ServiceRow(msgspec.Struct, frozen=True):
    """A service: its queues, who reads them, what it can do."""

    service: str
    queues: tuple[QueueState, ...]
    participants: tuple[ParticipantRow, ...]
    two_phase: bool


class ServicesSeen(msgspec.Struct, frozen=True):
    """All services, and why nothing is known of their queues if so."""

    services: tuple[ServiceRow, ...]
    fault: str = ""


class DoubtsSeen(msgspec.Struct, frozen=True):
    """What is prepared in the services' databases."""

    asked: tuple[str, ...]
    """The services whose databases were asked."""
    found: tuple[InDoubt, ...]
    faults: dict[str, str]
    """Services whose database didn't answer, and why."""


class Surroundings:
    """Safe for threads. ``queues`` asks the broker; None where there is none."""

    def __init__(
        self,
        services: Sequence[Service] = (),
        queues: Callable[[Sequence[str]], list[QueueState]] | None = None,
        doubts: Doubts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.doubts = doubts
        self._services = services
        self._queues = queues
        self._kept = Kept[tuple[tuple[QueueState, ...], str]](_KEPT_S, clock)

    def services(self, plans: Iterable[Plan]) -> ServicesSeen:
        """Every service that a plan calls or an app defines."""
        needed: dict[str, dict[str, set[str]]] = {}
        queues: dict[str, set[str]] = {}
        for plan in plans:
            for call in _calls(plan):
                sagas = needed.setdefault(call.service, {}).setdefault(call.participant, set())
                sagas.add(plan.saga)
                queues.setdefault(call.service, set()).add(call.queue)
        defined: dict[str, set[str]] = {}
        for service in self._services:
            defined[service.name] = {one.spec.name for one in service.participants.values()}
            queues.setdefault(service.name, set()).add(service.queue)
        states, fault = self._asked(sorted(name for names in queues.values() for name in names))
        by_name = {state.name: state for state in states}
        rows = tuple(
            ServiceRow(
                service=name,
                queues=tuple(by_name[queue] for queue in sorted(queues[name]) if queue in by_name),
                participants=tuple(_participants(needed.get(name, {}), defined.get(name, set()))),
                two_phase=any(one.name == name and one.branches for one in self._services),
            )
            for name in sorted(queues)
        )
        return ServicesSeen(rows, fault)

    def in_doubt(self) -> DoubtsSeen:
        """What is prepared and not ended, in every database that can be asked."""
        found: list[InDoubt] = []
        faults: dict[str, str] = {}
        asked = self.doubts.services if self.doubts is not None else ()
        for service in asked:
            assert self.doubts is not None
            try:
                found += self.doubts.of(service)
            except Exception as error:  # noqa: BLE001 - of any driver; one database that is down hides no other
                faults[service] = _why(error)
        return DoubtsSeen(asked, tuple(found), faults)

    def _asked(self, names: list[str]) -> tuple[tuple[QueueState, ...], str]:
        if self._queues is None:
            return (), "this console has no broker to ask"

        def ask() -> tuple[tuple[QueueState, ...], str]:
            assert self._queues is not None
            try:
                return tuple(self._queues(names)), ""
            except (SagaError, OSError) as error:
                return (), _why(error)

        return self._kept.get(tuple(names), ask)


def _participants(needed: dict[str, set[str]], defined: set[str]) -> Iterable[ParticipantRow]:
    for name in sorted(needed.keys() | defined):
        yield ParticipantRow(name, name in defined, tuple(sorted(needed.get(name, ()))))


def _calls(plan: Plan) -> list[Call]:
    steps = [step for step, _ in plan.steps() if isinstance(step, Call)]
    return steps + [call for calls in plan.callbacks.values() for call in calls]


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:_WHY_LENGTH]
