"""Travel: flights, hotels and cars booked over HTTP. No database of its own: the idempotency key is the promise.

The booking server does a thing once per key, and remembers a cancelled key, so that a booking which arrives after its
cancellation is turned down. Whoever you call has to promise the same.
"""

from __future__ import annotations

import os
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from orchestrator import Call, Refused, Retry, Service

BOOKING_URL = os.environ.get("BOOKING_URL", "http://127.0.0.1:8470")
REFUSALS = frozenset({HTTPStatus.CONFLICT, HTTPStatus.GONE})

trips = Service("trips", timeout=20, retry=Retry(attempts=6))


class Booking(msgspec.Struct, frozen=True):
    """Something that was booked. ``key`` is how the server knows it."""

    key: str
    item: str


class Approval(msgspec.Struct, frozen=True):
    """What a person said."""

    granted: bool
    by: str


@trips.participant
def book_flight(call: Call, traveller: str, flight: str) -> Booking:
    """Book a seat."""
    return _book(call, "flight", flight, traveller)


@trips.participant
def book_hotel(call: Call, traveller: str, hotel: str) -> Booking:
    """Book a room."""
    return _book(call, "hotel", hotel, traveller)


@trips.participant
def book_car(call: Call, traveller: str, car: str) -> Booking:
    """Book a car."""
    return _book(call, "car", car, traveller)


@book_flight.undo
@book_hotel.undo
@book_car.undo
def cancel(call: Call) -> None:
    """Cancel by the key, which is known even when the booking's outcome isn't."""
    _ask("DELETE", f"/bookings/{_key(call.idempotency_key)}")


@trips.participant(retry=Retry(attempts=None, budget=timedelta(days=1)))
def confirm(bookings: list[Booking], approval: Approval) -> str:
    """Make the bookings final. Doing so again changes nothing, so it needs no key of its own."""
    if not approval.granted:
        raise Refused(f"not approved by {approval.by}")
    for booking in bookings:
        _ask("POST", f"/bookings/{booking.key}/confirmation")
    return f"approved by {approval.by}"


def _book(call: Call, kind: str, item: str, guest: str) -> Booking:
    key = _key(call.idempotency_key)
    _ask("PUT", f"/bookings/{key}", {"kind": kind, "item": item, "guest": guest})
    return Booking(key, item)


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> None:
    """A clear no is a ``Refused``; anything else that isn't a yes raises, and is tried again."""
    answer = httpx.request(method, f"{BOOKING_URL}{path}", json=body, timeout=10)
    if answer.status_code in REFUSALS:
        raise Refused(answer.json()["error"])
    answer.raise_for_status()


def _key(idempotency_key: str) -> str:
    return quote(idempotency_key, safe="")
