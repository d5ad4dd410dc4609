"""Waiting in tests: poll a condition with a bound, never sleep and hope.

This is the only place in the tests that sleeps; the tidy test sees to that.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_EVERY_S = 0.02

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T],
    timeout_s: float = 10.0,
    *,
    what: str = "",
    every_s: float = POLL_EVERY_S,
) -> T:
    """Return the first truthy answer of `predicate`; fail when there is none in time.

    An exception of `predicate` passes through at once: catch inside it what is to be waited out.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(_message(what or repr(predicate), timeout_s, answer))
        time.sleep(every_s)


async def eventually_async(
    predicate: Callable[[], Awaitable[T]],
    timeout_s: float = 10.0,
    *,
    what: str = "",
    every_s: float = POLL_EVERY_S,
) -> T:
    """As `eventually`, for a predicate that is awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(_message(what or repr(predicate), timeout_s, answer))
        await asyncio.sleep(every_s)


def _message(what: str, timeout_s: float, answer: object) -> str:
    return f"not within {timeout_s:g} s: {what} (last answer: {answer!r})"
