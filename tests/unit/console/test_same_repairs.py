"""A repair is the same from the command line, from Python, over HTTP and by the pages: the same events, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from starlette.testclient import TestClient

from orchestrator.client import AsyncClient, Client, ClientOptions
from orchestrator.console import Role
from tests.unit.cli.stage import ACTOR
from tests.unit.console.desks import SECRETS, Desks, hidden

WHY = "as agreed"
_OF_THE_SENDER = {"actor", "at", "request", "signal_id", "run_id", "started_at", "worker"}
"""What may differ: who asked, when, under which id, for which run."""


class Repair(NamedTuple):
    """One repair, of a run made by ``made``, in the words of each way to ask for it."""

    made: str
    operation: str
    command: tuple[str, ...]
    asked: dict[str, Any]


REPAIRS = (
    Repair("stuck", "retry", ("--step", "reserve"), {"step": "reserve"}),
    Repair("stuck", "resolve", ("reserve", "--undone"), {"step": "reserve", "undone": True}),
    Repair("stuck", "acknowledge", (), {}),
    Repair("parked", "retry", (), {}),
    Repair(
        "parked",
        "skip",
        ("charge", "--result", '{"id": 7}'),
        {"step": "charge", "result": {"id": 7}},
    ),
    Repair("parked", "resolve", ("charge", "--result", "[1]"), {"step": "charge", "result": [1]}),
    Repair("waiting", "signal", ("approval", "true"), {"name": "approval", "data": True}),
    Repair("waiting", "cancel", (), {}),
    Repair("waiting", "compensate", (), {}),
)


def by_command(desks: Desks, _: TestClient, run: str, repair: Repair) -> None:
    words = ("incidents", "ack") if repair.operation == "acknowledge" else (repair.operation,)
    done = desks.run(*words, run, *repair.command, "--reason", WHY)
    assert done.exit_code == 0, done.output


def by_python(desks: Desks, _: TestClient, run: str, repair: Repair) -> None:
    client = Client(desks.store, {}, options=ClientOptions("py"), clock=desks.now)
    getattr(client, repair.operation)(run, reason=WHY, **repair.asked)


def by_async_python(desks: Desks, _: TestClient, run: str, repair: Repair) -> None:
    client = Client(desks.store, {}, options=ClientOptions("apy"), clock=desks.now)
    asyncio.run(getattr(AsyncClient(client), repair.operation)(run, reason=WHY, **repair.asked))


def by_http(_: Desks, browser: TestClient, run: str, repair: Repair) -> None:
    asked = {**repair.asked, "reason": WHY}
    program = {"Authorization": f"Bearer {SECRETS[Role.OPERATOR]}"}
    path = f"/api/v1/runs/{run}/{repair.operation}"
    done = browser.post(path, json=asked, headers=program)
    assert done.status_code == 200, done.text


def by_page(_: Desks, browser: TestClient, run: str, repair: Repair) -> None:
    fields = {
        name: msgspec.json.encode(value).decode() if name in {"result", "data", "args"} else value
        for name, value in repair.asked.items()
    }
    path = f"/runs/{run}/act/{repair.operation}"
    asked = browser.get(path, params={"asked": "1", **fields})
    done = browser.post(path, data={**hidden(asked.text), "reason": WHY})
    assert "Done" in done.text, done.text


WAYS: tuple[Callable[[Desks, TestClient, str, Repair], None], ...] = (
    *(by_command, by_python, by_async_python, by_http, by_page),
)


@pytest.mark.parametrize("repair", REPAIRS, ids=lambda one: f"{one.operation} {one.made}")
def test_every_way_gives_the_same_events(desks: Desks, repair: Repair) -> None:
    runs = [f"{letter * 4}1111" for letter in "abcde"[: len(WAYS)]]
    for run in runs:
        getattr(desks, repair.made)(run)
    before = {run: len(desks.store.history(run)) for run in runs}
    desks.mend()
    browser = desks.browser()
    for way, run in zip(WAYS, runs, strict=True):
        way(desks, browser, run, repair)
        desks.turns()
    told = [_events(desks, run)[before[run] :] for run in runs]
    assert told[0]
    assert [told[0]] * len(WAYS) == told
    first = [desks.store.history(run)[before[run]].event for run in runs]
    assert [(getattr(event, "actor", ""), getattr(event, "reason", "")) for event in first] == [
        (actor, WHY) for actor in (ACTOR, "py", "apy", "the operator", "the operator")
    ]


def _events(desks: Desks, run: str) -> list[dict[str, Any]]:
    events = [record.event for record in desks.store.history(run)]
    return [
        {
            name: value
            for name, value in msgspec.to_builtins(event).items()
            if name not in _OF_THE_SENDER
        }
        for event in events
    ]
