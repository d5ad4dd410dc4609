"""From one world to the next: carries out a move with the real kernel, and checks what comes of it."""

from __future__ import annotations

from typing import Any, get_args

from msgspec.structs import replace

from orchestrator.definition.invariant import Effect
from orchestrator.definition.plan import Call
from orchestrator.errors import InvalidInputError
from orchestrator.kernel import decide as kernel
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.codec import decode_event, encode_event
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.decide_group import is_waitable
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import RunState
from orchestrator.testing.moves import Move, copy_of
from orchestrator.testing.participants import (
    DONE,
    PREPARED,
    Answer,
    Record,
)
from orchestrator.testing.participants import REFUSED as NO
from orchestrator.testing.replies import answered, is_fenced, is_settled, reply_of
from orchestrator.testing.rules import (
    IGNORED,
    KERNEL,
    RECOVERY,
    Violated,
    check_events,
    check_round,
    check_sent,
    check_world,
)
from orchestrator.testing.world import Copy, Identity, Log, Space, World


def first(space: Space, given: dict[str, Any]) -> World:
    """The world in which the run has just been launched."""
    plan = space.program.plan
    message = msg.Launch(
        at=0.0,
        run_id="run",
        saga=plan.saga,
        version=plan.version,
        plan=space.program.hash,
        input=given,
    )
    turn = kernel.launch(space.program, message)
    empty = World(turn.run, 0.0, (), frozenset(), (None, []))
    return _arrived(space, empty, turn, 0.0)


def follow(  # noqa: C901 - one case for each kind of move
    space: Space, world: World, move: Move
) -> World:
    """The world after a move. Raises ``Violated``, and ``InvalidInputError`` for a move that isn't possible."""
    what = move.what
    match what:
        case "do" | "undo" | "callback" | "prepare" | "commit" | "abort" | "double":
            return _carried_out(space, world, _sent(world, move), keep_copy=what == "double")
        case "refuse" | "fail" | "fail-after" | "never-undone":
            return _turned_down(space, world, _sent(world, move), what)
        case "lose":
            return _lost(space, world, _sent(world, move))
        case "late":
            return _reacted(space, world, _expired(world, _sent(world, move)))
        case "wake":
            return _woken(space, world, move)
        case "crash":
            return _taken_over(space, world)
        case "cancel":
            return _reacted(space, world, msg.Cancel(at=world.now))
        case "crash-unwritten":
            return _taken_over(space, _forgotten(space, world))
        case "slept" | "no-signal" | "saga-timeout" | "group-timeout":
            return _timer_fires(space, world, move)
        case _ if what.endswith("signal"):
            return _signalled(space, world, move)
        case _:
            return _copy_arrives(space, world, move)


def _timer_fires(space: Space, world: World, move: Move) -> World:
    step = move.step or None
    message = msg.TimerFired(at=_at(world, step, move), step=step)
    lasting = world.lasting or move.what == "no-signal"
    return _reacted(space, replace(world, lasting=lasting), message)


def _sent(world: World, move: Move) -> Execute:
    command = world.command(move.step)
    if command is None or _identity(command) not in world.out:
        raise _impossible(move, f"no command for {move.step!r} is on its way")
    if move.what in get_args(ev.CommandKind) and move.what != command.kind:
        raise _impossible(move, f"what is on its way is its {command.kind}")
    return command


def _impossible(move: Move, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"the trace can't be followed: {str(move)!r} isn't possible there, {why}; the saga has changed since"
    )


def _identity(command: Execute | Copy) -> Identity:
    return (command.step, command.kind, command.attempt)


def _at(world: World, step: str | None, move: Move) -> float:
    for command in world.commands:
        if not isinstance(command, Execute) and command.step == step:
            return max(world.now, command.at)
    raise _impossible(move, "no such timer is set")


def _carried_out(space: Space, world: World, command: Execute, *, keep_copy: bool) -> World:
    answer = answered(space, world, command)
    after = _recorded(space, world, command, answer)
    copies = after.copies
    if keep_copy:
        copies |= {Copy(*_identity(command), old=False)}
    call = _call(space, world, command.step)
    heard = after.heard | {call.service}
    after = replace(after, copies=copies, heard=heard)
    return _reacted(space, after, reply_of(world, command, answer), executed=_identity(command))


def _recorded(space: Space, world: World, command: Execute | Copy, answer: Answer) -> World:
    """The participant's record after its answer; an effect goes into the ledger."""
    before = world.records.get(command.step)
    if before == answer.record or command.kind == "callback":
        return world
    changes: dict[str, Any] = {"records": {**world.records, command.step: answer.record}}
    did, undid = (before.did, before.undid) if before is not None else (0, 0)
    if space.invariants and (answer.record.did > did or answer.record.undid > undid):
        call = _call(space, world, command.step)
        undone = answer.record.undid > undid
        effect = Effect(command.step, f"{call.service}.{call.participant}", undone)
        changes["ledger"] = (*world.ledger, effect)
    return replace(world, **changes)


