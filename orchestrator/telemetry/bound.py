"""What the code that runs now is about: run, step, attempt. Every log record made meanwhile says so.

A context variable, so it follows a call into coroutines and is kept apart by threads. What is bound is asked for its
fields only when there is a record, so that binding costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import NamedTuple, Protocol


class Subject(NamedTuple):
    """What is being handled; what isn't known is empty."""

    run: str
    saga: str = ""
    step: str = ""
    kind: str = ""
    attempt: int = 0
    participant: str = ""

    def subject(self) -> Subject:
        """Itself."""
        return self


class Handled(Protocol):
    """Something that knows what it is about."""

    def subject(self) -> Subject:
        """What it is about."""
        ...


_handled: ContextVar[Handled | None] = ContextVar("saga_handled", default=None)

bind = _handled.set
"""From now on this is handled, until the token that is returned goes to ``unbind``."""
unbind = _handled.reset
"""What was handled before is handled again."""
Bound = Token[Handled | None]


@contextmanager
def handling(what: Handled) -> Iterator[None]:
    """Around what is seldom done: ``bind`` and ``unbind``."""
    token = bind(what)
    try:
        yield
    finally:
        unbind(token)


def subject() -> Subject | None:
    """What is being handled now; None outside of any run."""
    handled = _handled.get()
    return None if handled is None else handled.subject()
