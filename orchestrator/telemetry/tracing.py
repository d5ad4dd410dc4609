"""Whether there are traces: decided here, once, by whether OpenTelemetry's API is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.telemetry.spans import Carrier, Opened, Tracer


def _chosen() -> Tracer:
    try:
        from orchestrator.telemetry.otel import OtelTracer  # noqa: PLC0415 - the extra otel
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        return Tracer()
    return OtelTracer()


TRACER = _chosen()


class Launches:
    """The spans of the runs that are launched together."""

    def __init__(self) -> None:
        self._opened: list[Opened] = []

    def begin(self, saga: str) -> Carrier:
        """A span for one launch; returns the context for its run, empty if nobody traces."""
        opened = TRACER.launch(saga)
        self._opened.append(opened)
        return opened.carrier

    def launched(self, runs: Sequence[str]) -> None:
        """They are durable, or found: the run of each, in order."""
        for opened, run in zip(self._opened, runs, strict=True):
            opened.note({"saga.run": run})

    def failed(self, error: BaseException) -> None:
        """None of them is."""
        for opened in self._opened:
            opened.fail(type(error).__name__)

    def end(self) -> None:
        """End all spans."""
        for opened in self._opened:
            opened.end()


@contextmanager
def signalling(signal: str, run: str) -> Iterator[Carrier]:
    """Around sending a signal: the context to send with it, empty if nobody traces."""
    opened = TRACER.signal(signal)
    opened.note({"saga.run": run})
    try:
        yield opened.carrier
    except BaseException as error:
        opened.fail(type(error).__name__)
        raise
    finally:
        opened.end()


@contextmanager
def launching() -> Iterator[Launches]:
    """Around writing launches: what it began ends with it, as failed if it raises."""
    launches = Launches()
    try:
        yield launches
    except BaseException as error:
        launches.failed(error)
        raise
    finally:
        launches.end()
