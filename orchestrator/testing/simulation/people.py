"""``People``: the clients and operators of a schedule, who launch, ask, and repair what is stuck."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from orchestrator.definition.plan import Wait
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import RunState, Status
from orchestrator.testing.simulation.plans import Workload
from orchestrator.testing.simulation.shop import Shop

_TWICE = 0.1
"""How often an operator asks for the same thing a second time."""


class Surroundings(Protocol):
    """What they see of the world."""

    now: float
    journal: MemoryJournal
    workload: Workload
    shop: Shop
    plan_hash: str
    surprises: list[str]

    @property
    def launched(self) -> list[str]:
        """Every accepted launch's run that the journal knows."""
        ...

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
            message = self._message(what, run_id)
            if message is not None:
                self._send(run_id, message)
                if isinstance(message, msg.Operation) and world.draw.random() < _TWICE:
                    self._send(run_id, message)

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
        if state.paused is not None:
            self._send(run_id, msg.Resume(at=self._world.now, actor="op"))
            asked = True
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

    def _message(self, what: str, run_id: str) -> msg.Message | None:
        """What is asked; None if there is nothing an honest operator could say."""
        world, draw, at = self._world, self._world.draw, self._world.now
        asked: dict[str, Any] = {"at": at, "actor": "op", "request": f"{draw.getrandbits(64):x}"}
        match what:
            case "cancelled":
                return msg.Cancel(**asked)
            case "compensated by hand":
                return msg.Compensate(**asked)
            case "retried by hand":
                return msg.Retry(**asked)
            case "acknowledged by hand":
                return msg.Acknowledge(**asked)
            case "paused by hand":
                return msg.Pause(**asked)
            case "resumed by hand":
                return msg.Resume(**asked)
            case "resolved by hand":
                return self._resolve(run_id, asked)
            case "skipped by hand":
                state = world.state(run_id)
                step = draw.choice(sorted(state.steps)) if state and state.steps else "first"
                return msg.Skip(**asked, step=step, result=self._result(step))
            case _:
                signal_id = draw.choice(("", "x"))
                name, data = draw.choice(list(world.workload.signals.items()))
                return msg.Signal(at=at, name=name, data=data, signal_id=signal_id)

    def _resolve(self, run_id: str, asked: dict[str, Any]) -> msg.Resolve | None:
        """Say of a step that it is done, having looked that it is, and that nothing has changed since."""
        state, done = self._world.state(run_id), self._world.shop.done(run_id)
        if state is None:
            return None
        mine = [key for key in sorted(state.steps) if key in done and _is_unsettled(state, key)]
        if not mine:
            return None
        step = self._world.draw.choice(mine)
        result = self._result(step)
        return msg.Resolve(**asked, step=step, result=result, expects=state.length)

    def _result(self, step: str) -> Any:
        results = self._world.workload.results
        return results.get(step, results.get(""))


def _is_unsettled(state: RunState, key: str) -> bool:
    return state.steps[key].status in {Status.PARKED, Status.RUNNING, Status.COMMIT_STUCK}
