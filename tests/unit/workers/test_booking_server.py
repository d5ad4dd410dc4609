"""The booking server keeps the promise that ``book_trip`` relies on: once per key, and a cancelled key stays so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from workers.booking_server import Bookings, BookingServer, Request

ROOM = {"kind": "hotel", "item": "Ritz", "guest": "ada"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    with BookingServer(0, tmp_path / "bookings.jsonl") as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        with httpx.Client(base_url=running.url) as client:
            yield client
        running.shutdown()
        thread.join()


def test_a_key_books_once(server: httpx.Client) -> None:
    first = server.put("/bookings/k1", json=ROOM)
    again = server.put("/bookings/k1", json=ROOM)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(server.get("/bookings").json()) == 1


def test_a_key_belongs_to_its_first_request(server: httpx.Client) -> None:
    server.put("/bookings/k1", json=ROOM)
    assert server.put("/bookings/k1", json=ROOM | {"item": "Savoy"}).status_code == 422


def test_a_booking_after_its_cancellation_is_turned_down(server: httpx.Client) -> None:
    assert server.delete("/bookings/k1").status_code == 200
    assert server.put("/bookings/k1", json=ROOM).status_code == 410
    assert server.post("/bookings/k1/confirmation").status_code == 409


def test_a_cancelled_place_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.booking_server.PLACES", {"Ritz": 1})
    bookings = Bookings(tmp_path / "bookings.jsonl")
    room = Request("hotel", "Ritz", "ada")
    assert bookings.book("k1", room).status == 201
    assert bookings.book("k2", room).status == 409
    bookings.cancel("k1")
    assert bookings.book("k2", room).status == 201


def test_bookings_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "bookings.jsonl"
    before = Bookings(file)
    before.book("k1", Request("car", "beetle", "ada"))
    before.confirm("k1")
    before.cancel("k2")
    assert Bookings(file).all() == before.all()


@pytest.mark.parametrize("body", [b"", b"{", b'{"kind": "ship", "item": "x", "guest": "y"}'])
def test_a_request_that_cannot_be_read_books_nothing(server: httpx.Client, body: bytes) -> None:
    assert server.put("/bookings/k1", content=body).status_code == 400
    assert server.get("/bookings").json() == []


def test_an_unknown_path_is_not_found(server: httpx.Client) -> None:
    assert server.post("/bookings/k1").status_code == 404
    assert server.put("/elsewhere", json=ROOM).status_code == 404
