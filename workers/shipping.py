"""Shipping: what a parcel costs where, and the parcels handed to couriers."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from celery.signals import worker_init
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Refused, Retry, Service
from workers.databases import database_url, prepare

shipping = Service("shipping", database=database_url("shipping"), timeout=60)


class Tables(DeclarativeBase):
    """The tables of this service."""


class Zone(Tables):
    """Where couriers go. ``places`` is how many parcels they still take; it never goes below 0."""

    __tablename__ = "zone"

    name: Mapped[str] = mapped_column(primary_key=True)
    cents_per_kg: Mapped[int]
    places: Mapped[int]


class Sent(Tables):
    """A parcel that is on its way."""

    __tablename__ = "sent"

    id: Mapped[int] = mapped_column(primary_key=True)
    zone: Mapped[str]
    weight_g: Mapped[int]


class Label(msgspec.Struct, frozen=True):
    """An offer: where to, and for how much."""

    zone: str
    weight_g: int
    price_cents: int


class Parcel(msgspec.Struct, frozen=True):
    """What the customer can follow."""

    tracking: str
    price_cents: int


@shipping.participant(read_only=True)
def quote(session: Session, address: str, weight_g: int) -> Label:
    """Say what it costs; the last word of the address is the zone. Changes nothing, so there is nothing to undo."""
    name = address.rsplit(maxsplit=1)[-1]
    zone = session.get(Zone, name)
    if zone is None:
        raise Refused(f"no courier goes to {name}")
    kilograms = -(-weight_g // 1000)
    return Label(zone.name, weight_g, kilograms * zone.cents_per_kg)


@shipping.participant(retry=Retry(attempts=None, budget=timedelta(hours=1)))
def dispatch(session: Session, label: Label) -> Parcel:
    """Hand the parcel to a courier. It can't be called back."""
    zone = session.get_one(Zone, label.zone, with_for_update=True)
    if zone.places == 0:
        raise Refused(f"no place left on the boat to {zone.name}")
    zone.places -= 1
    sent = Sent(zone=zone.name, weight_g=label.weight_g)
    session.add(sent)
    session.flush()
    return Parcel(f"{zone.name.upper()}-{sent.id:06}", label.price_cents)


FIRST_ZONES = {
    "Town": (300, 10_000),
    "Country": (500, 10_000),
    "Island": (1_200, 6),
    "Lighthouse": (2_500, 0),
}
"""Zone to price in cents per kilogram, and places for parcels. The boats are small."""


@worker_init.connect
def prepare_database(**_signal: object) -> None:
    """Make the tables and the zones, before the first worker process starts."""
    zones = [Zone(name=name, cents_per_kg=c, places=n) for name, (c, n) in FIRST_ZONES.items()]
    prepare("shipping", Tables, zones)
