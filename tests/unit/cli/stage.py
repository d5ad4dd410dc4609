"""A command line on a journal in memory: the coordinator takes a turn whenever a command sleeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.invocation import GlobalOptions
from orchestrator.client import Client, ClientOptions
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.plan import Plan
from orchestrator.definition.saga import Saga
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel.events import Failure
from orchestrator.kernel.second import NOBODY
from orchestrator.settings import Settings
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.safety import BrokerState, QueueState
from orchestrator.wiring import Definitions
from tests.unit.coordinator.scripted import ScriptedTransport, answer, plan_of, request

ACTOR = "ann@desk"


class FakeProbe:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.warnings: tuple[str, ...] = ()
        self.time: float | None = None
        self.workers = 1
        self.error: Exception | None = None
        self.schema_error: Exception | None = None

    def schema(self) -> None:
        if self.schema_error is not None:
            raise self.schema_error

    def database_time(self) -> float | None:
        return self.time

    def broker(self) -> BrokerState:
        if self.error is not None:
            raise self.error
        return BrokerState("redis", "noeviction", self.warnings)

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        return [QueueState(name, 3, self.workers) for name in names]


class Stage:
    """A ``Backend`` of a test's own, and the command line over it."""

    def __init__(self) -> None:
        self.clock = 1_000_000.0
        self.store = MemoryJournal(shards=2)
        self.transport = ScriptedTransport()
        self.asked = FakeProbe()
        self.defined = Definitions({}, [])
        self.coordinator: Coordinator | None = None
        self.runner = CliRunner()
        self.actor = ACTOR
        self.two_people = NOBODY

    # the backend

    def settings(self, options: GlobalOptions) -> Settings:
        return Settings(actor=self.actor, apps=options.apps)

    def journal(self, settings: Settings) -> MemoryJournal:
        return self.store

    def definitions(self, apps: Sequence[str]) -> Definitions:
        return self.defined

    def client(
        self, settings: Settings, journal: Any, sagas: Mapping[str, Saga[..., Any]]
    ) -> Client:
        options = ClientOptions(settings.actor, two_people=self.two_people)
        return Client(journal, sagas, options=options, clock=self.now)

    def probe(self, settings: Settings) -> FakeProbe:
        return self.asked

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        if self.coordinator is not None:
            self.turns(2)

    # what tests do

    def run(self, *args: str, stdin: str | None = None) -> Any:
        """Call ``saga`` with these arguments; unexpected exceptions are the test's failure."""
        result = self.runner.invoke(app, list(args), obj=self, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *args: str) -> Any:
        """Stdout of a command, read as JSON."""
        return json.loads(self.run("--json", *args).stdout)

    def start(self) -> None:
        """Have a coordinator from now on."""
        options = CoordinatorOptions("c1", lease_s=100.0, two_people=self.two_people)
        self.coordinator = Coordinator(self.store, self.transport, options, self.now)
        self.turns(1)

    def turns(self, number: int = 6) -> None:
        assert self.coordinator is not None
        for _ in range(number):
            self.coordinator.turn(0)

    def launch(self, run_id: str, *steps: str, saga: str = "shop", key: str | None = None) -> str:
        """Launch a run of a sequence of steps."""
        plan: Plan = plan_of(*(steps or ("reserve", "charge")), saga=saga)
        self.store.launch([request(plan, run_id, key, at=self.clock)])
        return run_id

    def fail(self, *steps: str, kind: str = "undo") -> None:
        """From now on these steps fail for good in this direction; the rest succeeds."""

        def handler(work: Work) -> Answer:
            if work.step in steps and work.kind == kind:
                return answer(work, "failed", failure=Failure("shop.Broken", "the till is broken"))
            if work.kind == "do" and work.step == "charge":
                return answer(work, "refused", failure=Failure("shop.No", "no money"))
            return answer(work, result={"step": work.step}, took_s=0.01)

        self.transport.handler = handler

    def stuck(self, run_id: str = "aaaa1111", **given: Any) -> str:
        """A run whose charge is refused and whose undo of reserve is parked."""
        self.fail("reserve")
        self.launch(run_id, **given)
        if self.coordinator is None:
            self.start()
        for _ in range(12):
            self.turns(3)
            self.clock += 10
        assert self.store.find(run_id).status == "stuck"
        return run_id

    def mend(self) -> None:
        """From now on everything succeeds."""
        self.transport.handler = lambda work: answer(work, result=work.step, took_s=0.01)
