"""``People``: the clients and operators of a schedule, who launch, ask, and repair what is stuck."""

from __future__ import annotations

from random import Random
from typing import Protocol

from orchestrator.definition.plan import Wait
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import RunState, Status
from orchestrator.testing.simulation.plans import Workload


class Surroundings(Protocol):
    """What they see of the world."""

    now: float
    journal: MemoryJournal
    workload: Workload
    plan_hash: str
    launched: list[str]
    surprises: list[str]

    @property
    def draw(self) -> Random:
        """The chance of the schedule."""
        ...

    def state(self, run_id: str) -> RunState | None:
        """A run as its events say."""
        ...

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        ...

    def wake_all(self) -> None:
        """Poke the coordinators."""
        ...


class People:
    """Everybody who talks to the journal but the coordinators."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    def launch(self, number: int) -> None:
        """Launch a run under the key of this number, whether it was before or not."""
        world = self._world
        run_id = f"{world.draw.getrandbits(128):032x}"
        plan = world.workload.plan
        message = msg.Launch(
            at=world.now,
            run_id=run_id,
            saga=plan.saga,
            version=plan.version,
            plan=world.plan_hash,
            input=world.workload.input,
            key=f"key-{number}",
        )
        [launched] = world.journal.launch([LaunchRequest(message, plan)])
        world.note("client", f"launches key-{number}: {launched.run_id[:4]} {launched.created}")
        if launched.created:
            world.launched.append(launched.run_id)
        elif launched.run_id not in world.launched:
            world.surprises.append(
                f"key-{number} names run {launched.run_id}, which nobody launched"
            )
        world.wake_all()

    def ask(self, what: str) -> None:
        """Something of an operator or a client for a run, as it is or not any more."""
        world = self._world
        if what == "launched again":
            self.launch(0)
        elif world.launched:
            run_id = world.draw.choice(world.launched)
            self._send(run_id, self._message(what, run_id))

    def repair(self) -> bool:
        """Do as an operator would; False if there is nothing to do."""
        asked = False
        for run_id in self._world.launched:
            state = self._world.state(run_id)
            if state is not None:
                asked = self._repair(run_id, state) or asked
        return asked

    def _repair(self, run_id: str, state: RunState) -> bool:
        asked = False
        for step in list(state.steps.values()):
            node = state.program.named[step.name]
            if step.status is Status.WAITING and isinstance(node, Wait):
                self._signal(run_id, node.signal)
                asked = True
        for key in state.parked:
            node = state.program.named[state.steps[key].name]
            if isinstance(node, Wait):
                self._signal(run_id, node.signal)
        if any(state.steps[key].attempt for key in state.parked):
            self._send(run_id, msg.Retry(at=self._world.now, actor="op"))
            asked = True
        return asked

    def _signal(self, run_id: str, name: str) -> None:
        data = self._world.workload.signals[name]
        self._send(run_id, msg.Signal(at=self._world.now, name=name, data=data))

    def _send(self, run_id: str, message: msg.Message) -> None:
        self._world.note("client", f"{run_id[:4]} {type(message).__name__}")
        self._world.journal.send(run_id, message)
        self._world.wake_all()

    def _message(self, what: str, run_id: str) -> msg.Message:
        world, draw, at = self._world, self._world.draw, self._world.now
        match what:
            case "cancelled":
                return msg.Cancel(at=at, actor="op")
            case "compensated by hand":
                return msg.Compensate(at=at, actor="op")
            case "retried by hand":
                return msg.Retry(at=at, actor="op")
            case "skipped by hand":
                state = world.state(run_id)
                step = draw.choice(sorted(state.steps)) if state and state.steps else "first"
                results = world.workload.results
                return msg.Skip(
                    at=at, actor="op", step=step, result=results.get(step, results.get(""))
                )
            case _:
                signal_id = draw.choice(("", "x"))
                name, data = draw.choice(list(world.workload.signals.items()))
                return msg.Signal(at=at, name=name, data=data, signal_id=signal_id)
