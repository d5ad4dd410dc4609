"""A trip: booked over HTTP with three companies at once, final when a person has approved it."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from orchestrator import parallel, saga, wait_for
from workers import trips
from workers.trips import Approval, Booking


class Trip(msgspec.Struct, frozen=True):
    """What somebody wants to do."""

    traveller: str
    flight: str
    hotel: str
    car: str


class Itinerary(msgspec.Struct, frozen=True):
    """What they may look forward to."""

    flight: Booking
    hotel: Booking
    car: Booking
    remark: str


@saga(version=1)
def book_trip(trip: Trip) -> Itinerary:
    """Book everything, ask, then confirm. No answer within two days, or a no, cancels it all."""
    with parallel():
        flight = trips.book_flight(trip.traveller, trip.flight)
        hotel = trips.book_hotel(trip.traveller, trip.hotel)
        car = trips.book_car(trip.traveller, trip.car)
    approval = wait_for("approval", Approval, timeout=timedelta(days=2))
    remark = trips.confirm.pivot([flight, hotel, car], approval)
    return Itinerary(flight, hotel, car, remark)


book_trip.accept(
    "no-idempotency-key", "confirm", reason="confirming a booking twice changes nothing"
)
