"""Calling a participant's function: with what it declares, on the connection of its transaction, within its time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from orchestrator.participant import loop
from orchestrator.participant.barrier import Effect
from orchestrator.participant.call import Call
from orchestrator.participant.handler import Handler
from orchestrator.transport.messages import Work


def run(
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


def arguments_of(handler: Handler, work: Work, call: Call) -> dict[str, Any]:
    """An action's arguments. A callback's one argument goes to its one parameter, whatever that is called."""
    args = work.args
    if work.kind == "callback" and len(args) == 1 and not handler.parameters.keys() & args.keys():
        args = dict(zip(handler.parameters, args.values(), strict=False))
    return handler.arguments(args, call)


def effect_of(work: Work) -> Effect:
    """What the barrier needs to know of a command."""
    args = msgspec.json.encode(work.args).decode()
    return Effect(work.effect_key, work.run, work.step, work.shard, work.epoch, args)


def call_of(work: Work) -> Call:
    """What the function may know of the command it carries out; its time counts from now."""
    return Call(
        run_id=work.run,
        saga=work.saga,
        step=work.step,
        attempt=work.attempt,
        idempotency_key=work.effect_key,
        timeout_s=work.timeout_s,
        deadline=time.time() + work.timeout_s,
    )
