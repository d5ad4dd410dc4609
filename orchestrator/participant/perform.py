"""Carrying out one command: with the barrier where there is a database, and without where there is none.

What comes back is always a ``Settled``; an exception that leaves here is an attempt that failed with nothing written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from orchestrator.errors import Refused
from orchestrator.kernel.events import Failure
from orchestrator.participant import loop
from orchestrator.participant.barrier import Barrier, Done, Effect, Settled
from orchestrator.participant.call import Call
from orchestrator.participant.commits import CommitUnknownError
from orchestrator.participant.database import Database
from orchestrator.participant.failures import failure_of, refusal_of
from orchestrator.participant.handler import Handler, UndoHandler
from orchestrator.transport.messages import Work, stale_epoch


class Performer(Protocol):
    """What carries out the commands of a service's participants."""

    def perform(self, action: Action, work: Work) -> Settled:
        """Carry out one command. An exception means failed, with nothing written; ``Settled`` says the rest."""
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
    def read_only(self) -> bool:
        """Nothing to undo, nothing to remember."""
        ...


class WithDatabase:
    """Carries out the commands of a service that has a database."""

    def __init__(self, database: Database, payload_limit: int) -> None:
        self._database = database
        self._payload_limit = payload_limit
        self._barrier = Barrier(database.engine)
        self._async_barrier = Barrier(lambda: database.async_engine().sync_engine)

    @property
    def barrier(self) -> Barrier:
        """The barrier, to prune it."""
        return self._barrier

    def perform(self, action: Action, work: Work) -> Settled:
        """Carry out one command in a transaction of its own."""
        undoing = work.kind == "undo"
        if undoing and action.read_only:
            return _unregistered(work)
        undo = action.undo_handler
        handler = undo.handler if undoing and undo is not None else action.handler
        try:
            if "async session" in handler.injected:
                return loop.run(greenlet_spawn(self._perform, self._async_barrier, action, work))
            return self._perform(self._barrier, action, work)
        except CommitUnknownError as error:
            return Settled("lost", failure=failure_of(error))
        except TimeoutError as error:
            certain = action.handler.wants_session or action.read_only
            return Settled("failed" if certain else "lost", failure=failure_of(error))

    def _perform(self, barrier: Barrier, action: Action, work: Work) -> Settled:
        call = _call(work)
        if work.kind == "undo":
            return self._undo(barrier, action, work, call)
        arguments = _arguments(action.handler, work, call)

        def act(connection: Connection) -> str | None:
            result = _run(action.handler, arguments, connection, work.timeout_s)
            return action.handler.encoded(result, self._payload_limit)

        if action.read_only:
            return self._read(barrier, act)
        return barrier.do(_effect(work), act)

    def _undo(self, barrier: Barrier, action: Action, work: Work, call: Call) -> Settled:
        undo = action.undo_handler
        certain = action.handler.wants_session
        if undo is None:
            return barrier.undo(_effect(work), None, certain=certain)

        def reverse(connection: Connection, done: Done | None) -> None:
            args, result = work.args, work.result
            if done is not None:  # what it was really done with, and what it really returned
                args = msgspec.json.decode(done.args)
                result = None if done.reply is None else msgspec.json.decode(done.reply)
            arguments = undo.arguments(args, result, call)
            _run(undo.handler, arguments, connection, work.timeout_s)

        try:
            return barrier.undo(_effect(work), reverse, certain=certain)
        except Refused as refusal:
            return Settled("failed", failure=refusal_of(refusal))

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
        undo = action.undo_handler
        if work.kind == "undo" and undo is None:
            return _unregistered(work)
        try:
            if work.kind == "undo" and undo is not None:
                arguments = undo.arguments(work.args, work.result, _call(work))
                _run(undo.handler, arguments, None, work.timeout_s)
                return Settled("succeeded")
            arguments = _arguments(action.handler, work, _call(work))
            result = _run(action.handler, arguments, None, work.timeout_s)
            return Settled("succeeded", action.handler.encoded(result, self._payload_limit))
        except Refused as refusal:
            failure = refusal_of(refusal)
            return Settled("failed" if work.kind == "undo" else "refused", failure=failure)
        except TimeoutError as error:
            return Settled("lost", failure=failure_of(error))


def _run(
    handler: Handler, arguments: dict[str, Any], connection: Connection | None, timeout_s: float
) -> Any:
    """Call a participant's function. Asynchronous ones are cancelled with ``TimeoutError`` after ``timeout_s``."""
    if "async session" in handler.injected and connection is not None:
        return await_only(_run_async(handler, arguments, connection, timeout_s))
    if handler.is_async:
        coroutine = handler.function(**arguments)
        return loop.run(asyncio.wait_for(coroutine, timeout_s))
    name = handler.injected.get("session")
    if name is None or connection is None:
        return handler.function(**arguments)
    with Session(bind=connection, join_transaction_mode="rollback_only") as session:
        result = handler.function(**arguments, **{name: session})
        session.flush()
        return result


async def _run_async(
    handler: Handler, arguments: dict[str, Any], connection: Connection, timeout_s: float
) -> Any:
    async with AsyncSession(join_transaction_mode="rollback_only") as session:
        session.sync_session.bind = connection
        name = handler.injected["async session"]
        coroutine = handler.function(**arguments, **{name: session})
        result = await asyncio.wait_for(coroutine, timeout_s)
        await session.flush()
        return result


def _arguments(handler: Handler, work: Work, call: Call) -> dict[str, Any]:
    """An action's arguments. A callback's one argument goes to its one parameter, whatever that is called."""
    args = work.args
    if work.kind == "callback" and len(args) == 1 and not handler.parameters.keys() & args.keys():
        args = dict(zip(handler.parameters, args.values(), strict=False))
    return handler.arguments(args, call)


def _effect(work: Work) -> Effect:
    args = msgspec.json.encode(work.args).decode()
    return Effect(work.effect_key, work.run, work.step, work.shard, work.epoch, args)


def _call(work: Work) -> Call:
    return Call(
        run_id=work.run,
        saga=work.saga,
        step=work.step,
        attempt=work.attempt,
        idempotency_key=work.effect_key,
        timeout_s=work.timeout_s,
        deadline=time.time() + work.timeout_s,
    )


def _unregistered(work: Work) -> Settled:
    message = f"this worker's {work.participant} has no undo"
    return Settled("unregistered", failure=Failure("UndoMissing", message))
