"""One run, played by hand: short names for steps, replies and what is expected of them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import (
    Atomic,
    Branch,
    Call,
    Expr,
    Finish,
    Node,
    Plan,
    RetryPolicy,
    Sequence,
    Undo,
)
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute, Timer
from orchestrator.kernel.decide import launch, react
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.pending import pending
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import Phase, RunState, Status

ONCE = RetryPolicy(attempts=1)
NO = ev.Failure("Refused", "sold out", ("orchestrator.errors.Refused",))
ERROR = ev.Failure("OSError", "the disk is full", ("builtins.OSError",))


def call(
    name: str,
    *,
    undo: bool = True,
    pivot: bool = False,
    barrier: bool = True,
    read_only: bool = False,
    retry: RetryPolicy = ONCE,
    undo_retry: RetryPolicy = ONCE,
    **args: Expr,
) -> Call:
    """A step of the service ``shop``; by default it has a barrier, an undo and one attempt."""
    how = Undo(f"un{name}", 7.0, undo_retry) if undo and not read_only else None
    return Call(
        name=name,
        service="shop",
        participant=name,
        queue="shop",
        args=args,
        timeout_s=5.0,
        retry=retry,
        undo=how,
        pivot=pivot,
        read_only=read_only,
        barrier=barrier,
    )


def branch(name: str, how: Branch = "database", **options: Any) -> Call:
    """A call as a branch of an atomic group."""
    made = replace(call(name, **options), branch=how)
    if how == "tcc":
        made = replace(
            made,
            confirm=Finish(f"confirm_{name}", 8.0, made.retry),
            cancel=Finish(f"cancel_{name}", 9.0, made.retry),
        )
    return made


def group(*branches: Call, timeout_s: float = 20.0, retry: RetryPolicy = ONCE) -> Atomic:
    """An atomic group named ``atomic``."""
    return Atomic("atomic", branches, timeout_s, retry)


def plan(*nodes: Node, **options: Any) -> Plan:
    """A saga of these nodes, one after the other."""
    return Plan("buy", 1, {}, Sequence(nodes), **options)


class Play:
    """A run under way. Time stands still unless told."""

    def __init__(self, what: Plan, **given: Any) -> None:
        self.program = Program(what)
        self.now = 100.0
        message = msg.Launch(
            at=self.now, run_id="r", saga="buy", version=1, plan=self.program.hash, input=given
        )
        self.events, self.run = launch(self.program, message)
        self.events = list(self.events)

    def send(self, message: msg.Message) -> list[ev.Event]:
        """React to any message."""
        events, self.run = react(self.run, message)
        self.events += events
        return events

    def reply(self, step: str, outcome: msg.Outcome = "succeeded", **more: Any) -> list[ev.Event]:
        """The answer to the command that is outstanding for ``step``, unless told otherwise."""
        sent = next((c for c in self.sent() if c.step == step), None)
        more = {"kind": sent.kind, "attempt": sent.attempt} | more if sent else more
        if outcome == "refused":
            more.setdefault("failure", NO)
        if outcome == "failed":
            more.setdefault("failure", ERROR)
        return self.send(msg.Reply(at=self.now, step=step, outcome=outcome, **more))

    def vote(self, step: str, vote: ev.Vote = "prepared", **more: Any) -> list[ev.Event]:
        """A branch says yes."""
        return self.reply(step, vote=vote, **more)

    def expire(self, step: str) -> list[ev.Event]:
        """The deadline of the command outstanding for ``step`` passes."""
        sent = next(c for c in self.sent() if c.step == step)
        self.now = max(self.now, sent.due + sent.timeout_s)
        expired = msg.Expired(at=self.now, step=step, kind=sent.kind, attempt=sent.attempt)
        return self.send(expired)

    def sent(self) -> list[Execute]:
        """The commands outstanding or due later."""
        return [command for command in pending(self.run) if isinstance(command, Execute)]

    def timers(self) -> list[Timer]:
        """The timers that are set."""
        return [command for command in pending(self.run) if isinstance(command, Timer)]

    def out(self) -> list[str]:
        """The same in short: ``kind step attempt``."""
        return [f"{c.kind} {c.step} {c.attempt}" for c in self.sent()]

    def status(self, step: str) -> Status:
        """Where a step stands."""
        return self.run.steps[step].status

    @property
    def phase(self) -> Phase:
        """Which way the run goes."""
        return self.run.phase

    def restarted(self) -> RunState:
        """The run as the journal alone gives it."""
        return fold(self.program, self.events)


def names(events: list[ev.Event]) -> list[str]:
    """The types of events, in short."""
    return [type(event).__name__ for event in events]