def _call(space: Space, world: World, step: str) -> Call:
    return space.program.call(world.run.steps[step].name)


def _woken(space: Space, world: World, move: Move) -> World:
    command = world.command(move.step)
    if command is None or _identity(command) in world.out:
        raise _impossible(move, "it isn't waiting for a retry")
    now = max(world.now, command.due)
    return _arrived(space, world, kernel.Turn([], world.run), now)


def _turned_down(space: Space, world: World, command: Execute, what: str) -> World:
    """It answers, but not with success."""
    record = world.records.get(command.step, Record())
    call = _call(space, world, command.step)
    lasting = world.lasting
    if what == "refuse":
        row = record._replace(row=NO) if call.barrier else record
        answer = Answer("refused", row)
        lasting = True
    elif what == "fail-after" and command.kind == "prepare":
        answer = Answer("failed", record._replace(row=PREPARED))
    elif what == "fail-after":
        answer = Answer("failed", record._replace(row=DONE, did=record.did + 1))
    elif what == "never-undone":
        answer = Answer("failed", record, final=True)
        lasting = True
    else:
        answer = Answer("failed", record)
    after = _recorded(space, world, command, answer)
    after = replace(after, lasting=lasting, heard=after.heard | {call.service})
    return _reacted(space, after, reply_of(world, command, answer), executed=_identity(command))


def _lost(space: Space, world: World, command: Execute) -> World:
    """It is carried out, and nobody hears of it."""
    answer = answered(space, world, command)
    after = _recorded(space, world, command, answer)
    after = replace(after, heard=after.heard | {_call(space, world, command.step).service})
    return _reacted(space, after, _expired(world, command), executed=_identity(command))


def _expired(world: World, command: Execute) -> msg.Expired:
    return msg.Expired(
        at=world.now + command.timeout_s,
        step=command.step,
        kind=command.kind,
        attempt=command.attempt,
    )


def _signalled(space: Space, world: World, move: Move) -> World:
    number = world.sent.count(move.step) + 1
    if move.what == "double-signal":
        number -= 1
    message = msg.Signal(at=world.now, name=move.step, signal_id=f"{move.step}:{number}")
    return _reacted(space, replace(world, sent=(*world.sent, move.step)), message)


def _copy_arrives(space: Space, world: World, move: Move) -> World:
    copy = copy_of(world, move)
    if copy is None:
        raise _impossible(move, "there is no such copy")
    service = _call(space, world, copy.step).service
    after = replace(world, copies=world.copies - {copy})
    if copy.old and service in world.heard:
        return after  # rejected, and the coordinator drops what is said of an epoch that is over
    answer = answered(space, world, copy)
    after = _recorded(space, after, copy, answer)
    if not copy.old:
        after = replace(after, heard=after.heard | {service})
    reply = reply_of(world, copy, answer)
    if _identity(copy) not in world.out:
        _check_ignored(world, copy, reply)
    return _reacted(space, after, reply)


def _check_ignored(world: World, copy: Copy, reply: msg.Reply) -> None:
    try:
        events = kernel.decide(world.run, reply)
    except Exception as error:
        raise Violated(KERNEL, f"{type(error).__name__}: {error}") from error
    if events:
        raise Violated(IGNORED, f"a late answer of {copy.step} ({copy.kind}) does something")


def _taken_over(space: Space, world: World) -> World:
    """The coordinator dies; its successor has the journal alone, and sends everything pending again."""
    events = [
        decode_event(type(event).__name__, 1, encode_event(event)) for event in written(world.log)
    ]
    try:
        again = fold(space.program, events)
    except Exception as error:
        raise Violated(RECOVERY, f"{type(error).__name__}: {error}") from error
    if again != world.run or tuple(pending(again)) != world.commands:
        raise Violated(RECOVERY, "another state")
    old = {copy._replace(old=True) for copy in world.copies}
    sent = {Copy(*identity, old=True) for identity in world.out}
    copies = frozenset(old | sent)
    taken = replace(world, copies=copies, heard=frozenset(), unwritten=0)
    if not space.program.grouped:
        return taken
    return _reacted(space, taken, msg.Recovered(at=world.now))


