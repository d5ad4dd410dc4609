"""The shipped sagas with the ``sagas`` fixture: what real servers do rarely, in no time."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from orchestrator.kernel.events import StepInDoubt
from orchestrator.testing import Sagas
from sagas.orders import Order, place_order
from sagas.trips import Trip, book_trip
from workers import inventory, mail, payments, shipping, trips
from workers.booking_server import Bookings
from workers.inventory import Article, Held, reserve
from workers.mail import Receipt, send_receipt
from workers.payments import Account, Bank, BankUnreachableError, Payment, charge
from workers.shipping import Parcel, Zone, dispatch, quote
from workers.trips import Approval, Booking, book_car, book_flight, book_hotel, confirm

ORDER = Order("1", "north-01", "apple", 2, 80, "1 Quay, Town")
TRIP = Trip("ada", "LH 400", "Ritz", "beetle")


@pytest.fixture
def shelf(sagas: Sagas) -> Engine:
    """A warehouse with five apples."""
    engine = sagas.database(inventory.inventory, tables=inventory.Tables)
    with Session(engine) as session, session.begin():
        session.add(Article(sku="apple", weight_g=150, stock=5))
    return engine


@pytest.fixture
def bank(sagas: Sagas) -> Engine:
    """A bank with one customer."""
    engine = sagas.database(payments.payments, tables=payments.Tables)
    with Session(engine) as session, session.begin():
        session.add(Bank(name="northbank"))
        session.add(Account(customer="north-01", bank="northbank", balance_cents=100))
    return engine


def _stock(engine: Engine) -> int:
    with Session(engine) as session:
        return session.get_one(Article, "apple").stock


def _balance(engine: Engine) -> int:
    with Session(engine) as session:
        return session.get_one(Account, "north-01").balance_cents


# -- orders


def test_an_order_without_any_database(sagas: Sagas) -> None:
    sagas.when(charge).returns(Payment(7, 80))
    sagas.when(dispatch).returns(Parcel("TOWN-1", 300))
    sagas.when(send_receipt).does(lambda customer, payment, parcel: Receipt(1, parcel.tracking, 80))
    run = sagas.run(place_order, ORDER)
    assert run.result == Receipt(1, "TOWN-1", 80)
    assert run.did == [reserve, {charge, quote}, dispatch, send_receipt]
    assert run.calls(send_receipt)[0].args["payment"] == {"id": 7, "amount_cents": 80}


def test_a_declined_card_frees_the_articles(sagas: Sagas, shelf: Engine, bank: Engine) -> None:
    run = sagas.run(place_order, Order("2", "north-01", "apple", 2, 101, "1 Quay, Town"))
    assert run.compensated
    assert run.reason == "charge: card declined"
    assert run.cause is not None
    assert run.cause.data == {"missing_cents": 1}
    assert run.undid == [reserve]
    assert (_stock(shelf), _balance(bank)) == (5, 100)
    with Session(shelf) as session:
        assert session.get_one(Held, 1).released


def test_a_lost_answer_charges_once(sagas: Sagas, shelf: Engine, bank: Engine) -> None:
    sagas.when(reserve).is_lost()
    sagas.when(charge).is_lost(times=3)
    run = sagas.run(place_order, ORDER)
    assert run.completed
    assert run.event(StepInDoubt, charge).attempt == 1
    assert len(run.calls(charge)) == 4
    assert (_stock(shelf), _balance(bank)) == (3, 20)


def test_a_bank_that_is_too_slow_for_good_is_paid_back(
    sagas: Sagas, shelf: Engine, bank: Engine
) -> None:
    """Every answer is lost, so nobody knows; the refund finds what was charged."""
    sagas.when(charge).is_lost(times=None)
    run = sagas.run(place_order, ORDER)
    assert run.compensated
    assert run.did == [reserve, {charge, quote}]
    assert run.undid == [charge, reserve]
    assert (_stock(shelf), _balance(bank)) == (5, 100)


def test_a_boat_that_is_full_gives_the_money_back(sagas: Sagas, bank: Engine) -> None:
    couriers = sagas.database(shipping.shipping, tables=shipping.Tables)
    with Session(couriers) as session, session.begin():
        session.add(Zone(name="Town", cents_per_kg=300, places=0))
    sagas.when_undoing(charge).fails(BankUnreachableError("busy"), times=4)
    run = sagas.run(place_order, ORDER)
    assert run.reason == "dispatch: no place left on the boat to Town"
    assert run.undid == [charge, reserve]
    assert _balance(bank) == 100


def test_a_refund_that_never_works_is_stuck_until_the_line_is_mended(
    sagas: Sagas, shelf: Engine, bank: Engine
) -> None:
    sagas.when(dispatch).refuses("no boat today")
    down = sagas.when_undoing(charge).fails(BankUnreachableError("the line is down"))
    run = sagas.run(place_order, ORDER)
    assert run.stuck
    assert run.parked == [charge]
    assert (_stock(shelf), _balance(bank)) == (5, 20)  # the articles are free all the same
    down.ends()
    run.retry(reason="the line is mended")
    assert run.compensated
    assert _balance(bank) == 100


def test_a_receipt_is_tried_for_an_hour_and_then_needs_a_person(sagas: Sagas) -> None:
    """It stands behind the pivot: the order can't go back."""
    sagas.when(send_receipt).fails()
    run = sagas.run(place_order, ORDER)
    assert run.stuck
    assert run.parked == [mail.send_receipt]
    assert run.undid == []
    waited_s = run.events[-1].at - run.state.launched_at
    assert timedelta(minutes=59) < timedelta(seconds=waited_s) < timedelta(hours=1)
    run.skip(send_receipt, Receipt(0, "by hand", 80), reason="told them by telephone")
    assert run.result.tracking == "by hand"


