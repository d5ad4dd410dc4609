"""Carrying out one command: with the barrier where there is a database, and without where there is none.

What comes back is always a ``Settled``; an exception that leaves here is an attempt that failed with nothing written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, assert_never

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Engine
from sqlalchemy.util import greenlet_spawn

from orchestrator.errors import Refused
from orchestrator.kernel.events import CommandKind, Failure, Vote
from orchestrator.participant import loop
from orchestrator.participant.barrier import Act, Barrier, Done, Settled
from orchestrator.participant.calling import arguments_of, call_of, effect_of, run
from orchestrator.participant.commits import CommitUnknownError
from orchestrator.participant.database import Database
from orchestrator.participant.failures import failure_of, refusal_of
from orchestrator.participant.handler import Handler, UndoHandler
from orchestrator.participant.two_phase.branches import Branches, Prepared
from orchestrator.participant.two_phase.group import GroupBarrier
from orchestrator.participant.two_phase.port import ResourceManager
from orchestrator.transport.gid import Gid
from orchestrator.transport.messages import Work, stale_epoch


class Performer(Protocol):
    """What carries out the commands of a service's participants."""

    def perform(self, action: Action, work: Work) -> Settled:
        """Carry out one command. An exception means failed, with nothing written; ``Settled`` says the rest."""
        ...

    def commit_together(self, commits: Sequence[tuple[Action, Work]]) -> Mapping[Gid, Settled]:
        """Commit several branches at once, as far as that is possible; the others are left to ``perform``."""
        ...


class Action(Protocol):
    """What is needed of a participant."""

    @property
    def handler(self) -> Handler:
        """The action itself."""
        ...

    @property
    def undo_handler(self) -> UndoHandler | None:
        """Its undo."""
        ...

    @property
    def confirm_handler(self) -> UndoHandler | None:
        """What makes it final, if it is a try."""
        ...

    @property
    def cancel_handler(self) -> UndoHandler | None:
        """What takes it back, if it is a try."""
        ...

    @property
    def read_only(self) -> bool:
        """Nothing to undo, nothing to remember."""
        ...


