"""How to take each guard of the product away, for a whole test process: see ``guards``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.coordinator.dispatching import Dispatcher
from orchestrator.coordinator.loop import Coordinator
from orchestrator.errors import OutcomeUnknownError
from orchestrator.journal import plans, sqlite
from orchestrator.journal.port import ShardWrite
from orchestrator.journal.records import rows_of
from orchestrator.kernel import decide, evolve
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import EXECUTING, KIND, TRANSITIONS
from orchestrator.participant import barrier as barriers
from orchestrator.participant import handler
from orchestrator.participant.barrier import Barrier
from orchestrator.participant.tables import TOMBSTONE
from orchestrator.transport import safety
from orchestrator.transport.envelope import Envelopes


def barrier_insert() -> None:
    """Act without claiming the effect's row."""
    claim = barriers._claim

    def always_new(connection: Any, effect: Any, status: str, *rest: Any, **limit: Any) -> bool:
        claim(connection, effect, status, *rest, **limit)
        return True

    _set(barriers, "_claim", always_new)


def tombstone() -> None:
    """Undo what isn't there without a trace."""
    claim = barriers._claim

    def no_tombstone(connection: Any, effect: Any, status: str, *rest: Any, **limit: Any) -> bool:
        return status == TOMBSTONE or claim(connection, effect, status, *rest, **limit)

    _set(barriers, "_claim", no_tombstone)


def epoch_check() -> None:
    """Obey commands of a coordinator that has been succeeded."""
    claim = barriers._claim

    def never_stale(connection: Any, effect: Any, status: str, *rest: Any, **limit: Any) -> bool:
        return claim(connection, replace(effect, epoch=10**9), status, *rest, **limit)

    _set(barriers, "_claim", never_stale)
    _set(barriers, "_is_newer", lambda _newest, _effect: False)
    _set(Barrier, "_too_old", lambda _self, _effect: None)


def primary_key_fence() -> None:
    """Let a writer that has been succeeded write behind its successor."""
    append = sqlite.append

    def at_the_end(database: Any, writes: Sequence[ShardWrite]) -> Any:
        return append(database, [_renewed(database, write) for write in writes])

    _set(sqlite, "append", at_the_end)


def deadline_watchdog() -> None:
    """Wait for answers for ever."""
    alarm = Dispatcher._alarm

    def no_deadline(
        self: Any, owned: Any, run_id: str, command: Any, purpose: str, at: float
    ) -> None:
        if purpose != "deadline":
            alarm(self, owned, run_id, command, purpose, at)  # type: ignore[arg-type]

    _set(Dispatcher, "_alarm", no_deadline)


def signature_check() -> None:
    """Believe any envelope."""
    _set(Envelopes, "_verify", lambda _self, _kind, _envelope: None)


def size_limit_of_messages() -> None:
    """Read messages of any size."""
    init = Envelopes.__init__

    def unlimited(self: Any, *args: Any, **_options: Any) -> None:
        init(self, *args, limit_bytes=10**12)

    _set(Envelopes, "__init__", unlimited)


def size_limit_of_results() -> None:
    """Take results of any size."""
    _set(handler, "check_size", lambda *_: None)


def commit_before_publish() -> None:
    """Dispatch first, write after."""
    append = Coordinator._append

    def publish_first(self: Any, decisions: Any) -> Any:
        for draft in decisions.drafts.values():
            self._install(draft.owned, draft.changed)
        self._dispatcher.publish()
        return append(self, decisions)

    _set(Coordinator, "_append", publish_first)


def acknowledge_after_commit() -> None:
    """Have the broker forget an answer as soon as it is here."""
    collect = Coordinator._collect

    def at_once(self: Any, wait_s: Any) -> Any:
        received, arrivals = collect(self, wait_s)
        self._transport.acknowledge(received)
        return received, arrivals

    _set(Coordinator, "_collect", at_once)


def reading_back() -> None:
    """Take a commit that got no answer for one that took effect."""
    append = Coordinator._append

    def as_if_done(self: Any, decisions: Any) -> Any:
        journal_append = self._journal.append

        def no_doubt(writes: Any) -> Any:
            try:
                return journal_append(writes)
            except OutcomeUnknownError:
                return [rows_of(write)[1] for write in writes]

        self._journal.append = no_doubt
        try:
            return append(self, decisions)
        finally:
            del self._journal.append

    _set(Coordinator, "_append", as_if_done)


