"""A handle on one run: wait for its end, look at it, signal it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from orchestrator.definition.saga import Saga
from orchestrator.errors import Compensated, ResultTimeoutError, Stuck
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary

R = TypeVar("R")

_FIRST_LOOK_S = 0.002
_SLOWEST_LOOK_S = 0.1
_SHARE = 0.1


class Runs(Protocol):
    """What a handle needs of the client."""

    def get(self, run_id: str) -> RunSummary:
        """The run's row."""
        ...

    def state(self, run_id: str, at: float | None = None) -> RunState:
        """The run's state."""
        ...

    def signal(
        self, run_id: str, name: str, data: Any = None, *, signal_id: str | None = None
    ) -> None:
        """Send it a signal."""
        ...

    def cancel(self, run_id: str, *, reason: str = "") -> None:
        """Stop and undo it."""
        ...


class Run(Generic[R]):
    """A handle on one run; cheap, holds no state of the run itself."""

    __slots__ = ("_client", "_saga", "created", "id")

    def __init__(
        self, client: Runs, run_id: str, saga: Saga[..., R] | None, *, created: bool = True
    ) -> None:
        self.id = run_id
        self.created = created
        """False if the launch found a run that had its key already."""
        self._client = client
        self._saga = saga

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def summary(self) -> RunSummary:
        """The run's row as it is now."""
        return self._client.get(self.id)

    def state(self, at: float | None = None) -> RunState:
        """The whole state, now or as it was at a time in epoch seconds."""
        return self._client.state(self.id, at)

    def result(self, timeout: float | None = None) -> R:
        """Wait up to ``timeout`` seconds for the run's end and give its result.

        Raises ``Compensated``, ``Stuck`` (as soon as the run needs a person), ``ResultTimeoutError``.
        """
        for pause_s in _pauses(timeout, self.id):
            outcome = self._outcome()
            if outcome is not None:
                return self._decoded(outcome)
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    async def result_async(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - as ``result``
        """As ``result``, for asyncio."""
        for pause_s in _pauses(timeout, self.id):
            outcome = await asyncio.to_thread(self._outcome)
            if outcome is not None:
                return self._decoded(outcome)
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def signal(self, name: str, data: Any = None, *, signal_id: str | None = None) -> None:
        """Send a signal; the same ``signal_id`` counts once."""
        self._client.signal(self.id, name, data, signal_id=signal_id)

    def cancel(self, reason: str = "") -> None:
        """Stop the run and undo it."""
        self._client.cancel(self.id, reason=reason)

    def _outcome(self) -> RunSummary | None:
        row = self._client.get(self.id)
        match row.status:
            case "completed":
                return row
            case "compensated":
                raise Compensated(self.id, row.reason, self._cause())
            case "stuck":
                raise Stuck(self.id, row.reason, self._cause())
            case _:
                return None

    def _cause(self) -> dict[str, Any] | None:
        cause = self.state().cause
        return None if cause is None else msgspec.to_builtins(cause)

    def _decoded(self, row: RunSummary) -> R:
        return row.result if self._saga is None else self._saga.decode_result(row.result)


def _pauses(timeout: float | None, run_id: str) -> Iterable[float]:
    """Pauses that are a small share of the time waited: a quick run is seen at once, a slow one costs few looks."""
    started = time.monotonic()
    while True:
        waited_s = time.monotonic() - started
        yield min(max(_FIRST_LOOK_S, waited_s * _SHARE), _SLOWEST_LOOK_S)
        if timeout is not None and time.monotonic() - started >= timeout:
            raise ResultTimeoutError(f"run {run_id} hasn't ended within {timeout:g} s; it goes on")
