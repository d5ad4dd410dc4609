"""Stored events stay readable: every type round trips, old versions are upcast, golden events still decode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EncodingError, IllegalEventError
from orchestrator.kernel import events, messages
from orchestrator.kernel.codec import (
    CURRENT_VERSION,
    EVENT_TYPES,
    decode_event,
    decode_message,
    encode_event,
    encode_message,
)

GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parent / "golden_events.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize(
    "golden", GOLDEN, ids=lambda golden: f"{golden['type']}-{golden['version']}"
)
def test_a_golden_event_still_decodes(golden: dict[str, Any]) -> None:
    event = decode_event(golden["type"], golden["version"], json.dumps(golden["data"]).encode())
    read = json.loads(encode_event(event))
    assert type(event).__name__ == golden["type"]
    assert {name: read[name] for name in golden["data"]} == golden["data"]


def test_every_event_type_has_a_golden_event_of_every_version() -> None:
    have = {(golden["type"], golden["version"]) for golden in GOLDEN}
    assert have >= {(name, CURRENT_VERSION) for name in EVENT_TYPES}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["type"])
def test_an_event_comes_back_as_it_was_written(golden: dict[str, Any]) -> None:
    event = decode_event(golden["type"], golden["version"], json.dumps(golden["data"]))
    assert decode_event(golden["type"], CURRENT_VERSION, encode_event(event)) == event


def test_stored_json_has_no_raw_line_break() -> None:
    event = events.SignalReceived(at=1.0, name="a\nb", data={"x": "\r\n\u2028\x1f"})
    assert b"\n" not in encode_event(event)
    assert b"\r" not in encode_event(event)


def test_an_old_event_goes_through_its_upcasters() -> None:
    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "type": "StepUndone", "attempt": data["tries"]}

    old = b'{"type":"StepReversed","at":3.0,"step":"reserve","tries":2}'
    event = decode_event("StepReversed", 0, old, {("StepReversed", 0): renamed})
    assert event == events.StepUndone(at=3.0, step="reserve", attempt=2)


def test_an_old_event_that_did_not_change_needs_no_upcaster() -> None:
    data = b'{"type":"RunCompensated","at":3.0}'
    assert decode_event("RunCompensated", 0, data, {}) == events.RunCompensated(at=3.0)


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [
        ("StepUndone", CURRENT_VERSION, b'{"type":"StepUndone","at":1.0}'),
        ("StepUndone", CURRENT_VERSION, b"not json"),
        (
            "StepUndone",
            CURRENT_VERSION,
            b'{"type":"StepUndone","at":1.0,"step":"\xff","attempt":1}',
        ),
        ("StepUndone", CURRENT_VERSION, b'{"type":"RunCompensated","at":1.0}'),
        (
            "StepUndone",
            CURRENT_VERSION + 1,
            b'{"type":"StepUndone","at":1.0,"step":"a","attempt":1}',
        ),
        ("Nonsense", CURRENT_VERSION, b"{}"),
    ],
)
def test_what_is_no_event_is_refused(name: str, version: int, data: bytes) -> None:
    with pytest.raises(IllegalEventError):
        decode_event(name, version, data)


@pytest.mark.parametrize(
    "message",
    [
        messages.Launch(
            at=1.0, run_id="r", saga="s", version=1, plan="p", input={"a": [1, None]}, key="k"
        ),
        messages.Reply(
            at=1.0,
            step="a",
            kind="prepare",
            attempt=1,
            outcome="succeeded",
            vote="read_only",
            result={"x": 1},
        ),
        messages.Expired(at=1.0, step="a", kind="undo", attempt=2),
        messages.TimerFired(at=1.0),
        messages.Signal(at=1.0, actor="ann", name="go", data=[1]),
        messages.Retry(at=1.0, step="a", args={"x": 1}, reason="why"),
        messages.Skip(at=1.0, step="a", result=3),
        messages.Resolve(at=1.0, step="a", undone=True),
        messages.Compensate(at=1.0, reason="why"),
        messages.Cancel(at=1.0),
        messages.Forget(at=1.0, actor="ann", step="a", reason="why"),
        messages.Acknowledge(at=1.0, actor="ann", step="a", reason="mine"),
        messages.Recovered(at=1.0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_comes_back_as_it_was_written(message: messages.Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(IllegalEventError):
        decode_message(b'{"type":"Nonsense"}')


def test_a_value_that_is_no_json_is_refused() -> None:
    with pytest.raises(EncodingError, match="StepSucceeded"):
        encode_event(events.StepSucceeded(at=1.0, step="a", attempt=1, result=object()))
    with pytest.raises(EncodingError, match="Signal"):
        encode_message(messages.Signal(at=1.0, name="a", data={object(): 1}))