class WithDatabase:
    """Carries out the commands of a service that has a database."""

    def __init__(self, database: Database, payload_limit: int, *, two_phase: bool = False) -> None:
        self._database = database
        self._payload_limit = payload_limit
        resources = database.resources() if two_phase else None
        self._barrier = _barrier(database.engine, resources)
        self._async_barrier = _barrier(lambda: database.async_engine().sync_engine, resources)

    @property
    def barrier(self) -> Barrier:
        """The barrier, to prune it."""
        return self._barrier

    @property
    def branches(self) -> Branches | None:
        """The prepared transactions; None where the service isn't two-phase."""
        return self._barrier if isinstance(self._barrier, Branches) else None

    def perform(self, action: Action, work: Work) -> Settled:
        """Carry out one command in a transaction of its own."""
        if action.read_only and work.kind in FOLLOWS:
            return unregistered(work)
        handler = handler_of(action, work)
        try:
            if "async session" in handler.injected:
                return loop.run(greenlet_spawn(self._perform, self._async_barrier, action, work))
            return self._perform(self._barrier, action, work)
        except CommitUnknownError as error:
            return Settled("lost", failure=failure_of(error))
        except TimeoutError as error:
            certain = action.handler.wants_session or action.read_only
            return Settled("failed" if certain else "lost", failure=failure_of(error))

    def commit_together(self, commits: Sequence[tuple[Action, Work]]) -> Mapping[Gid, Settled]:
        """See the protocol: prepared transactions whose replies the coordinator knows."""
        branches = self.branches
        if branches is None:
            return {}
        prepared = [
            Prepared(effect_of(work), gid_of(work), reply)
            for action, work in commits
            if "session" in action.handler.injected and action.confirm_handler is None
            if not action.read_only and (reply := _known_reply(work)) is not None
        ]
        return branches.commit_together(prepared)

    def end(self, work: Work) -> Settled:
        """Commit or roll back a branch whatever its participant is: for one that the sweep has found."""
        branches = self.branches
        if branches is None:
            return Settled("unregistered")
        effect, gid = effect_of(work), gid_of(work)
        if work.kind == "commit":
            return branches.commit(effect, gid)
        return branches.abort(effect, gid, work.timeout_s)

    def _perform(self, barrier: GroupBarrier, action: Action, work: Work) -> Settled:
        match work.kind:
            case "undo":
                return self._undo(barrier, action, work)
            case "commit":
                return self._commit(barrier, action, work)
            case "abort":
                return self._abort(barrier, action, work)
            case "prepare":
                return self._prepare(barrier, action, work)
            case "do" | "callback":
                act = self._act(action, work)
                return (
                    self._read(barrier, act)
                    if action.read_only
                    else barrier.do(effect_of(work), act)
                )
            case _:
                assert_never(work.kind)

    def _act(self, action: Action, work: Work) -> Act:
        arguments = arguments_of(action.handler, work, call_of(work))

        def act(connection: Connection) -> str | None:
            result = run(action.handler, arguments, connection, work.timeout_s)
            return action.handler.encoded(result, self._payload_limit)

        return act

    def _prepare(self, barrier: GroupBarrier, action: Action, work: Work) -> Settled:
        act = self._act(action, work)
        if action.read_only:
            return voting(self._read(barrier, act), "read_only")
        if work.one_phase:
            return voting(barrier.do(effect_of(work), act), "committed")
        if action.cancel_handler is not None:
            return voting(barrier.do(effect_of(work), act), "prepared")
        if isinstance(barrier, Branches) and action.handler.wants_session:
            return barrier.prepare(effect_of(work), gid_of(work), act, work.timeout_s)
        return Settled("failed", failure=not_preparable(work))

    def _commit(self, barrier: GroupBarrier, action: Action, work: Work) -> Settled:
        handler = action.confirm_handler
        if handler is None:
            if isinstance(barrier, Branches) and action.handler.wants_session:
                return barrier.commit(effect_of(work), gid_of(work), _known_reply(work))
            return unregistered(work)

        def confirm(connection: Connection, done: Done) -> None:
            self._follow(handler, connection, done, work)

        try:
            return barrier.confirm(effect_of(work), confirm)
        except Refused as refusal:
            return Settled("failed", failure=refusal_of(refusal))

    def _abort(self, barrier: GroupBarrier, action: Action, work: Work) -> Settled:
        handler = action.cancel_handler
        if work.one_phase:
            return barrier.recall(effect_of(work))
        if handler is None:
            if isinstance(barrier, Branches) and action.handler.wants_session:
                return barrier.abort(effect_of(work), gid_of(work), work.timeout_s)
            return unregistered(work)

        def reverse(connection: Connection, done: Done | None) -> None:
            self._follow(handler, connection, done, work)

        try:
            certain = action.handler.wants_session
            return barrier.cancel(effect_of(work), reverse, certain=certain)
        except Refused as refusal:
            return Settled("failed", failure=refusal_of(refusal))

    def _undo(self, barrier: Barrier, action: Action, work: Work) -> Settled:
        undo = action.undo_handler
        certain = action.handler.wants_session
        if undo is None:
            return barrier.undo(effect_of(work), None, certain=certain)

        def reverse(connection: Connection, done: Done | None) -> None:
            self._follow(undo, connection, done, work)

        try:
            return barrier.undo(effect_of(work), reverse, certain=certain)
        except Refused as refusal:
            return Settled("failed", failure=refusal_of(refusal))

    def _follow(
        self, handler: UndoHandler, connection: Connection, done: Done | None, work: Work
    ) -> None:
        """Undo, confirm or cancel: with what was really done, and what that really returned, where that is known."""
        args, result = work.args, work.result
        if done is not None:
            args = msgspec.json.decode(done.args)
            result = None if done.reply is None else msgspec.json.decode(done.reply)
        arguments = handler.arguments(args, result, call_of(work))
        run(handler.handler, arguments, connection, work.timeout_s)

    def _read(self, barrier: Barrier, act: Callable[[Connection], str | None]) -> Settled:
        try:
            with barrier.reading() as connection:
                return Settled("succeeded", act(connection))
        except Refused as refusal:
            return Settled("refused", failure=refusal_of(refusal))


