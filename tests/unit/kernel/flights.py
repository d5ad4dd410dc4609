"""Commands on their way, as the driver keeps them."""

from __future__ import annotations

from orchestrator.definition.plan import Call
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import CommandKind

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
