"""Exit codes: what a script that calls ``saga`` can rely on."""

from __future__ import annotations

from enum import IntEnum

from orchestrator import errors as err


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    UNSUCCESSFUL = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    TIMEOUT = 6
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.UNSUCCESSFUL: "a run that was waited for didn't complete, or a check found something wrong",
    Exit.USAGE: "the command line, an input or a setting can't be used; nothing was done",
    Exit.NOT_FOUND: "no such run, saga or plan, or a shortened id that fits several",
    Exit.REFUSED: "the state of the run, the schema or the broker doesn't allow it",
    Exit.UNAVAILABLE: "the journal's database or the broker can't be reached",
    Exit.TIMEOUT: "the time to wait was over; the run goes on",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}

_BY_ERROR: tuple[tuple[type[err.SagaError], Exit], ...] = (
    (err.RunNotFoundError, Exit.NOT_FOUND),
    (err.AmbiguousRunError, Exit.NOT_FOUND),
    (err.BulkNotFoundError, Exit.NOT_FOUND),
    (err.UnknownSagaError, Exit.NOT_FOUND),
    (err.OperationRefusedError, Exit.REFUSED),
    (err.PlanConflictError, Exit.REFUSED),
    (err.SchemaError, Exit.REFUSED),
    (err.UnsafeBrokerError, Exit.REFUSED),
    (err.FencedError, Exit.REFUSED),
    (err.JournalUnavailableError, Exit.UNAVAILABLE),
    (err.OutcomeUnknownError, Exit.UNAVAILABLE),
    (err.TransportUnavailableError, Exit.UNAVAILABLE),
    (err.ResultTimeoutError, Exit.TIMEOUT),
    (err.UnsuccessfulRun, Exit.UNSUCCESSFUL),
    (err.IllegalEventError, Exit.UNSUCCESSFUL),
    (err.DefinitionError, Exit.USAGE),
    (err.InvalidInputError, Exit.USAGE),
    (err.SettingsError, Exit.USAGE),
)


def exit_code(error: err.SagaError) -> Exit:
    """The exit code an error of the package ends a command with."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return Exit.UNSUCCESSFUL
