"""A small booking server to play with (``python -m workers.booking_server``): what airlines and hotels offer over HTTP.

    PUT    /bookings/KEY   {"kind", "item", "guest"}   book; the same key books once
    POST   /bookings/KEY/confirmation                  confirm a booking
    DELETE /bookings/KEY                               cancel; a key that comes later is turned down
    GET    /bookings                                   everything, for counting

The key is the caller's idempotency key. Bookings are kept in memory and in a file, from which they are read at start.
"""

from __future__ import annotations

import argparse
import functools
import os
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

PORT = 8470
PLACES = {"Ghost Hotel": 0}
"""Items with few places; all others have as many as are wanted."""


class Request(msgspec.Struct, frozen=True):
    """The body of a booking."""

    kind: Literal["flight", "hotel", "car"]
    item: str
    guest: str


class Booking(msgspec.Struct):
    """What the server knows of a key. A cancelled key that was never booked has no request."""

    key: str
    status: Literal["booked", "confirmed", "cancelled"]
    request: Request | None = None


class Answer(NamedTuple):
    """What goes back."""

    status: HTTPStatus
    body: Any


class Bookings:
    """The books. Every change is on disk before it is answered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._by_key: dict[str, Booking] = {}
        if file.exists():
            for line in file.read_bytes().splitlines():
                booking = msgspec.json.decode(line, type=Booking)
                self._by_key[booking.key] = booking

    def book(self, key: str, request: Request) -> Answer:
        """Book once; a repetition gets the first answer."""
        with self._lock:
            known = self._by_key.get(key)
            if known is not None and known.status == "cancelled":
                return Answer(HTTPStatus.GONE, {"error": "this key was cancelled"})
            if known is not None and known.request != request:
                return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "another request has it"})
            if known is not None:
                return Answer(HTTPStatus.OK, known)
            if self._taken(request.item) >= PLACES.get(request.item, 1_000_000):
                return Answer(HTTPStatus.CONFLICT, {"error": f"{request.item} is sold out"})
            return Answer(HTTPStatus.CREATED, self._keep(Booking(key, "booked", request)))

    def confirm(self, key: str) -> Answer:
        """Make a booking final; again is fine."""
        with self._lock:
            known = self._by_key.get(key)
            if known is None or known.status == "cancelled":
                return Answer(HTTPStatus.CONFLICT, {"error": "there is no such booking"})
            return Answer(HTTPStatus.OK, self._keep(Booking(key, "confirmed", known.request)))

    def cancel(self, key: str) -> Answer:
        """Free the place; what was never booked can't be booked under this key any more."""
        with self._lock:
            known = self._by_key.get(key)
            request = None if known is None else known.request
            return Answer(HTTPStatus.OK, self._keep(Booking(key, "cancelled", request)))

    def all(self) -> Answer:
        """Every booking."""
        with self._lock:
            return Answer(HTTPStatus.OK, list(self._by_key.values()))

    def _taken(self, item: str) -> int:
        return sum(
            booking.request is not None
            and booking.request.item == item
            and booking.status != "cancelled"
            for booking in self._by_key.values()
        )

    def _keep(self, booking: Booking) -> Booking:
        self._by_key[booking.key] = booking
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(booking) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return booking


class BookingServer(ThreadingHTTPServer):
    """The server; ``serve_forever`` runs it. Port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, port: int, file: Path, host: str = "127.0.0.1") -> None:
        self.bookings = Bookings(file)
        super().__init__((host, port), functools.partial(_Handler, self.bookings))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, bookings: Bookings, *connection: Any) -> None:
        self._bookings = bookings
        super().__init__(*connection)

    def do_GET(self) -> None:
        self._answer(self._key() is None)

    def do_PUT(self) -> None:
        self._answer(self._key() is not None)

    def do_POST(self) -> None:
        self._answer(self.path.endswith("/confirmation"))

    def do_DELETE(self) -> None:
        self._answer(self._key() is not None)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Stay quiet: the caller's log says what was asked."""

    def _answer(self, known: bool) -> None:  # noqa: FBT001 - whether the path fits the method
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = self._outcome(body) if known else Answer(HTTPStatus.NOT_FOUND, {"error": "no"})
        encoded = msgspec.json.encode(answer.body)
        self.send_response(answer.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _outcome(self, body: bytes) -> Answer:
        bookings, key = self._bookings, self._key()
        match self.command:
            case "PUT" if key is not None:
                try:
                    return bookings.book(key, msgspec.json.decode(body, type=Request))
                except msgspec.DecodeError as error:
                    return Answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            case "POST" if key is not None:
                return bookings.confirm(key)
            case "DELETE" if key is not None:
                return bookings.cancel(key)
            case _:
                return bookings.all()

    def _key(self) -> str | None:
        match self.path.strip("/").split("/"):
            case ["bookings", key, *_]:
                return key
            case _:
                return None


def main() -> None:
    """Run the server until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m workers.booking_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--file", type=Path, default=Path("bookings.jsonl"))
    given = parser.parse_args()
    given.file.parent.mkdir(parents=True, exist_ok=True)
    with BookingServer(given.port, given.file, given.host) as server:
        print(f"booking server on {server.url}, bookings in {given.file}", flush=True)  # noqa: T201
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
