"""The spans of traced runs' commands: open from when a command is due until it is settled.

They live in memory only. One whose coordinator dies is never told; its worker's span is, and the next attempt's.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.coordinator.live import Identity, LiveRun
from orchestrator.definition.plan import Call
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import CommandKind, SignalReceived
from orchestrator.kernel.pending import pending
from orchestrator.telemetry.spans import Opened
from orchestrator.telemetry.tracing import TRACER
from orchestrator.transport.messages import Answer

_FINE = frozenset({"succeeded", "refused"})


class _RunTraces:
    """One run's."""

    __slots__ = ("heard", "last", "open", "tried")

    def __init__(self) -> None:
        self.open: dict[Identity, Opened] = {}
        self.last: Opened | None = None
        """What ended last."""
        self.heard: list[Opened] = []
        """Signals that came since a command began last."""
        self.tried: dict[tuple[str, CommandKind], Opened] = {}
        """By step and kind: the attempt before."""


class Traces:
    """The open spans of a coordinator's runs."""

    def __init__(self) -> None:
        self._runs: dict[str, _RunTraces] = {}

    def began(self, run_id: str, live: LiveRun, command: Execute) -> dict[str, str]:
        """A command is due: the context for its message.

        It is linked to the attempt before it; after a wait, when nothing else was under way, to what came before that;
        and to the signals that came since the last command began.
        """
        parent = live.state.trace
        run = self._runs.setdefault(run_id, _RunTraces())
        identity = (command.step, command.kind, command.attempt)
        opened = run.open.get(identity)
        if opened is None:
            before = run.tried.get((command.step, command.kind))
            if before is None and not run.open:
                before = run.last
            links = (*run.heard, *(() if before is None else (before,)))
            run.heard.clear()
            opened = run.open[identity] = TRACER.command(
                parent,
                f"{command.kind} {command.participant}",
                {
                    "saga.run": run_id,
                    "saga.name": live.state.program.plan.saga,
                    "saga.step": command.step,
                    "saga.kind": command.kind,
                    "saga.attempt": command.attempt,
                },
                links,
            )
            run.tried[command.step, command.kind] = opened
        return opened.carrier or parent

    def signalled(self, run_id: str, live: LiveRun, signal: SignalReceived) -> None:
        """A signal came, whose sender is traced too."""
        heard = TRACER.received(
            live.state.trace,
            f"signal {signal.name} received",
            {"saga.run": run_id, "saga.name": live.state.program.plan.saga},
            signal.trace,
            signal.at,
        )
        self._runs.setdefault(run_id, _RunTraces()).heard.append(heard)

    def took_over(
        self,
        run_id: str,
        live: LiveRun,
        signals: Sequence[SignalReceived],
        dispatched_to: float | None,
    ) -> None:
        """The run is read back with the traced signals it has had: those since a command began last are linked to by
        the next one. Their own spans were their coordinator's to tell, so the links are to the senders.
        """
        state = live.state
        waiting = {
            command.step
            for command in pending(state)
            if isinstance(command, Execute)
            and (dispatched_to is None or command.due > dispatched_to)
        }
        began = [
            step.due
            for name, step in state.steps.items()
            if name not in waiting and isinstance(state.program.named.get(step.name), Call)
        ]
        since = max(began, default=state.launched_at)
        heard = [TRACER.sender(signal.trace) for signal in signals if signal.at > since]
        if heard:
            self._runs.setdefault(run_id, _RunTraces()).heard.extend(heard)

    def answered(self, answer: Answer) -> None:
        """Say on the command's span what came of it."""
        run = self._runs.get(answer.run)
        opened = run and run.open.get((answer.step, answer.kind, answer.attempt))
        if opened:
            opened.note({"saga.outcome": answer.outcome})
            if answer.outcome not in _FINE:
                opened.fail(answer.outcome)

    def settled(self, run_id: str, live: LiveRun) -> None:
        """End what is no longer outstanding, going by ``live.sent``."""
        run = self._runs.get(run_id)
        if run is not None:
            for identity in [identity for identity in run.open if identity not in live.sent]:
                run.last = run.open.pop(identity)
                run.last.end()

    def finished(self, run_id: str, live: LiveRun) -> None:
        """The run is over: tell of it as a whole."""
        self._runs.pop(run_id, None)
        state = live.state
        if state.ended_at is not None:
            saga = state.program.plan.saga
            attributes = {"saga.run": run_id, "saga.name": saga, "saga.status": state.phase.value}
            TRACER.run(state.trace, f"run {saga}", attributes, state.launched_at, state.ended_at)

    def forget(self, run_id: str) -> None:
        """Another coordinator goes on with the run, or this one does from the journal."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            for opened in run.open.values():
                opened.note({"saga.outcome": "handed over"})
                opened.end()
