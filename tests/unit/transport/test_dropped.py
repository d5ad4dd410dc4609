"""Counting what is thrown away."""

import logging

import pytest

from orchestrator.transport.dropped import LOG_EVERY_S, Dropped

logger = logging.getLogger("test")


def test_each_is_counted_and_a_flood_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    answers = Dropped("answers", logger)
    for _ in range(1000):
        answers.add("forged", "detail")
    answers.add("malformed", "other detail")

    assert answers.counts == {"forged": 1000, "malformed": 1}
    assert answers.total == 1001
    assert [record.getMessage() for record in caplog.records] == [
        "dropped answers (forged, 1 since last told): detail",
        "dropped answers (malformed, 1 since last told): other detail",
    ]


def test_after_a_while_it_is_told_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("orchestrator.transport.dropped.time.monotonic", lambda: now[0])
    answers = Dropped("answers", logger)
    answers.add("forged", "first")
    answers.add("forged", "unheard")
    now[0] += LOG_EVERY_S
    answers.add("forged", "last")

    assert caplog.records[-1].getMessage() == "dropped answers (forged, 2 since last told): last"
    assert len(caplog.records) == 2
