"""Log lines that say what they are about, for people and for machines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from orchestrator.errors import SettingsError
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.loop import run as run_on_loop
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.settings import load
from orchestrator.telemetry import logs
from orchestrator.telemetry.bound import Subject, bind, subject, unbind
from orchestrator.transport.messages import Work
from tests.unit.participant.test_executor import Wire

log = logging.getLogger("tests.logs")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a handler of ours writes as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(logs.SubjectFilter())
    handler.setFormatter(logs.JsonFormatter())
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


def _read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_outside_of_any_run_says_nothing_of_one(lines: io.StringIO) -> None:
    log.warning("hello %s", "world")
    (line,) = _read(lines)
    assert set(line) == {"at", "level", "logger", "message"}
    assert (line["level"], line["logger"], line["message"]) == (
        *("WARNING", "tests.logs", "hello world"),
    )


def test_a_record_within_says_all_that_is_known(lines: io.StringIO) -> None:
    token = bind(Subject("r1", "shop", "pay", "do", 2, "bank.charge"))
    try:
        log.error("no")
    finally:
        unbind(token)
    log.error("after")
    within, after = _read(lines)
    assert within | {"at": 0} == {
        "at": 0,
        "level": "ERROR",
        "logger": "tests.logs",
        "message": "no",
        "run": "r1",
        "saga": "shop",
        "step": "pay",
        "kind": "do",
        "attempt": 2,
        "participant": "bank.charge",
    }
    assert "run" not in after


def test_a_traceback_is_one_field_of_one_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it broke")
    (line,) = _read(lines)
    assert "Traceback" in str(line["exception"])
    assert "two\nlines" in str(line["exception"])


def test_people_read_it_at_the_end_of_the_line() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "charged", (), None)
    token = bind(Subject("r1", step="pay", attempt=1))
    try:
        assert logs.SubjectFilter().filter(record)
    finally:
        unbind(token)
    assert (
        logs.TextFormatter()
        .format(record)
        .endswith("INFO    shop: charged [run=r1 step=pay attempt=1]")
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_participants_own_records_say_which_call_they_are_of(
    asynchronous: bool,  # noqa: FBT001
    lines: io.StringIO,
) -> None:
    shop = Service("logged_shop", timeout=5)

    async def later() -> None:
        await asyncio.sleep(0)
        log.warning("packing")

    def now() -> None:
        log.warning("packing")

    shop.participant(name="pack", read_only=True)(later if asynchronous else now)
    wire = Wire()
    work = Work("r7", 0, 1, "pack", "do", 3, "logged_shop.pack", {}, 5.0, saga="order")
    WorkExecutor(Registry.of([shop])).execute([work], wire)
    assert [answer.outcome for answer in wire.answers] == ["succeeded"]
    (line,) = _read(lines)
    assert (line["run"], line["step"], line["attempt"], line["saga"]) == ("r7", "pack", 3, "order")
    assert subject() is None


def test_the_loop_of_participants_keeps_what_is_bound() -> None:
    async def ask() -> Subject | None:
        await asyncio.sleep(0)
        return subject()

    token = bind(Subject("r9"))
    try:
        assert run_on_loop(ask()) == Subject("r9")
    finally:
        unbind(token)


def test_a_format_that_isnt_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_LOG_FORMAT", "yaml")
    with pytest.raises(SettingsError, match="log_format"):
        load()
