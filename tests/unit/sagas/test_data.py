"""The orders that ship: what the program makes, and inputs of the saga."""

from __future__ import annotations

import msgspec

from sagas.data.make_orders import FILE, encoded, orders
from sagas.orders import Order, place_order
from sagas.trips import Trip, book_trip


def test_the_file_is_what_the_program_makes() -> None:
    assert FILE.read_bytes() == encoded()


def test_every_line_is_an_input_of_place_order() -> None:
    lines = FILE.read_bytes().splitlines()
    assert len(lines) == 300
    for line in lines:
        given = msgspec.json.decode(line, type=dict[str, Order])
        assert place_order.encode_input(**given) == msgspec.json.decode(line)


def test_the_examples_are_inputs_of_their_sagas() -> None:
    order = msgspec.json.decode((FILE.parent / "order.json").read_bytes(), type=dict[str, Order])
    assert place_order.encode_input(**order)
    trip = msgspec.json.decode((FILE.parent / "trip.json").read_bytes(), type=dict[str, Trip])
    assert book_trip.encode_input(**trip)
    transfer = msgspec.json.decode((FILE.parent / "transfer.json").read_bytes())
    assert transfer == {
        "order": {"source": "account-001", "target": "account-002", "amount_cents": 2500}
    }


def test_ids_are_unique() -> None:
    ids = [order.id for order in orders()]
    assert len(set(ids)) == len(ids)