def _forgotten(space: Space, world: World) -> World:
    """The answers that were kept for the next append are lost with the coordinator."""
    log = world.log
    for _ in range(world.unwritten):
        assert log[0] is not None
        log = log[0]
    run = fold(space.program, written(log))
    commands = tuple(pending(run))
    due = {_identity(c) for c in commands if isinstance(c, Execute) and c.due <= world.now}
    return replace(world, run=run, log=log, commands=commands, out=frozenset(due) | world.out)


def written(log: Log) -> list[ev.Event]:
    """Every event so far, in order."""
    parts: list[list[ev.Event]] = []
    rest: Log | None = log
    while rest is not None:
        parts.append(rest[1])
        rest = rest[0]
    return [event for events in reversed(parts) for event in events]


def _reacted(
    space: Space, world: World, message: msg.Message, executed: Identity | None = None
) -> World:
    try:
        turn = kernel.react(world.run, message)
    except Exception as error:
        raise Violated(KERNEL, f"{type(error).__name__}: {error}") from error
    return _arrived(space, world, turn, message.at, executed)


def _arrived(
    space: Space, world: World, turn: kernel.Turn, now: float, executed: Identity | None = None
) -> World:
    """The world after the kernel's turn: what is due is sent, what nobody waits for any more becomes a copy."""
    run = turn.run
    check_events(world, turn.events)
    commands = tuple(pending(run))
    sent = [
        c
        for c in commands
        if isinstance(c, Execute) and (c.due <= now or _identity(c) in world.out)
    ]
    out = frozenset(map(_identity, sent))
    left = world.out - out
    if executed is not None:
        left -= {executed}
        if executed in out:  # answered, and still waited for: the answer was of no use
            out -= {executed}
    back = world.back or any(isinstance(event, ev.CompensationStarted) for event in turn.events)
    records = world.records
    rounds: set[str] = set()
    for command in sent:
        if _identity(command) not in world.out:
            check_sent(space, world, run, command)
            if command.kind in {"do", "abort"} and command.step not in records:
                records = {**records, command.step: Record()}
            if command.kind == "prepare" and _is_first(run, command):
                check_round(world, run, command.step)
                records = {**records, command.step: Record()}
                rounds.add(command.step)
    after = replace(
        world,
        run=run,
        now=now,
        commands=commands,
        out=out,
        log=(world.log, turn.events) if turn.events else world.log,
        unwritten=_unwritten(world, turn),
        records=records,
        copies=_copies(world, left, rounds),
        past=world.past or (not back and _passed(run, turn.events)),
        back=back,
    )
    check_world(space, after)
    return _without_inert(space, after) if after.copies else after


def _unwritten(world: World, turn: kernel.Turn) -> int:
    if not turn.events or not turn.run.program.grouped:
        return world.unwritten
    return world.unwritten + 1 if is_waitable(turn.events, world.run, turn.run) else 0


def _is_first(run: RunState, command: Execute) -> bool:
    """Whether a branch is asked for its vote the first time in this attempt of its group."""
    step = run.steps[command.step]
    return step.attempt == step.base + 1


def _copies(world: World, left: frozenset[Identity], rounds: set[str]) -> frozenset[Copy]:
    """What is still on its way. Of a branch that is asked anew, what is left of before finds its tombstone."""
    copies = world.copies
    if left:
        copies = copies.union(Copy(*identity, old=False) for identity in left)
    return frozenset(copy for copy in copies if copy.step not in rounds) if rounds else copies


def _without_inert(space: Space, world: World) -> World:
    """Copies that their participant has settled for good change nothing any more: they arrive at once, and are gone.

    So are old ones that its barrier rejects from now on, as it has heard of a later epoch; without one that is
    forgotten with the worker, so they may come yet.
    """
    over = {copy for copy in world.copies if copy.old and is_fenced(space, world, copy)}
    if over:
        world = replace(world, copies=world.copies - over)
    inert = [
        copy
        for copy in world.copies
        if copy.kind != "callback"
        and (_call(space, world, copy.step).barrier or not space.careless)
        and is_settled(copy, world.records[copy.step])
    ]
    for copy in inert:
        if _identity(copy) in world.out:
            continue  # its answer is waited for
        answer = answered(space, world, copy)
        _check_ignored(world, copy, reply_of(world, copy, answer))
        if answer.record != world.records[copy.step]:
            raise Violated(IGNORED, f"a late copy of {copy.step} ({copy.kind}) does something")
        world = replace(world, copies=world.copies - {copy})
    return world


def _passed(run: RunState, events: list[ev.Event]) -> bool:
    """Whether a pivot has succeeded just now."""
    for event in events:
        if isinstance(event, ev.CommitDecided):
            return run.pivoted
        if isinstance(event, ev.StepSucceeded):
            node = run.program.named[run.steps[event.step].name]
            if isinstance(node, Call) and node.pivot:
                return True
    return False
