"""``book_trip``: booked over HTTP, approved or not, and cancelled by key."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator import Compensated
from tests.unit.sagas.conftest import Here
from tests.waiting import eventually
from workers.booking_server import Bookings

WAIT_S = 30.0


def _launch(travel: Here, hotel: str = "Ritz") -> Any:
    trip = travel.module.Trip("ada", "LH 400", hotel, "beetle")
    return travel.client.launch(travel.module.book_trip, trip)


def _statuses(bookings: Bookings) -> Counter[str]:
    return Counter(booking.status for booking in bookings.all().body)


def test_a_trip_waits_for_its_approval_and_is_confirmed(travel: Here, bookings: Bookings) -> None:
    run = _launch(travel)
    eventually(lambda: run.summary().steps == ("approval",), WAIT_S)
    assert _statuses(bookings) == {"booked": 3}
    run.signal("approval", {"granted": True, "by": "grace"})
    itinerary = run.result(WAIT_S)
    assert (itinerary.hotel.item, itinerary.remark) == ("Ritz", "approved by grace")
    assert _statuses(bookings) == {"confirmed": 3}


def test_a_trip_that_is_not_approved_is_cancelled(travel: Here, bookings: Bookings) -> None:
    run = _launch(travel)
    run.signal("approval", {"granted": False, "by": "grace"})
    with pytest.raises(Compensated, match="not approved by grace"):
        run.result(WAIT_S)
    assert _statuses(bookings) == {"cancelled": 3}


def test_a_sold_out_hotel_cancels_the_flight_and_the_car(travel: Here, bookings: Bookings) -> None:
    with pytest.raises(Compensated, match="Ghost Hotel is sold out"):
        _launch(travel, "Ghost Hotel").result(WAIT_S)
    assert set(_statuses(bookings)) == {"cancelled"}


def test_a_trip_can_be_cancelled_while_it_waits(travel: Here, bookings: Bookings) -> None:
    run = _launch(travel)
    eventually(lambda: run.summary().steps == ("approval",), WAIT_S)
    run.cancel("changed my mind")
    with pytest.raises(Compensated, match="changed my mind"):
        run.result(WAIT_S)
    assert _statuses(bookings) == {"cancelled": 3}
