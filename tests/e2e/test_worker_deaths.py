"""Workers that die at the worst moment, as real processes: nothing waits for ever, nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.client import Run
from tests.e2e.faulty import DEADLINE_S, DIE
from tests.e2e.installation import Installation, ended
from tests.e2e.storm import Process
from tests.servers import Valkey
from tests.waiting import eventually

SLACK_S = 5.0
"""For a busy machine."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def running(
    redis_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with (
        redis_server.database() as broker,
        Installation(tmp_path_factory.mktemp("installation"), broker) as it,
    ):
        it.coordinator()
        yield it


@pytest.fixture(scope="module")
def worker(running: Installation) -> Process:
    return running.worker()


def launch(running: Installation, saga: str, order: str, *trouble: str) -> Run[Any]:
    return running.client.launch_named(saga, {"order": order, "trouble": list(trouble)})


def in_doubt(running: Installation, run: Run[Any]) -> list[Any]:
    events = [record.event for record in running.client.history(run.id)]
    return [event for event in events if type(event).__name__ == "StepInDoubt"]


def test_s7_a_whole_worker_killed_in_the_middle_of_an_action(
    running: Installation, worker: Process
) -> None:
    """The run goes on within the step's deadline, though the broker has forgotten the message."""
    run = launch(running, "patient", "s7", "withdraw hangs")
    eventually((running.folder / "s7 hanging").exists, 60)
    worker.kill()
    assert ended(run) == "completed"
    [doubt, *_] = in_doubt(running, run)
    assert doubt.reason == "no answer before the deadline from bank.withdraw (queue saga.bank)"
    began_at = (running.folder / "s7 hanging").stat().st_mtime
    assert doubt.at - began_at < DEADLINE_S + SLACK_S
    assert running.diary(run).count("withdraw") >= 2
    assert running.effects(run) == (1, -10, 1)


def test_s8_a_pool_child_killed_after_its_commit_and_tried_again(
    running: Installation, worker: Process
) -> None:
    """The effect is counted once: the second attempt finds the row of the first."""
    (running.folder / DIE).touch()
    run = launch(running, "patient", "s8-again")
    assert ended(run) == "completed"
    assert not (running.folder / DIE).exists()
    assert [doubt.reason for doubt in in_doubt(running, run)] == ["the worker was lost"]
    assert running.diary(run) == ["withdraw", "book", "settle"]
    assert running.effects(run) == (1, -10, 1)


def test_s8_a_pool_child_killed_after_its_commit_and_given_up(
    running: Installation, worker: Process
) -> None:
    """The effect is undone: lost isn't failed."""
    (running.folder / DIE).touch()
    run = launch(running, "hasty", "s8-undone")
    assert ended(run) == "compensated"
    assert running.diary(run) == ["withdraw", "give back"]
    assert running.effects(run) == (2, 0, 0)


@pytest.mark.parametrize(
    ("saga", "outcome", "left", "diary"),
    [
        ("patient", "completed", (1, -10, 1), ["withdraw", "book", "book", "settle"]),
        ("hasty", "compensated", (2, 0, 0), ["withdraw", "book", "cancel booking", "give back"]),
    ],
)
def test_s8_a_pool_child_killed_after_an_effect_outside_any_database(
    running: Installation,
    worker: Process,
    saga: str,
    outcome: str,
    left: tuple[int, int, int],
    diary: list[str],
) -> None:
    """The idempotency key is the promise, for the second attempt and for the undo."""
    run = launch(running, saga, f"s8-outside-{saga}", "book dies")
    assert ended(run) == outcome
    assert running.diary(run) == diary
    assert running.effects(run) == left


def test_a_refusal_undoes_what_the_other_service_did(
    running: Installation, worker: Process
) -> None:
    run = launch(running, "hasty", "refused", "settle refuses")
    assert ended(run) == "compensated"
    assert running.effects(run) == (2, 0, 0)
    assert list(running.complaints()) == []
