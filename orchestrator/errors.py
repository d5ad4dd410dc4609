"""Every error a user of the package can meet, in one place.

An error names the thing that is wrong and the way out; an error class's docstring says when it is
raised.
"""

from __future__ import annotations

from typing import Any


class SagaError(Exception):
    """The root of every error this package raises on purpose."""


class DefinitionError(SagaError):
    """A saga, service or participant is defined in a way that can't work; raised at import."""


class PlanConflictError(DefinitionError):
    """A saga's plan changed while its version did not."""


class UnknownSagaError(SagaError):
    """A saga was named that this process has not imported."""


class InvalidInputError(SagaError):
    """An argument, signal or result doesn't fit the type its definition declares."""


class PayloadTooLargeError(InvalidInputError):
    """A value's encoded size is over the configured limit."""


class EncodingError(InvalidInputError):
    """A value can't be written as JSON."""


class ExpressionError(SagaError):
    """An expression of a plan has no value for this run's data."""


class Refused(SagaError):  # noqa: N818 - a business answer, not a malfunction
    """Raised by a participant to say no: final, never retried, compensation starts.

    ``data`` is kept with the refusal and must be JSON-encodable.
    """

    def __init__(self, message: str = "refused", *, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class RunNotFoundError(SagaError):
    """No run has this id, key or id prefix."""


class RunArchivedError(RunNotFoundError):
    """The run has ended and was moved to a file of an archive; ``file`` is its name."""

    def __init__(self, message: str, run_id: str, file: str) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.file = file


class BulkNotFoundError(SagaError):
    """No bulk operation has the id asked for, or several have a shortened one."""


class AmbiguousRunError(SagaError):
    """A shortened run id fits more than one run."""


class OperationRefusedError(SagaError):
    """An operator's action isn't possible in the state the run is in."""


class BulkChangedError(OperationRefusedError):
    """A bulk operation has changed since it was looked at."""


class UnsuccessfulRun(SagaError):  # noqa: N818 - an outcome
    """The root of what ``run.result()`` raises when there is no result."""

    def __init__(self, run_id: str, reason: str, cause: dict[str, Any] | None = None) -> None:
        super().__init__(f"run {run_id}: {reason}")
        self.run_id = run_id
        self.reason = reason
        self.cause = cause


class Compensated(UnsuccessfulRun):
    """The run failed or was cancelled, and every effect it had has a confirmed undo."""


class Stuck(UnsuccessfulRun):
    """The run needs a person; ``saga show`` tells why, ``saga retry`` and its kin repair it."""


class ResultTimeoutError(SagaError, TimeoutError):
    """The run had not ended when the caller's waiting time was over; the run goes on."""


class JournalUnavailableError(SagaError):
    """The journal's database can't be reached; nothing was written."""


class OutcomeUnknownError(SagaError):
    """The journal's database was lost during a commit: read back before acting."""


class FencedError(SagaError):
    """Another coordinator has written to a shard this one took for its own."""

    def __init__(self, shard: int) -> None:
        super().__init__(f"shard {shard} has another writer")
        self.shard = shard


class SchemaError(SagaError):
    """A database's schema isn't the one this release needs."""


class TransportUnavailableError(SagaError):
    """The message broker can't be reached."""


class UnsafeBrokerError(SagaError):
    """The broker is configured in a way that loses messages."""


class EnvelopeError(SagaError):
    """A message is malformed, oversized, or its signature doesn't hold; it is counted and dropped.

    ``reason`` is one of a few fixed words, so that drops can be counted by it.
    """

    def __init__(self, message: str, *, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


class ArchiveError(SagaError):
    """A file of an archive can't be written or read, or doesn't hold what was written; nothing was removed for it."""


class SettingsError(SagaError):
    """A setting is missing or has a value that can't be used."""


class NoticeError(SagaError):
    """People couldn't be told of an incident; they are told again once the interval is over."""


class StackError(SagaError):
    """A process that was started to try things out didn't come up; the end of its log says why."""


class StagingError(SagaError):
    """A test asks the ``sagas`` fixture for something that can't be; the text says what to write instead."""


class IllegalEventError(SagaError):
    """An event doesn't fit the state it is applied to: a defect of ours that stops that run
    only.
    """
