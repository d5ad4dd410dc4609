"""Log lines that say which run, step and attempt they are about: for people, or as JSON for machines.

``SubjectFilter`` on a handler stamps every record; the formatters write what it stamped. Programs with a logging setup
of their own use the filter alone, and name ``%(saga_run)s`` and its kin in their format.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from orchestrator.telemetry.bound import Subject, subject
from orchestrator.telemetry.tracing import TRACER

LogFormat = Literal["text", "json"]

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
FIELDS = Subject._fields
PREFIX = "saga_"
"""Before each field's name on a record: other libraries set ``step`` or ``run``, too."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class SubjectFilter(logging.Filter):
    """Lets every record pass, and sets ``saga_run``, ``saga_saga``, ``saga_step``, ``saga_kind``, ``saga_attempt``,
    ``saga_participant`` and ``saga_trace`` on it; empty where nothing is bound.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp the record."""
        known = subject()
        for name in FIELDS:
            setattr(record, PREFIX + name, "" if known is None else getattr(known, name) or "")
        record.__dict__[f"{PREFIX}trace"] = TRACER.trace_id()
        return True


class TextFormatter(logging.Formatter):
    """A line for people, what it is about at its end."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line without a traceback."""
        line = super().formatMessage(record)
        said = " ".join(f"{name}={value}" for name, value in stamped(record).items())
        return f"{line} [{said}]" if said else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``message``, what it is about, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **stamped(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return _encode(line).decode()


def stamped(record: logging.LogRecord) -> dict[str, str | int]:
    """What ``SubjectFilter`` has set on the record, without what is empty."""
    found = {name: getattr(record, PREFIX + name, "") for name in (*FIELDS, "trace")}
    return {name: value for name, value in found.items() if value}


def handler(log_format: LogFormat) -> logging.Handler:
    """A handler to stderr that stamps and formats."""
    made = logging.StreamHandler(sys.stderr)
    made.addFilter(SubjectFilter())
    made.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    return made
