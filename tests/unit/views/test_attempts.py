"""What was tried more than once, in words."""

from __future__ import annotations

from orchestrator.kernel.events import CommandKind
from orchestrator.views.attempts import Attempt, repeated


def _tried(*kinds: CommandKind) -> list[str]:
    return list(
        repeated(Attempt(kind, number, 0.0, "failed") for number, kind in enumerate(kinds, 1))
    )


def test_an_action_and_its_undo_are_not_two_attempts() -> None:
    assert _tried("do", "undo") == []


def test_what_was_tried_again_is_counted_by_direction() -> None:
    assert _tried("do", "do", "undo", "undo", "undo") == ["2 attempts", "3 undo attempts"]
