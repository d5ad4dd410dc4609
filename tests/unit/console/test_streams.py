"""Live news: each event once, from where a listener left off, and for nobody who may not see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect

from orchestrator.console.access import Principal, Role
from orchestrator.console.desk import Desk
from orchestrator.console.limits import TooManyError
from orchestrator.console.security import Parts
from orchestrator.console.streams import ListNews, Places, RunNews, Stream, _told, read_places
from orchestrator.errors import InvalidInputError, RunNotFoundError
from tests.unit.console.desks import Desks

ANN = Principal("ann", Role.OPERATOR)
LIMITED = Principal("eve", Role.VIEWER, sagas=("other",))


def desk_of(desks: Desks) -> Desk:
    parts: Parts = desks.app().state.parts
    return parts.desk


def test_a_run_tells_what_is_new_once(desks: Desks) -> None:
    desks.stuck()
    look = RunNews(desk_of(desks), ANN, "aaaa", 2)
    news = look()
    assert news is not None
    at, told = news
    assert at == str(len(desks.store.history("aaaa1111")))
    assert told["events"][0].type == "StepRefused"
    assert look() is None
    desks.mend()
    desks.http().post("/api/v1/runs/aaaa1111/retry", json={})
    news = look()
    assert news is not None
    assert news[1]["events"][0].type == "StepRetried"


def test_the_list_tells_rows_that_changed_and_resumes(desks: Desks) -> None:
    desks.stuck()
    desk = desk_of(desks)
    places = Places(desk, 5)
    look = ListNews(desk, ANN, places, "")
    assert look() is None
    desks.launch("bbbb2222")
    desks.turns()
    desks.clock += 1
    at_first = "0:0,1:0"
    news = look()
    assert news is not None
    assert [run.run_id for run in news[1]["runs"]] == ["bbbb2222"]
    assert look() is None
    again = ListNews(desk, ANN, places, at_first)()
    assert again is not None
    assert {run.run_id for run in again[1]["runs"]} == {"aaaa1111", "bbbb2222"}
    assert read_places(again[0]).keys() == {0, 1}
    with pytest.raises(InvalidInputError):
        read_places("here")


def test_nobody_hears_of_what_they_may_not_see(desks: Desks) -> None:
    desks.stuck()
    desk = desk_of(desks)
    assert ListNews(desk, LIMITED, Places(desk, 5), "0:0,1:0")() is None
    with pytest.raises(RunNotFoundError):
        RunNews(desk, LIMITED, "aaaa1111", 0)


def test_a_stream_is_events_with_ids_and_ends_when_its_listener_goes(desks: Desks) -> None:
    desks.stuck()
    desk = desk_of(desks)

    async def gone() -> bool:
        return True

    async def listen(who: Principal) -> list[bytes]:
        look = RunNews(desk, who, "aaaa1111", 0)
        return [part async for part in _told(desk, who, look, gone)]

    retry, event = asyncio.run(listen(ANN))
    assert retry.startswith(b"retry: ")
    id_, name, data = event.decode().rstrip().split("\n")
    assert (id_, name) == (f"id: {len(desks.store.history('aaaa1111'))}", "event: run")
    told: Any = msgspec.json.decode(data.removeprefix("data: "))
    assert told["run"]["status"] == "stuck"
    over = msgspec.structs.replace(ANN, expires_at=desks.clock)
    assert len(asyncio.run(listen(over))) == 1, "nothing is told once the credentials are over"


def test_there_are_no_more_streams_than_may_be(desks: Desks) -> None:
    places = Places(desk_of(desks), 1)
    places.enter()
    with pytest.raises(TooManyError):
        places.enter()
    places.leave()
    places.enter()


def test_a_listener_that_is_gone_at_once_gives_its_place_back() -> None:
    left: list[bool] = []

    async def words() -> AsyncIterator[bytes]:
        yield b"never heard"

    async def send(message: Any) -> None:
        raise OSError("the listener is gone")

    async def receive() -> Any:
        await asyncio.Event().wait()

    stream = Stream(words(), lambda: left.append(True))
    scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(ClientDisconnect):
        asyncio.run(stream(scope, receive, send))
    assert left == [True]