class WithoutDatabase:
    """Carries out the commands of a service without a database: at least once, under an idempotency key."""

    def __init__(self, payload_limit: int) -> None:
        self._payload_limit = payload_limit
        self._epochs: dict[int, int] = {}

    def perform(self, action: Action, work: Work) -> Settled:
        """Call the function; nothing is remembered but the newest epoch this process has heard of."""
        known = self._epochs.get(work.shard, work.epoch)
        if work.epoch < known:
            message = f"epoch {work.epoch} of shard {work.shard} is over: {known} has been heard"
            return Settled("rejected", failure=stale_epoch(message, known))
        self._epochs[work.shard] = work.epoch
        if work.one_phase:
            return Settled("failed", failure=not_preparable(work))
        try:
            if work.kind in FOLLOWS:
                return self._follow(action, work)
            arguments = arguments_of(action.handler, work, call_of(work))
            result = run(action.handler, arguments, None, work.timeout_s)
            settled = Settled("succeeded", action.handler.encoded(result, self._payload_limit))
        except Refused as refusal:
            failure = refusal_of(refusal)
            return Settled("failed" if work.kind in FOLLOWS else "refused", failure=failure)
        except TimeoutError as error:
            return Settled("lost", failure=failure_of(error))
        if work.kind != "prepare":
            return settled
        return voting(settled, "read_only" if action.read_only else "prepared")

    def commit_together(self, commits: Sequence[tuple[Action, Work]]) -> Mapping[Gid, Settled]:
        """There are no branches here."""
        del commits
        return {}

    def end(self, work: Work) -> Settled:
        """There are no branches here."""
        del work
        return Settled("unregistered")

    def _follow(self, action: Action, work: Work) -> Settled:
        handler = _FOLLOWING[work.kind](action)
        if handler is None:
            return unregistered(work)
        arguments = handler.arguments(work.args, work.result, call_of(work))
        run(handler.handler, arguments, None, work.timeout_s)
        return Settled("succeeded", _known_reply(work) if work.kind == "commit" else None)


_FOLLOWING: dict[CommandKind, Callable[[Action], UndoHandler | None]] = {
    "undo": lambda action: action.undo_handler,
    "commit": lambda action: action.confirm_handler,
    "abort": lambda action: action.cancel_handler,
}
FOLLOWS = frozenset(_FOLLOWING)
"""Kinds of commands that follow an action and reverse it or make it final."""


def _known_reply(work: Work) -> str | None:
    """What the action returned, if the coordinator has told; JSON."""
    return None if work.result is None else msgspec.json.encode(work.result).decode()


def handler_of(action: Action, work: Work) -> Handler:
    """The function that a command has run."""
    following = _FOLLOWING.get(work.kind)
    handler = None if following is None else following(action)
    return action.handler if handler is None else handler.handler


def gid_of(work: Work) -> Gid:
    """The name of the branch that a command is about."""
    return Gid(work.shard, work.round, work.run, work.step)


def voting(settled: Settled, vote: Vote) -> Settled:
    """The same with a vote, if it was a success."""
    return replace(settled, vote=vote) if settled.outcome == "succeeded" else settled


def unregistered(work: Work) -> Settled:
    """The participant lacks what the command wants of it."""
    what = {"undo": "undo", "commit": "confirm", "abort": "cancel"}.get(work.kind, work.kind)
    message = f"this worker's {work.participant} has no {what}"
    return Settled("unregistered", failure=Failure(f"{what.capitalize()}Missing", message))


def not_preparable(work: Work) -> Failure:
    """Why a participant can't be a branch, though its plan has it as one: its service was declared anew."""
    return Failure(
        "NotPreparable",
        f"this worker's {work.participant} can't vote: declare its service with two_phase=True and let it take a "
        "Session, or give it a confirm and a cancel",
    )


def _barrier(engine: Callable[[], Engine], resources: ResourceManager | None) -> GroupBarrier:
    return GroupBarrier(engine) if resources is None else Branches(engine, resources)
