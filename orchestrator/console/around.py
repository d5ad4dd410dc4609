"""What is around the journal: the services that the apps define, their queues and workers, what their databases hold.

A console without it (no apps, no broker) says so instead.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec
from msgspec.structs import replace

from orchestrator.console.doubts import Doubts, InDoubt
from orchestrator.console.kept import Kept
from orchestrator.definition.plan import Call, Plan
from orchestrator.errors import SagaError
from orchestrator.participant.service import Service
from orchestrator.transport.presence import WorkerState
from orchestrator.transport.safety import QueueState

_KEPT_S = 5.0
_REMEMBERED_S = 86_400.0
"""How long a worker that doesn't answer any more is shown."""
_WHY_LENGTH = 300


class ParticipantRow(msgspec.Struct, frozen=True):
    """One action of a service."""

    name: str
    defined: bool
    """By the apps of this console."""
    needed_by: tuple[str, ...]
    """Sagas whose plans call it."""
    workers: int = 0
    """Workers that answered and have registered it."""


class ServiceRow(msgspec.Struct, frozen=True):
    """A service: its queues, who reads them, what it can do."""

    service: str
    queues: tuple[QueueState, ...]
    participants: tuple[ParticipantRow, ...]
    two_phase: bool


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker, as it told of itself when it answered last."""

    worker: WorkerState
    seen_at: float
    missing: bool
    """It doesn't answer any more."""


class ServicesSeen(msgspec.Struct, frozen=True):
    """All services and workers, and why nothing is known of queues and workers if so."""

    services: tuple[ServiceRow, ...]
    workers: tuple[WorkerRow, ...] = ()
    fault: str = ""

    @property
    def unserved(self) -> tuple[str, ...]:
        """Participants that sagas call and no worker that answered has registered."""
        if self.fault:
            return ()
        return tuple(
            f"{row.service}.{one.name}"
            for row in self.services
            for one in row.participants
            if one.needed_by and not one.workers
        )

    def of_sagas(self) -> ServicesSeen:
        """Without what none of the sagas calls."""
        services = tuple(row for row in self.services if any(p.needed_by for p in row.participants))
        theirs = {row.service for row in services}
        workers = (replace(row, worker=_only(row.worker, theirs)) for row in self.workers)
        shown = tuple(row for row in workers if row.worker.participants)
        return replace(self, services=services, workers=shown)


class DoubtsSeen(msgspec.Struct, frozen=True):
    """What is prepared in the services' databases."""

    asked: tuple[str, ...]
    """The services whose databases were asked."""
    found: tuple[InDoubt, ...]
    faults: dict[str, str]
    """Services whose database didn't answer, and why."""


class Broker(Protocol):
    """What can be asked through the broker; both may take a second, and raise ``SagaError`` or ``OSError``."""

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        """How much waits in each of these queues, and how many workers read it."""
        ...

    def workers(self) -> list[WorkerState]:
        """The workers that answer."""
        ...


class Surroundings:
    """Safe for threads. Without a ``broker``, nothing is known of queues and workers."""

    def __init__(
        self,
        services: Sequence[Service] = (),
        broker: Broker | None = None,
        doubts: Doubts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.doubts = doubts
        self._services = services
        self._broker = broker
        self._clock = clock
        self._kept = Kept[_Told](_KEPT_S, clock)
        self._seen: dict[tuple[str, int], WorkerRow] = {}
        self._last: _Told | None = None
        self._asking = threading.Lock()

    @property
    def can_look(self) -> bool:
        """Whether there is a broker to ask."""
        return self._broker is not None

    def services(self, plans: Iterable[Plan]) -> ServicesSeen:
        """Every service that a plan calls or an app defines. Workers may take a second to answer."""
        return self._seen_now(plans, self._asked)

    def glance(self, plans: Iterable[Plan]) -> ServicesSeen | None:
        """The same as it was told last, without waiting, while it is asked again beside; None if it never was."""
        last = self._last if self._broker is not None else self._asked([])
        return None if last is None else self._seen_now(plans, lambda _: last)

    def look(self, plans: Iterable[Plan]) -> None:
        """Ask beside, for the next ``glance``, unless somebody does already."""
        if self._broker is None or not self._asking.acquire(blocking=False):
            return
        found = list(plans)

        def ask() -> None:
            try:
                self._seen_now(found, self._remembered)
            finally:
                self._asking.release()

        threading.Thread(target=ask, name="console-look", daemon=True).start()

    def _remembered(self, names: list[str]) -> _Told:
        self._last = self._asked(names)
        return self._last

    def _seen_now(self, plans: Iterable[Plan], ask: Callable[[list[str]], _Told]) -> ServicesSeen:
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
        told = ask(sorted(name for names in queues.values() for name in names))
        by_name = {state.name: state for state in told.queues}
        serving = Counter(
            name for row in told.workers if not row.missing for name in row.worker.participants
        )
        rows = tuple(
            ServiceRow(
                service=name,
                queues=tuple(by_name[queue] for queue in sorted(queues[name]) if queue in by_name),
                participants=tuple(
                    _participants(name, needed.get(name, {}), defined.get(name, set()), serving)
                ),
                two_phase=any(one.name == name and one.branches for one in self._services),
            )
            for name in sorted(queues)
        )
        return ServicesSeen(rows, told.workers, told.fault)

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

    def _asked(self, names: list[str]) -> _Told:
        if self._broker is None:
            return _Told(fault="this console has no broker to ask")
        broker = self._broker

        def ask() -> _Told:
            try:
                with ThreadPoolExecutor(1) as pool:  # each waits for workers to answer
                    workers = pool.submit(broker.workers)
                    queues = tuple(broker.queues(names))
                    return _Told(queues, self._noted(workers.result()))
            except (SagaError, OSError) as error:
                return _Told(fault=_why(error))

        return self._kept.get(tuple(names), ask)

    def _noted(self, answered: Sequence[WorkerState]) -> tuple[WorkerRow, ...]:
        """Those that answered, and those that did before; one that was started again under its name isn't missing."""
        now = self._clock()
        names = {state.name for state in answered}
        before = (
            replace(row, missing=True)
            for row in self._seen.values()
            if row.worker.name not in names and now - row.seen_at < _REMEMBERED_S
        )
        rows = [*(WorkerRow(state, now, missing=False) for state in answered), *before]
        self._seen = {(row.worker.name, row.worker.pid): row for row in rows}
        return tuple(sorted(rows, key=lambda row: (row.worker.name, row.worker.pid)))


class _Told(msgspec.Struct, frozen=True):
    """What came of asking the broker."""

    queues: tuple[QueueState, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    fault: str = ""


def _participants(
    service: str, needed: Mapping[str, set[str]], defined: set[str], serving: Mapping[str, int]
) -> Iterable[ParticipantRow]:
    registered = {name.partition(".")[2] for name in serving if name.partition(".")[0] == service}
    for name in sorted(needed.keys() | defined | registered):
        sagas = tuple(sorted(needed.get(name, ())))
        yield ParticipantRow(name, name in defined, sagas, serving.get(f"{service}.{name}", 0))


def _only(worker: WorkerState, services: Collection[str]) -> WorkerState:
    kept = (name for name in worker.participants if name.partition(".")[0] in services)
    return replace(worker, participants=tuple(kept), queues=())


def _calls(plan: Plan) -> list[Call]:
    steps = [step for step, _ in plan.steps() if isinstance(step, Call)]
    return steps + [call for calls in plan.callbacks.values() for call in calls]


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:_WHY_LENGTH]
