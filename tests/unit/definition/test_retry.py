"""Retry says when an attempt is tried again, and refuses what can't work."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.definition.plan import RetryPolicy
from orchestrator.definition.retry import Retry
from orchestrator.errors import DefinitionError, Refused


def test_the_default_is_the_plans_default() -> None:
    assert Retry().policy() == RetryPolicy()


def test_every_option_reaches_the_policy() -> None:
    retry = Retry(
        attempts=None,
        budget=timedelta(minutes=2),
        backoff="linear",
        initial=timedelta(milliseconds=500),
        factor=3,
        cap=60,
        jitter=0,
        final=(ValueError, Refused),
    )
    assert retry.policy() == RetryPolicy(
        attempts=None,
        budget_s=120.0,
        strategy="linear",
        initial_s=0.5,
        factor=3.0,
        cap_s=60.0,
        jitter=0.0,
        final=("builtins.ValueError", "orchestrator.errors.Refused"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, r"Retry\(attempts=\): 1 or more"),
        ({"attempts": None}, "retries for ever: give a budget="),
        ({"budget": -1}, r"Retry\(budget=\)"),
        ({"budget": "5"}, "seconds or a timedelta are needed"),
        ({"backoff": "random"}, "one of exponential, linear, fixed"),
        ({"initial": float("inf")}, r"Retry\(initial=\)"),
        ({"factor": 0.5}, r"Retry\(factor=\): 1 or more"),
        ({"cap": True}, r"Retry\(cap=\)"),
        ({"jitter": 1.5}, "from 0 to 1"),
        ({"final": (5,)}, "a tuple of exception types"),
        ({"final": ValueError}, "a tuple of exception types"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(options: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Retry(**options)
