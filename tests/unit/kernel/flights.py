"""Commands on their way, as the driver keeps them."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.definition.plan import Call
from orchestrator.errors import OperationRefusedError
from orchestrator.kernel.commands import Execute, Timer
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.messages import Operation
from orchestrator.kernel.operate import possible
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import RunState

Identity = tuple[str, CommandKind, int]


class Flight:
    """A command on its way: carried out once, several times, or never."""

    def __init__(self, command: Execute, call: Call, deadline: float) -> None:
        self.command = command
        self.call = call
        self.deadline = deadline
        self.executed = False
        self.dropped = False

    @property
    def identity(self) -> Identity:
        return (self.command.step, self.command.kind, self.command.attempt)

    @property
    def may_come(self) -> bool:
        """It could still do something for the first time."""
        return not self.executed and not self.dropped


def only_groups(run: RunState, sent: Iterable[Flight]) -> bool:
    """Whether nothing but votes and decisions of groups is outstanding, and nothing else was sent."""
    commands = [command for command in pending(run) if isinstance(command, Execute)]
    commands += [flight.command for flight in sent]
    return all(command.kind in {"prepare", "commit", "abort"} for command in commands)


def why_not(run: RunState, operation: Operation) -> str:
    """Why an operation would be refused; empty if it would not."""
    try:
        possible(run, operation)
    except OperationRefusedError as error:
        return str(error)
    return ""


def time_of(command: Execute | Timer) -> float:
    """When it is due."""
    return command.at if isinstance(command, Timer) else command.due
