"""What is traced, told to nobody: the base of ``otel``, and what stands in for it where OpenTelemetry isn't installed.

A run's trace begins with its launch, whose context is kept with the run (W3C headers, in its first event) and travels
in every command. A run that was launched without a trace is never traced later, so who doesn't use this pays nothing.
Spans name things and count; they hold no argument, no result and no error's message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

Attributes = Mapping[str, str | int | float | bool]
Carrier = dict[str, str]
"""A span's place, as headers: who gets them becomes its child."""


class Opened:
    """A span that somebody ends later."""

    carrier: Carrier = {}  # noqa: RUF012 - nobody adds to it

    def note(self, attributes: Attributes) -> None:
        """Say something more of it."""

    def fail(self, why: str) -> None:
        """It ended badly; ``why`` is a word, not a message."""

    def end(self) -> None:
        """It is over."""


class Tracer:
    """Makes spans."""

    def launch(self, saga: str) -> Opened:
        """A span for writing a launch, within whatever is traced around it; its carrier is the run's."""
        del saga
        return Opened()

    def signal(self, signal: str) -> Opened:
        """A span for sending a signal, within whatever is traced around it; its carrier goes with the signal."""
        del signal
        return Opened()

    def received(
        self, parent: Carrier, name: str, attributes: Attributes, sender: Carrier, at: float
    ) -> Opened:
        """A span, ended, for a signal that a run received, linked to its sender's. ``at`` is in epoch seconds."""
        del parent, name, attributes, sender, at
        return Opened()

    def sender(self, carrier: Carrier) -> Opened:
        """Somebody else's span, to be linked to: the one that sent a signal."""
        del carrier
        return Opened()

    def command(
        self, parent: Carrier, name: str, attributes: Attributes, links: Sequence[Opened] = ()
    ) -> Opened:
        """A span for a command, from when it is due until it is settled."""
        del parent, name, attributes, links
        return Opened()

    def run(
        self, parent: Carrier, name: str, attributes: Attributes, since: float, until: float
    ) -> None:
        """A span for a whole run, told once it is over. Times in epoch seconds."""

    def performing(
        self, parent: Carrier, name: str, attributes: Attributes
    ) -> AbstractContextManager[Opened]:
        """Around carrying out a command: what the participant's own code traces becomes its child."""
        del parent, name, attributes
        return nullcontext(Opened())

    def trace_id(self) -> str:
        """The trace that the code which runs now belongs to, in hex; empty for none."""
        return ""
