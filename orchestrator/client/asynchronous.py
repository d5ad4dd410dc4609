"""The client for asyncio: the same calls, each in a thread, so that the event loop never waits for a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, TypeVarTuple

from orchestrator.client.approvals import Approvals
from orchestrator.client.bulk import Bulks
from orchestrator.client.client import Client
from orchestrator.client.hold import HoldPreview, Holds
from orchestrator.client.run import Run
from orchestrator.journal.approvals import Approval, BranchApproval, Judged
from orchestrator.journal.audit import AuditPage
from orchestrator.journal.bulk import Bulk, BulkItem, BulkLimits, BulkOperation, Outcome
from orchestrator.journal.hold import Hold
from orchestrator.journal.incident import ClusterPage
from orchestrator.journal.port import OperationFilter, Page, Recorded, RunFilter
from orchestrator.kernel.events import HoldKind
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class AsyncRun(Generic[R]):
    """A handle on one run."""

    __slots__ = ("_run", "created", "id")

    def __init__(self, run: Run[R]) -> None:
        self.id = run.id
        self.created = run.created
        """False if the launch found a run that had its key already."""
        self._run = run

    def __repr__(self) -> str:
        return f"AsyncRun({self.id!r})"

    async def summary(self) -> RunSummary:
        """The run's row as it is now."""
        return await asyncio.to_thread(self._run.summary)

    async def state(self, at: float | None = None) -> RunState:
        """The whole state, now or as it was at a time in epoch seconds."""
        return await asyncio.to_thread(self._run.state, at)

    async def result(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - as ``Run.result``
        """Wait for the run's end; raises as ``Run.result`` does."""
        return await self._run.result_async(timeout)

    async def signal(self, name: str, data: Any = None, *, signal_id: str | None = None) -> None:
        """Send a signal; the same ``signal_id`` counts once."""
        await asyncio.to_thread(self._run.signal, name, data, signal_id=signal_id)

    async def cancel(self, reason: str = "") -> None:
        """Stop the run and undo it."""
        await asyncio.to_thread(self._run.cancel, reason)


class AsyncBulks:
    """``Bulks`` for asyncio; what a call does and raises is said there."""

    def __init__(self, bulks: Bulks) -> None:
        self._bulks = bulks

    async def start(
        self,
        operation: BulkOperation,
        runs: RunFilter | Sequence[str],
        *,
        limits: BulkLimits | None = None,
        bulk_id: str = "",
    ) -> Bulk:
        """Record an operation for many runs."""
        return await asyncio.to_thread(
            self._bulks.start, operation, runs, limits=limits, bulk_id=bulk_id
        )

    async def list(self, limit: int = 100) -> Sequence[Bulk]:
        """The newest ones first."""
        return await asyncio.to_thread(self._bulks.list, limit)

    async def get(self, bulk_id: str) -> Bulk:
        """One, by its id or a prefix."""
        return await asyncio.to_thread(self._bulks.get, bulk_id)

    async def items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> Sequence[BulkItem]:
        """What came of each of its runs."""
        return await asyncio.to_thread(
            self._bulks.items, bulk_id, outcome=outcome, after=after, limit=limit
        )

    async def pause(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Send no further wave for now."""
        return await asyncio.to_thread(self._bulks.pause, bulk_id, reason=reason, expects=expects)

    async def resume(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Go on."""
        return await asyncio.to_thread(self._bulks.resume, bulk_id, reason=reason, expects=expects)

    async def approve(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Be the second person for one that waits for it."""
        return await asyncio.to_thread(self._bulks.approve, bulk_id, reason=reason, expects=expects)

    async def abort(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Send no further wave ever."""
        return await asyncio.to_thread(self._bulks.abort, bulk_id, reason=reason, expects=expects)


class AsyncHolds:
    """``Holds`` for asyncio; what a call does and raises is said there."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    async def place(
        self,
        kind: HoldKind,
        name: str,
        *,
        undos: bool = False,
        reason: str = "",
        hold_id: str = "",
    ) -> Hold:
        """Hold a saga or a service."""
        return await asyncio.to_thread(
            self._holds.place, kind, name, undos=undos, reason=reason, hold_id=hold_id
        )

    async def release(self, kind: HoldKind, name: str, *, reason: str = "") -> Hold:
        """End the hold in force."""
        return await asyncio.to_thread(self._holds.release, kind, name, reason=reason)

    async def list(self, limit: int = 1_000, *, in_force: bool = True) -> Sequence[Hold]:
        """The newest first; those in force, or all."""
        return await asyncio.to_thread(self._holds.list, limit, in_force=in_force)

    async def preview(self, kind: HoldKind, name: str) -> HoldPreview:
        """The open runs that a hold would concern, or does."""
        return await asyncio.to_thread(self._holds.preview, kind, name)


class AsyncApprovals:
    """``Approvals`` for asyncio; what a call does and raises is said there."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    async def list(
        self, sagas: Sequence[str] = (), *, run: str | None = None
    ) -> Sequence[Approval]:
        """What waits for a second person, the newest first."""
        return await asyncio.to_thread(self._approvals.list, sagas, run=run)

    async def branches(self) -> Sequence[BranchApproval]:
        """How prepared branches that the journal can't decide are to end, if another says the same."""
        return await asyncio.to_thread(self._approvals.branches)

    async def get(self, run_id: str, number: int) -> Judged:
        """One, with what it would have done then and would do now."""
        return await asyncio.to_thread(self._approvals.get, run_id, number)

    async def approve(self, run_id: str, number: int, *, reason: str = "") -> None:
        """Have it done, as another than who asked."""
        await asyncio.to_thread(self._approvals.approve, run_id, number, reason=reason)

    async def deny(self, run_id: str, number: int, *, reason: str = "") -> None:
        """Say no to it, or take one's own back."""
        await asyncio.to_thread(self._approvals.deny, run_id, number, reason=reason)


class AsyncClient:
    """``Client`` for asyncio; what a call does and raises is said there."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def bulk(self) -> AsyncBulks:
        """Operations on many runs that are records of their own."""
        return AsyncBulks(self._client.bulk)

    @property
    def holds(self) -> AsyncHolds:
        """Sagas and services that are stopped as a whole."""
        return AsyncHolds(self._client.holds)

    @property
    def approvals(self) -> AsyncApprovals:
        """What waits for a second person."""
        return AsyncApprovals(self._client.approvals)

    async def launch(
        self,
        saga: Callable[[*Ts], R],
        *args: *Ts,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncRun[R]:
        """Start a run; durable when this returns."""

        def launch() -> Run[R]:
            return self._client.launch(saga, *args, key=key, tags=tags)

        return AsyncRun(await asyncio.to_thread(launch))

    async def launch_many(
        self,
        saga: Callable[[*Ts], R],
        arguments: Iterable[tuple[*Ts]],
        *,
        keys: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Sequence[AsyncRun[R]]:
        """Start many runs of a saga in one transaction."""

        def launch() -> Sequence[Run[R]]:
            return self._client.launch_many(saga, arguments, keys=keys, tags=tags)

        return [AsyncRun(run) for run in await asyncio.to_thread(launch)]

    async def launch_named(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncRun[Any]:
        """Start a run of the saga called ``name``."""
        run = await asyncio.to_thread(self._client.launch_named, name, given, key=key, tags=tags)
        return AsyncRun(run)

    async def run(self, run_id: str) -> AsyncRun[Any]:
        """A handle on a run by id, id prefix or key."""
        return AsyncRun(await asyncio.to_thread(self._client.run, run_id))

    async def get(self, run_id: str) -> RunSummary:
        """A run's row."""
        return await asyncio.to_thread(self._client.get, run_id)

    async def list(
        self, where: RunFilter | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """A page of runs, newest first."""
        return await asyncio.to_thread(self._client.list, where, cursor=cursor, limit=limit)

    async def clusters(
        self, sagas: Sequence[str] = (), *, cursor: str | None = None, limit: int = 50
    ) -> ClusterPage:
        """A page of open incidents by their cause."""
        return await asyncio.to_thread(self._client.clusters, sagas, cursor=cursor, limit=limit)

    async def history(self, run_id: str) -> Sequence[Recorded]:
        """A run's events, in order."""
        return await asyncio.to_thread(self._client.history, run_id)

    async def state(self, run_id: str, at: float | None = None) -> RunState:
        """A run's whole state, now or at a time in epoch seconds."""
        return await asyncio.to_thread(self._client.state, run_id, at)

    async def signal(
        self,
        run_id: str,
        name: str,
        data: Any = None,
        *,
        signal_id: str | None = None,
        reason: str = "",
    ) -> None:
        """Send a signal to a run."""
        await asyncio.to_thread(
            self._client.signal, run_id, name, data, signal_id=signal_id, reason=reason
        )

    async def retry(
        self,
        run_id: str,
        step: str | None = None,
        *,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        """Try what is parked or backing off again now."""
        await asyncio.to_thread(self._client.retry, run_id, step, args=args, reason=reason)

    async def skip(self, run_id: str, step: str, result: Any = None, *, reason: str = "") -> None:
        """Go on past a step as if it had returned ``result``."""
        await asyncio.to_thread(self._client.skip, run_id, step, result, reason=reason)

    async def resolve(
        self, run_id: str, step: str, result: Any = None, *, undone: bool = False, reason: str = ""
    ) -> None:
        """State what a step really did."""
        await asyncio.to_thread(
            self._client.resolve, run_id, step, result, undone=undone, reason=reason
        )

    async def forget(self, run_id: str, step: str, *, reason: str = "") -> None:
        """Close the file of a branch that went against its group's decision."""
        await asyncio.to_thread(self._client.forget, run_id, step, reason=reason)

    async def acknowledge(self, run_id: str, step: str | None = None, *, reason: str = "") -> None:
        """Take on the run's open incidents, or that of one step."""
        await asyncio.to_thread(self._client.acknowledge, run_id, step, reason=reason)

    async def compensate(self, run_id: str, *, reason: str = "") -> None:
        """Undo a run from where it is."""
        await asyncio.to_thread(self._client.compensate, run_id, reason=reason)

    async def cancel(self, run_id: str, *, reason: str = "") -> None:
        """Stop a run and undo it."""
        await asyncio.to_thread(self._client.cancel, run_id, reason=reason)

    async def audit(
        self, where: OperationFilter | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """Who did what to which run, newest first."""
        return await asyncio.to_thread(self._client.audit, where, cursor=cursor, limit=limit)

    async def pause(self, run_id: str, *, reason: str = "") -> None:
        """Have a run stand still."""
        await asyncio.to_thread(self._client.pause, run_id, reason=reason)

    async def budget(self, run_id: str, step: str, attempts: int, *, reason: str = "") -> None:
        """Have a step tried up to so often."""
        await asyncio.to_thread(self._client.budget, run_id, step, attempts, reason=reason)

    async def resume(self, run_id: str, *, reason: str = "") -> None:
        """Have a paused run go on."""
        await asyncio.to_thread(self._client.resume, run_id, reason=reason)