def test_an_undo_that_comes_twice_puts_back_once(sagas: Sagas, shelf: Engine) -> None:
    assert sagas.run(place_order, ORDER).completed
    sagas.when(charge).refuses()
    sagas.when_undoing(reserve).comes_twice()
    assert sagas.run(place_order, ORDER).undid == [reserve]
    assert _stock(shelf) == 3


def test_no_fault_breaks_an_order(sagas: Sagas) -> None:
    assert sagas.verify(place_order, faults=1).worlds > 50


# -- trips


def test_a_trip_is_approved_on_the_second_day(sagas: Sagas) -> None:
    sagas.stand_in(trips.trips)
    run = sagas.start(book_trip, TRIP)
    sagas.advance(hours=47)
    assert run.waiting == ["approval"]
    run.signal("approval", Approval(granted=True, by="grace"))
    assert run.completed
    assert run.did == [{book_flight, book_hotel, book_car}, confirm]


def test_a_trip_that_nobody_approves_is_cancelled(sagas: Sagas) -> None:
    sagas.stand_in(trips.trips)
    sagas.when(book_hotel).returns(Booking("k", "Ritz"))
    run = sagas.run(book_trip, TRIP)
    assert run.compensated
    assert run.undid == {book_flight, book_hotel, book_car}
    assert sagas.now.day == 3


def test_a_real_booking_server_books_once_under_one_key(
    sagas: Sagas, bookings: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs over HTTP is the participants' own code; what is lost is what the test says."""
    monkeypatch.setattr(trips, "BOOKING_URL", os.environ["BOOKING_URL"])
    sagas.when(book_hotel).is_lost()
    sagas.when(book_car).comes_twice()
    run = sagas.start(book_trip, TRIP)
    sagas.advance(minutes=5)
    assert Counter(booking.status for booking in bookings.all().body) == {"booked": 3}
    run.signal("approval", Approval(granted=False, by="grace"))
    assert run.reason == "confirm: not approved by grace"
    assert Counter(booking.status for booking in bookings.all().body) == {"cancelled": 3}


def test_a_hotel_that_never_answers_is_cancelled_by_its_key(
    sagas: Sagas, bookings: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No result was ever heard, and the undo does without."""
    monkeypatch.setattr(trips, "BOOKING_URL", os.environ["BOOKING_URL"])
    sagas.when(book_hotel).is_lost(times=None)
    run = sagas.run(book_trip, TRIP)
    assert run.compensated
    assert "book_hotel" in run.reason
    assert Counter(booking.status for booking in bookings.all().body) == {"cancelled": 3}
