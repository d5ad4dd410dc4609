"""The five broken sagas: each is found, by ``verify`` or ``lint``; what is printed of it fails, until it is mended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.definition.lint import lint
from orchestrator.definition.saga import Saga
from orchestrator.errors import InvalidInputError
from orchestrator.participant.source_facts import facts_about
from orchestrator.testing import replay, rules, verify
from orchestrator.testing.proof import InvariantViolated, told
from tests.unit.testing import broken, mended

ROOT = Path(__file__).parents[3]
FOUND: list[tuple[Saga[..., Any], str, str, int]] = [
    (broken.undo_missing_its_effect, rules.COMPENSATED, "the effect of count is left", 1),
    (broken.wrong_order, "paid_before_sent", "sent before it was paid", 0),
    (broken.not_null_safe, rules.PASSING, "charge", 2),
    (broken.refusing_after_the_pivot, rules.REFUSED, "hold is refused", 1),
    (broken.retry_shorter_than_needed, rules.PASSING, "book_courier", 1),
]
BROKEN = [case[0] for case in FOUND]
LINTED = {
    "undo_missing_its_effect": {("undo-empty", "count")},
    "not_null_safe": {("undo-needs-result", "charge")},
    "refusing_after_the_pivot": {("refusal-past-pivot", "hold")},
}


@pytest.mark.parametrize(
    ("saga", "invariant", "what", "faults"), FOUND, ids=[case[0].name for case in FOUND]
)
def test_each_mistake_is_found_with_its_shortest_counterexample(
    saga: Saga[..., Any], invariant: str, what: str, faults: int
) -> None:
    found = verify(saga).counterexample
    assert found is not None
    assert found.invariant == invariant
    assert what in found.what
    assert found.faults == faults, told(found)
    assert sum(line.fault for line in found.timeline) == faults


@pytest.mark.parametrize("saga", BROKEN, ids=lambda saga: saga.name)
def test_lint_finds_what_shows_in_the_code_and_nothing_else(saga: Saga[..., Any]) -> None:
    found = {(finding.rule, finding.step) for finding in lint(saga, facts_about(saga))}
    assert found == LINTED.get(saga.name, set())


@pytest.mark.parametrize("saga", BROKEN, ids=lambda saga: saga.name)
def test_the_mended_saga_holds(saga: Saga[..., Any]) -> None:
    right = getattr(mended, saga.name)
    report = verify(right)
    assert report.counterexample is None, told(report.counterexample)
    assert lint(right, facts_about(right)) == []


def test_what_is_printed_fails_when_it_is_pasted_and_passes_once_the_saga_is_mended(
    tmp_path: Path,
) -> None:
    shown = [found.test for saga in BROKEN if (found := verify(saga).counterexample)]
    assert len(shown) == 5
    for number, text in enumerate(shown):
        (tmp_path / f"test_broken_{number}.py").write_text(text)
        (tmp_path / f"test_mended_{number}.py").write_text(text.replace(".broken ", ".mended "))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rA",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            str(tmp_path),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "5 failed, 5 passed" in done.stdout, done.stdout + done.stderr
    ended = re.findall(
        r"^(PASSED|FAILED) \S*test_(broken|mended)_\d\.py", done.stdout, re.MULTILINE
    )
    assert set(ended) == {("FAILED", "broken"), ("PASSED", "mended")}
    for _, invariant, _, _ in FOUND:
        assert f"violated: {invariant}" in done.stdout
    assert "the run is launched" in done.stdout, "the timeline is shown"


@pytest.mark.parametrize("saga", BROKEN, ids=lambda saga: saga.name)
def test_a_trace_replays_to_the_same_violation(saga: Saga[..., Any]) -> None:
    found = verify(saga).counterexample
    assert found is not None
    with pytest.raises(InvariantViolated) as violated:
        replay(saga, found.trace)
    assert str(violated.value) == told(found)


def test_a_trace_is_followed_in_a_saga_that_has_changed_since() -> None:
    """``pay_out`` is waited for, ``hold`` is over by then, and the run goes on to its end."""
    lines = [
        line.text for line in replay(mended.refusing_after_the_pivot, "do pay_out; refuse hold")
    ]
    assert lines == [
        "the run is launched",
        "hold is carried out",
        "pay_out is carried out",
        "left out, as it never became possible: refuse hold",
    ]


def test_a_trace_that_means_nothing_any_more_says_so() -> None:
    with pytest.raises(InvalidInputError, match="the saga has no 'count' any more"):
        replay(broken.sound, "do count")
    with pytest.raises(InvalidInputError, match="nothing of the trace is possible"):
        replay(broken.sound, "arrive-do hold")
    with pytest.raises(InvalidInputError, match="no move of a trace"):
        replay(broken.sound, "jump hold")