def dispatch_of_what_is_left() -> None:
    """Take over a shard as if everything in it had been dispatched."""
    want = Dispatcher.want

    def all_sent(
        self: Any, owned: Any, run_id: str, live: Any, dispatched_to: Any = "live"
    ) -> None:
        sent_to = None if dispatched_to == "live" else 10.0**12
        want(self, owned, run_id, live, sent_to)

    _set(Dispatcher, "want", all_sent)


def waiting_messages_first() -> None:
    """Look at a gained shard's inbox only when it is its turn."""
    gain = Coordinator._gain_shards

    def later(self: Any) -> None:
        looked_at = self._inbox_at
        gain(self)
        self._inbox_at = looked_at

    _set(Coordinator, "_gain_shards", later)


def duplicate_filter() -> None:
    """Take every reply for one to something outstanding."""
    _set(decide, "_outstanding", lambda run, message: run.steps.get(message.step))


def match_on_kind() -> None:
    """Take an action's reply for its undo's."""

    def any_kind(run: Any, message: Any) -> Any:
        step = run.steps.get(message.step)
        fits = step is not None and step.status in EXECUTING and step.attempt == message.attempt
        return step if fits else None

    def as_its_own(run: Any, reply: Any) -> Any:
        step = any_kind(run, reply)
        return replied(run, reply if step is None else replace(reply, kind=KIND[step.status]))

    replied = decide._reply
    _set(decide, "_outstanding", any_kind)
    _set(decide, "_reply", as_its_own)


def match_on_attempt() -> None:
    """Take an earlier attempt's reply for the present one's."""
    replied = decide._reply

    def of_this_attempt(run: Any, reply: Any) -> Any:
        step = run.steps.get(reply.step)
        return replied(run, reply if step is None else replace(reply, attempt=step.attempt))

    _set(decide, "_reply", of_this_attempt)


def unknown_is_not_failed() -> None:
    """Take a lost worker, or a deadline, for proof that nothing happened."""
    doubt = decide._doubt

    def surely_not(run: Any, step: Any, message: Any, reason: str) -> Any:
        if message.kind != "do":
            return doubt(run, step, message, reason)
        failure = ev.Failure("Lost", reason)
        return ev.StepRefused(
            at=message.at, step=message.step, attempt=message.attempt, failure=failure
        )

    _set(decide, "_doubt", surely_not)


def undo_has_to_succeed() -> None:
    """Call a step undone whatever its undo said."""
    replied = decide._reply

    def fire_and_forget(run: Any, reply: Any) -> Any:
        if reply.kind == "undo" and reply.outcome in {"failed", "unregistered"}:
            reply = msg.Reply(
                at=reply.at,
                step=reply.step,
                kind="undo",
                attempt=reply.attempt,
                outcome="succeeded",
            )
        return replied(run, reply)

    _set(decide, "_reply", fire_and_forget)


def attempts_are_counted() -> None:
    """Retry for ever."""
    _set(decide, "_retry_at", lambda _run, _step, message, _failure: message.at + 1.0)


def legal_transitions() -> None:
    """Let any event follow any state: the table is asked, and obeyed where it says something."""

    class Anything(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            return super().get(key, key[0])

    _set(evolve, "TRANSITIONS", Anything(TRANSITIONS))


def plan_is_of_its_version() -> None:
    """Launch a changed plan under an old version."""
    _set(plans, "check_same", lambda *_args: None)


def broker_keeps_what_it_gets() -> None:
    """Start on a broker that evicts."""
    _set(safety, "require_safe_broker", safety.broker_state)


def _renewed(database: Any, write: ShardWrite) -> ShardWrite:
    """The write as its shard's present writer would make it."""
    from orchestrator.journal import log
    from orchestrator.journal.schema import SHARD

    shard = write.tenure.shard
    offset, chain = database.read(lambda connection: log.end_of(connection, shard))
    epoch = database.read(
        lambda connection: (
            connection.execute(SHARD.select().where(SHARD.c.shard == shard)).one().epoch
        )
    )
    tenure = replace(write.tenure, epoch=epoch, next_offset=offset + 1, chain=chain)
    return replace(write, tenure=tenure)


def _set(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"the guard has moved: {owner} has no {name}"
    setattr(owner, name, value)
