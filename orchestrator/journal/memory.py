"""The journal in this process's memory, for tests and simulation.

Deterministic, and as strict as the others: the same fence, the same JSON, the same hash chain. Safe for threads.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from orchestrator.definition.plan import Plan, decode_plan
from orchestrator.errors import FencedError, InvalidInputError, RunNotFoundError, UnknownSagaError
from orchestrator.journal import clusters, log, operations
from orchestrator.journal.incident import ClusterPage
from orchestrator.journal.launches import LaunchRow, launch_rows, plans_of
from orchestrator.journal.leases import FORGET_AFTER_TTLS
from orchestrator.journal.matching import counted, found_run, page_of
from orchestrator.journal.memory_bulks import MemoryBulks
from orchestrator.journal.memory_holds import MemoryHolds
from orchestrator.journal.memory_tables import Backup, ShardTable, Tables
from orchestrator.journal.plans import check_same
from orchestrator.journal.port import (
    Archived,
    Happened,
    InboxItem,
    Launched,
    LaunchRequest,
    LeaseState,
    OperationFilter,
    OperationPage,
    Page,
    Recent,
    Recorded,
    RunFilter,
    ShardWrite,
    Summarize,
    Tenure,
)
from orchestrator.journal.recent import happened_of, recent_of
from orchestrator.journal.records import (
    Row,
    epoch_after,
    faults,
    recorded,
    rows_of,
    shard_of,
    tenure_row,
)
from orchestrator.journal.run_rows import accepted, run_row, summary_of
from orchestrator.journal.schema import DEFAULT_SHARDS
from orchestrator.kernel.codec import decode_message, encode_message
from orchestrator.kernel.messages import Inbound, Launch
from orchestrator.kernel.summary import RunSummary


class MemoryJournal(MemoryBulks, MemoryHolds):
    """A ``Journal`` that forgets everything with its process."""

    def __init__(self, shards: int = DEFAULT_SHARDS) -> None:
        self._tables = Tables(shards)
        self._lock = threading.RLock()
        self._session: object | None = None

    def close(self) -> None:
        """Nothing to let go of: what was written stays readable."""

    def shards(self) -> int:
        """How many shards the journal has."""
        return len(self._tables.shards)

    def backup(self) -> Backup:
        """A copy of everything, as it is now."""
        with self._lock:
            return Backup(self._tables.copied())

    def restore(self, backup: Backup) -> None:
        """Forget everything since the backup was made."""
        with self._lock:
            self._tables = backup.copied()

    # What a coordinator does

    def take_leases(self, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
        """Renew this owner's leases, and take or give back some to hold ``wanted`` in all."""
        with self._lock:
            tables = self._tables
            oldest = now - FORGET_AFTER_TTLS * ttl_s
            tables.alive = {name: at for name, at in tables.alive.items() if at >= oldest}
            tables.alive[owner] = now + ttl_s
            mine = [shard for shard in tables.shards if shard.owner == owner]
            for shard in mine[wanted:]:
                shard.owner, shard.expires_at = "", 0.0
            held = mine[:wanted]
            free = [s for s in tables.shards if s not in mine and _is_free(s, now)]
            held += free[: wanted - len(held)]
            for shard in held:
                shard.owner, shard.expires_at = owner, now + ttl_s
            return [number for number, shard in enumerate(tables.shards) if shard in held]

    def drop_leases(self, owner: str, shards: Sequence[int]) -> None:
        """Give leases back at once."""
        with self._lock:
            for number in shards:
                shard = self._tables.shards[number]
                if shard.owner == owner:
                    shard.owner, shard.expires_at = "", 0.0
            if all(shard.owner != owner for shard in self._tables.shards):
                self._tables.alive.pop(owner, None)

    def coordinators(self, now: float) -> list[str]:
        """Owners alive now."""
        with self._lock:
            return sorted(owner for owner, until in self._tables.alive.items() if until > now)

    def begin_tenure(self, shard: int, owner: str, at: float, beyond: int = 0) -> Tenure:
        """Become the shard's writer, fencing every earlier one."""
        with self._lock:
            state = self._tables.shards[shard]
            state.epoch = max(state.epoch, beyond) + 1
            row = tenure_row(shard, state.epoch, owner, at, state.end)
            state.add(row)
            return Tenure(
                shard=shard,
                epoch=state.epoch,
                next_offset=row.offset + 1,
                chain=row.hash,
                cursor_offset=state.cursor_offset,
                cursor_at=state.cursor_at,
            )

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """Write one turn, all or nothing; see the port."""
        encoded = [rows_of(write) for write in writes]
        shown = [[summary_of(run_row(run)) for run in write.runs] for write in writes]
        with self._lock:
            for write in writes:
                state = self._tables.shards[write.tenure.shard]
                tenure, (end, chain) = write.tenure, state.end
                if (state.epoch, end + 1, chain) != (
                    tenure.epoch,
                    tenure.next_offset,
                    tenure.chain,
                ):
                    raise FencedError(tenure.shard)
                if not self._tables.inbox.keys() >= set(write.consumed):
                    raise FencedError(tenure.shard)
            for write, (rows, after), runs in zip(writes, encoded, shown, strict=True):
                state = self._tables.shards[after.shard]
                for row in rows:
                    state.add(row)
                state.cursor_offset, state.cursor_at = after.cursor_offset, after.cursor_at
                self._tables.runs.update({run.run_id: run for run in runs})
                for consumed in write.consumed:
                    del self._tables.inbox[consumed]
        return [after for _, after in encoded]

    def inbox(self, shards: Sequence[int], after: dict[int, int], limit: int) -> list[InboxItem]:
        """Waiting messages; see the port."""
        with self._lock:
            waiting = [
                (id_, shard, run_id, data)
                for id_, (shard, run_id, data) in sorted(self._tables.inbox.items())
                if shard in shards and id_ > after.get(shard, 0)
            ]
        return [InboxItem(i, s, r, decode_message(data)) for i, s, r, data in waiting[:limit]]

    def open_runs(self, shard: int) -> list[str]:
        """Runs in the log that still need the coordinator, oldest first."""
        with self._lock:
            found = [
                (run.launched_at, run.run_id)
                for run in self._tables.runs.values()
                if run.shard == shard and run.open and run.status != "accepted"
            ]
        return [run_id for _, run_id in sorted(found)]

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        """The events of several runs, each in order."""
        with self._lock:
            by_run = self._tables.shards[shard].by_run
            rows = {run_id: list(by_run.get(run_id, ())) for run_id in run_ids}
        return {run_id: [recorded(row) for row in found] for run_id, found in rows.items()}

    # What clients do

    def launch(self, requests: Sequence[LaunchRequest], session: Any = None) -> list[Launched]:
        """Write launches to the inbox; ``session`` is what ``transaction`` gave."""
        rows, plans = launch_rows(requests, self.shards()), plans_of(requests)
        with self._lock:
            if session is not None and session is not self._session:
                raise InvalidInputError(
                    "the session isn't an open transaction of this journal: use journal.transaction()"
                )
            for plan_hash, plan in plans.items():
                self._store(plan_hash, plan)
            return [
                self._launch(row, request.message)
                for row, request in zip(rows, requests, strict=True)
            ]

    def send(self, run_id: str, message: Inbound) -> None:
        """Put a message for a run into its shard's inbox. Raises ``RunNotFoundError``, ``EncodingError``."""
        data = encode_message(message)
        with self._lock:
            if run_id not in self._tables.runs:
                raise RunNotFoundError(f"there is no run {run_id!r}")
            self._post(self._tables.runs[run_id].shard, run_id, data)

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run by its id, a prefix of it, its key, or ``saga:key``."""
        with self._lock:
            return found_run(self._tables.runs, self._tables.keys, id_or_prefix)

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs, newest first. Raises ``InvalidInputError`` for a malformed cursor."""
        with self._lock:
            return page_of(list(self._tables.runs.values()), where, cursor, limit)

    def clusters(
        self,
        sagas: Sequence[str] = (),
        cursor: str | None = None,
        limit: int = 50,
        prefix: str = "",
    ) -> ClusterPage:
        """A page of clusters of open incidents; see the port."""
        with self._lock:
            return clusters.page_in_memory(self._tables.runs, sagas, prefix, cursor, limit)

    def noticed(self) -> dict[str, float]:
        """When people were last told of a cluster."""
        with self._lock:
            return dict(self._tables.notices)

    def claim_notice(self, cluster: str, now: float, every_s: float) -> bool:
        """Whether it is the caller who tells people of a cluster now; see the port."""
        with self._lock:
            return clusters.claim_in_memory(self._tables.notices, cluster, now, every_s)

    def counts(self) -> dict[str, dict[str, int]]:
        """Saga to status to number of runs."""
        with self._lock:
            return counted(self._tables.runs.values())

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        return self.histories(shard_of(run_id, self.shards()), [run_id])[run_id]

    def feed(self, shard: int, after: int, limit: int) -> list[Recorded]:
        """The shard's log from ``after`` on, exclusive, without holes."""
        with self._lock:
            rows = self._tables.shards[shard].log[after : after + limit]
        return [recorded(row) for row in rows]

    def recent(self, since: float, limit: int) -> Recent:
        """Every shard's records since a time; see the port."""
        with self._lock:
            return recent_of((shard.log for shard in self._tables.shards), since, limit)

    def happened(
        self, since: float, limit: int, types: Collection[str], sagas: Collection[str] = ()
    ) -> Happened:
        """How many records of these types each minute has; see the port."""

        def counted(row: Row) -> bool:
            return row.type in types and (not sagas or self._tables.runs[row.run_id].saga in sagas)

        with self._lock:
            logs = [shard.log for shard in self._tables.shards]
            return happened_of(logs, since, limit, counted)

    def operations(
        self, where: OperationFilter, cursor: str | None = None, limit: int = 50
    ) -> OperationPage:
        """A page of what was done to runs, newest first. Raises ``InvalidInputError``."""
        with self._lock:
            rows = [row for shard in self._tables.shards for row in shard.log]
            sagas = {run_id: run.saga for run_id, run in self._tables.runs.items()}
        return operations.page_of(rows, sagas, where, cursor, limit)

    def altered(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[int]]:
        """Events of these runs that the hash chain doesn't vouch for."""
        with self._lock:
            state = self._tables.shards[shard]
            rows = [row for run_id in run_ids for row in state.by_run.get(run_id, ())]
            hashes = {0: "", **{row.offset: row.hash for row in state.log}}
        return operations.unlinked(rows, hashes)

    def end(self, shard: int) -> int:
        """The offset of the shard's last record."""
        with self._lock:
            return self._tables.shards[shard].end[0]

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan. Raises ``UnknownSagaError``."""
        with self._lock:
            if plan_hash not in self._tables.plans:
                raise UnknownSagaError(f"the journal holds no plan with hash {plan_hash}")
            return decode_plan(self._tables.plans[plan_hash])

    def plans(self) -> list[Plan]:
        """Every stored plan, by saga and version."""
        with self._lock:
            found = [decode_plan(data) for data in self._tables.plans.values()]
        return sorted(found, key=lambda plan: (plan.saga, plan.version))

    def leases(self) -> list[LeaseState]:
        """Every lease that is held."""
        with self._lock:
            return [
                LeaseState(number, shard.owner, shard.epoch, shard.expires_at, shard.end[0])
                for number, shard in enumerate(self._tables.shards)
                if shard.owner
            ]

    def archived(self, run_ids: Sequence[str]) -> dict[str, str]:  # noqa: ARG002 - the port's signature
        """Nothing is archived from memory."""
        return {}

    def archives(self) -> Archived:
        """Nothing."""
        return Archived(0, 0, 0)

    def verify(self) -> Iterator[str]:
        """Walk every shard's log; one line per thing that is wrong."""
        for number, shard in enumerate(self._tables.shards):
            found, end = faults(shard.log, (0, ""))
            yield from found
            last = epoch_after(shard.log, 0)
            yield from log.truncation(number, end[0], last, shard.cursor_offset, shard.epoch)

    def miscounted(self) -> list[str]:
        """Nothing: every answer is counted anew."""
        return []

    def rebuild(self, summarize: Summarize) -> int:
        """Make the read model anew; returns the number of runs."""
        with self._lock:
            runs: dict[str, RunSummary] = {}
            for shard in self._tables.shards:
                for run_id, rows in shard.by_run.items():
                    if rows[0].type == "RunLaunched":
                        events = [recorded(row) for row in rows]
                        runs[run_id] = summarize(self.plan(log.plan_of(events)), events)
            for shard_number, run_id, data in self._tables.inbox.values():
                message = decode_message(data)
                if isinstance(message, Launch) and run_id not in runs:
                    runs[run_id] = accepted(message, shard_number)
            self._tables.runs = runs
            return len(runs)

    def transaction(self) -> AbstractContextManager[object]:
        """One transaction, in which this thread alone uses the journal; rolled back on an exception."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[object]:
        with self._lock:
            before, outer, self._session = self._tables.copied(), self._session, object()
            try:
                yield self._session
            except BaseException:
                self._tables = before
                raise
            finally:
                self._session = outer

    def _launch(self, row: LaunchRow, message: Launch) -> Launched:
        winner = row.run_id
        if row.key is not None:
            winner = self._tables.keys.setdefault((row.saga, row.key), row.run_id)
        if winner != row.run_id or row.run_id in self._tables.runs:
            return Launched(winner, shard_of(winner, self.shards()), created=False)
        self._tables.runs[row.run_id] = accepted(message, row.shard)
        self._post(row.shard, row.run_id, row.message.encode())
        return Launched(row.run_id, row.shard, created=True)

    def _held(self) -> Tables:
        return self._tables

    def _post(self, shard: int, run_id: str, data: bytes) -> None:
        self._tables.last_id += 1
        self._tables.inbox[self._tables.last_id] = (shard, run_id, data)

    def _store(self, plan_hash: str, plan: Plan) -> None:
        for stored_hash, data in self._tables.plans.items():
            stored = decode_plan(data)
            if (stored.saga, stored.version) == (plan.saga, plan.version):
                check_same(plan_hash, plan, stored_hash, stored)
                return
        self._tables.plans[plan_hash] = plan.encoded()


def _is_free(shard: ShardTable, now: float) -> bool:
    return not shard.owner or shard.expires_at <= now
