"""Plans, launches and writes for the journal's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, select, update

from orchestrator.definition.plan import Call, Const, Param, Plan, RetryPolicy
from orchestrator.definition.plan import Sequence as Steps
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import Journal, LaunchRequest, Recorded, ShardWrite, Tenure
from orchestrator.journal.records import shard_of
from orchestrator.journal.schema import EVENT, SHARD
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.events import Event, RunCompleted, RunLaunched, StepSucceeded
from orchestrator.kernel.messages import Launch
from orchestrator.kernel.summary import RunStatus, RunSummary

SHARDS = 4


def plan(saga: str = "place_order", version: int = 1, timeout_s: float = 30.0) -> Plan:
    reserve = Call(
        name="reserve",
        service="inventory",
        participant="reserve",
        queue="inventory",
        args={"sku": Param("sku")},
        timeout_s=timeout_s,
        retry=RetryPolicy(),
        source=f"here:{id(object())}",
    )
    return Plan(
        saga=saga,
        version=version,
        parameters={"sku": "str"},
        body=Steps((reserve,)),
        result=Const(None),
    )


PLAN = plan()


def request(run_id: str, key: str | None = None, at: float = 1.0, **tags: str) -> LaunchRequest:
    return request_of(PLAN, run_id, key=key, at=at, tags=tags)


def request_of(of: Plan, run_id: str, **values: Any) -> LaunchRequest:
    return LaunchRequest(launch_of(of, run_id, **values), of)


def launch_of(
    of: Plan,
    run_id: str,
    key: str | None = None,
    at: float = 1.0,
    tags: dict[str, str] | None = None,
) -> Launch:
    return Launch(
        at=at,
        actor="client",
        run_id=run_id,
        saga=of.saga,
        version=of.version,
        plan=of.hash,
        input={"sku": 'a"b\\c\n{ü}\x00'},
        key=key,
        tags=tags or {},
    )


def launched(
    run_id: str, at: float = 1.0, key: str | None = None, tags: dict[str, str] | None = None
) -> RunLaunched:
    message = launch_of(PLAN, run_id, key=key, at=at, tags=tags)
    return RunLaunched(
        at=at,
        actor=message.actor,
        run_id=run_id,
        saga=message.saga,
        version=message.version,
        plan=message.plan,
        input=message.input,
        key=key,
        tags=message.tags,
    )


def done(
    step: str = "reserve", at: float = 2.0, result: Any = None, actor: str = ""
) -> StepSucceeded:
    return StepSucceeded(at=at, actor=actor, step=step, attempt=1, result=result)


def completed(at: float = 3.0, result: Any = None) -> RunCompleted:
    return RunCompleted(at=at, result=result)


def run_in(shard: int, shards: int = SHARDS, number: int = 0) -> str:
    """A run id that lives in this shard; another one for every number."""
    fitting = (name for i in range(100_000) if shard_of(name := f"run-{i}", shards) == shard)
    return next(name for i, name in enumerate(fitting) if i == number)


def row(
    run_id: str, shards: int = SHARDS, status: RunStatus = "running", **values: Any
) -> RunSummary:
    defaults: dict[str, Any] = {
        "run_id": run_id,
        "shard": shard_of(run_id, shards),
        "saga": PLAN.saga,
        "version": PLAN.version,
        "plan": PLAN.hash,
        "status": status,
        "open": status not in {"completed", "compensated"},
        "launched_at": 1.0,
        "updated_at": 2.0,
    }
    return RunSummary(**defaults | values)


def write(
    tenure: Tenure,
    events: Sequence[tuple[str, Event]] = (),
    runs: Sequence[RunSummary] = (),
    consumed: Sequence[int] = (),
    cursor: tuple[int, float] = (0, 0.0),
) -> ShardWrite:
    return ShardWrite(
        tenure=tenure,
        events=events,
        runs=runs,
        consumed=consumed,
        cursor_offset=cursor[0],
        cursor_at=cursor[1],
    )


def started(journal: Journal, run_id: str) -> Tenure:
    """A run that is launched and in the log, and its shard's tenure."""
    journal.launch([request(run_id)])
    shard = shard_of(run_id, SHARDS)
    tenure = journal.begin_tenure(shard, "one", 1.0)
    consumed = [item.id for item in journal.inbox([shard], {}, 10)]
    return journal.append([write(tenure, [(run_id, launched(run_id))], [row(run_id)], consumed)])[0]


def summarized(of: Plan, events: list[Recorded]) -> RunSummary:
    """A small fold, standing in for the kernel's."""
    first, last = events[0].event, events[-1].event
    assert isinstance(first, RunLaunched)
    ended = last.at if isinstance(last, RunCompleted) else None
    return RunSummary(
        run_id=first.run_id,
        shard=events[0].shard,
        saga=of.saga,
        version=of.version,
        plan=of.hash,
        status="running" if ended is None else "completed",
        open=ended is None,
        launched_at=first.at,
        updated_at=events[-1].at,
        key=first.key,
        tags=first.tags,
        ended_at=ended,
        result=last.result if isinstance(last, RunCompleted) else None,
    )


def forgetting(journal: Journal) -> Callable[[int, int], None]:
    """Take a backup; the function brings it back: the shard's log ends with the offset that it is given."""
    if isinstance(journal, MemoryJournal):
        backup = journal.backup()
        return lambda _shard, _offset: journal.restore(backup)
    assert isinstance(journal, SqlJournal)
    engine = journal.engine
    with engine.connect() as connection:
        shards = connection.execute(select(SHARD)).mappings().all()

    def restore(shard: int, offset: int) -> None:
        with engine.begin() as connection:
            later = (EVENT.c.shard == shard, EVENT.c.offset > offset)
            connection.execute(delete(EVENT).where(*later))
            for kept in shards:
                change = update(SHARD).where(SHARD.c.shard == kept["shard"])
                connection.execute(change.values(dict(kept)))

    return restore
