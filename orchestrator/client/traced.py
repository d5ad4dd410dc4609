"""Where what a client sends gets the traces that it is sent in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel import messages as msg
from orchestrator.telemetry.tracing import Launches, signalling


def traced(requests: Sequence[LaunchRequest], launches: Launches) -> Sequence[LaunchRequest]:
    """The launches with the traces that are to go on in their runs, if anybody traces."""
    traces = [launches.begin(request.message.saga) for request in requests]
    if not any(traces):
        return requests
    return [
        replace(request, message=replace(request.message, trace=trace))
        for request, trace in zip(requests, traces, strict=True)
    ]


@contextmanager
def sending(run_id: str, message: msg.Inbound) -> Iterator[msg.Inbound]:
    """Around putting a message into a run's inbox: a signal with its sender's trace, any other as it is."""
    if not isinstance(message, msg.Signal):
        yield message
        return
    with signalling(message.name, run_id) as trace:
        yield replace(message, trace=trace) if trace else message
