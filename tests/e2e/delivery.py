"""The shop of the story that ``make story`` tells: two of its services break, each in its own way.

What is broken is a file in the folder that ``DELIVERY_FOLDER`` names, so that it can be mended while processes run.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from orchestrator import Refused, Retry, Service, parallel, saga

FOLDER = "DELIVERY_FOLDER"
BRIEF = Retry(attempts=2, initial=0.01, cap=0.02)
TARIFFS = {"DE": 5, "FR": 7}

stock = Service("stock")
bank = Service("bank")
post = Service("post")
mail = Service("mail")


class Parcel(msgspec.Struct):
    """What is sent, to which country, and to whom the receipt goes."""

    order: str
    country: str
    customer: str


class Fate(NamedTuple):
    """What stops an order, and how many of them."""

    broken: str
    orders: int
    country: str
    customer: str = "ada@example.org"


def fates(total: int) -> tuple[Fate, Fate, Fate]:
    """So many orders in three clusters: the post's new country, the bank's refunds, customers without an address."""
    refunds, mails = total * 3 // 10, max(3, total // 20)
    return (
        Fate("post", total - refunds - mails, "PT"),
        Fate("bank", refunds, "XX"),
        Fate("mail", mails, "DE", ""),
    )


def break_down(folder: Path, *what: str) -> None:
    """From now on these services do badly what the story needs of them."""
    for service in what:
        (folder / f"{service}-is-broken").touch()


def mend(folder: Path, *what: str) -> None:
    """They do well again."""
    for service in what:
        (folder / f"{service}-is-broken").unlink()


def _is_broken(service: str) -> bool:
    return (Path(os.environ[FOLDER]) / f"{service}-is-broken").exists()


@stock.participant
def reserve(parcel: Parcel) -> str:
    """Put it aside."""
    return f"shelf {len(parcel.order)}"


@reserve.undo
def put_back(parcel: Parcel) -> None:
    """Put it back."""


@bank.participant
def charge(parcel: Parcel) -> str:
    """Take the money."""
    return f"payment of {parcel.order}"


@charge.undo(retry=BRIEF)
def refund(parcel: Parcel) -> None:
    """Give it back, while the bank is open."""
    if _is_broken("bank"):
        raise ConnectionError(f"the bank is closed: no refund of {len(parcel.order) * 1_000}")


@post.participant
def book(parcel: Parcel) -> None:
    """Have the courier come; nobody sends one away again."""
    if parcel.country == "XX":
        raise Refused(f"no such country: {parcel.country!r}")


def tariff_of(country: str) -> int:
    """What a parcel there costs; the release that broke it forgot a country."""
    known = TARIFFS if _is_broken("post") else {**TARIFFS, "PT": 9}
    return known[country]


@post.participant(retry=BRIEF)
def print_label(parcel: Parcel) -> int:
    """Price it."""
    return tariff_of(parcel.country)


@mail.participant(retry=BRIEF)
def send_receipt(customer: str, price: int) -> str:
    """Tell the customer; by letter, where there is no address."""
    if not customer and _is_broken("mail"):
        raise ValueError("the customer has no mail address")
    return "mail" if customer else "letter"


@saga(version=1)
def deliver_parcel(parcel: Parcel) -> str:
    """Sell and send something: what is charged can be given back until the courier is booked."""
    with parallel():
        reserve(parcel)
        charge(parcel)
    book.pivot(parcel)
    price = print_label(parcel)
    return send_receipt(parcel.customer, price)


def orders(made: Sequence[Fate]) -> list[Parcel]:
    """One for each that gets stuck, mixed, and as many again that nothing happens to."""
    queues = [
        [Parcel(f"{fate.broken}-{n}", fate.country, fate.customer) for n in range(fate.orders)]
        for fate in made
    ]
    fine = [Parcel(f"fine-{n}", "DE", "ada@example.org") for n in range(sum(map(len, queues)) // 4)]
    mixed = [parcel for queue in [*queues, fine] for parcel in queue]
    return sorted(mixed, key=lambda parcel: zlib.crc32(parcel.order.encode()))
