"""What the code that runs now is about: run, step, attempt. Every log record made meanwhile says so.

A context variable, so it follows a call into coroutines and is kept apart by threads; it costs a record nothing to be
made where nothing is bound.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import NamedTuple


class Subject(NamedTuple):
    """What is being handled; what isn't known is empty."""

    run: str
    saga: str = ""
    step: str = ""
    kind: str = ""
    attempt: int = 0
    participant: str = ""

    def fields(self) -> dict[str, str | int]:
        """What is known, by name."""
        return {name: value for name, value in self._asdict().items() if value}


_subject: ContextVar[Subject | None] = ContextVar("saga_subject", default=None)


def subject() -> Subject | None:
    """What is being handled now; None outside of any run."""
    return _subject.get()


class about:  # noqa: N801 - read as a statement: with about(subject)
    """While inside, what is being handled is ``subject``."""

    __slots__ = ("_subject", "_token")

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        """Bind it."""
        self._token: Token[Subject | None] = _subject.set(self._subject)

    def __exit__(self, *_: object) -> None:
        """Bind again what was before."""
        _subject.reset(self._token)
