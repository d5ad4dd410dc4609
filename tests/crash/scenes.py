"""What is played: the shipped sagas, each on a path that succeeds, one that is refused late, and, where undos are
called, one on which an undo fails before it works.

The services read where their databases are when they are imported, so a scene imports them when it is asked for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Engine, text

from orchestrator.definition.saga import Saga
from orchestrator.journal.port import Journal, LaunchRequest
from orchestrator.kernel.messages import Launch, Signal
from orchestrator.kernel.program import Program
from orchestrator.participant.service import Service
from orchestrator.transport.messages import Work

RUN = "c0ffee00c0ffee00c0ffee00c0ffee00"
"""The run's id, always the same: the jitter of its retries comes from it."""
START = 1_000_000.0
SHOP = ("inventory", "payments", "shipping", "mail")

Trouble = Callable[[Work], bool]
"""Whether a command finds the world outside in trouble."""


class Counted(NamedTuple):
    """A number in a service's database: what it has to be after a run that completed, and after any other."""

    what: str
    service: str
    query: str
    completed: int
    otherwise: int


class Scene:
    """One run of one saga, and what it must leave behind. The base of both."""

    databases: Sequence[str] = ()
    """The services that have a database."""

    kinds: Sequence[str] = ("sqlite", "postgresql")
    """The kinds of database it can be played on."""

    undecidable: str = ""
    """A step that a person has to decide on when its outcome is unknown: a pivot without a barrier."""

    def __init__(self, path: str, outcome: str, trouble: Trouble) -> None:
        self.path = path
        self.outcome = outcome
        """How the run ends when nobody dies, and therefore when somebody does."""
        self._trouble = trouble

    def trouble(self, work: Work) -> None:
        """Raise if this is the command that finds the world outside in trouble."""
        if self._trouble(work):
            raise ConnectionError("the line is down")

    def services(self) -> Sequence[Service]:
        """The participants."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Fill the services' databases."""

    @contextmanager
    def outside(self, folder: Path) -> Iterator[Callable[[], None] | None]:
        """A server that the participants call, to be run in a process of its own, anew for every schedule."""
        del folder
        yield None

    def launch(self, journal: Journal) -> None:
        """Launch the run."""
        saga, given = self._saga()
        plan = saga.plan
        message = Launch(
            at=START,
            run_id=RUN,
            saga=plan.saga,
            version=plan.version,
            plan=Program(plan).hash,
            input=saga.encode_input(given),
            key="crash",
        )
        journal.launch([LaunchRequest(message, plan)])

    def nudges(self) -> Sequence[Callable[[Journal], None]]:
        """What a person does for the run, one thing each time that it waits."""
        return ()

    def complaints(
        self, outcome: str, databases: Mapping[str, Engine], folder: Path
    ) -> Iterator[str]:
        """What doesn't balance."""
        raise NotImplementedError

    def _saga(self) -> tuple[Saga[..., Any], Any]:
        raise NotImplementedError


class Orders(Scene):
    """``place_order`` and its four services with a database each."""

    databases = SHOP

    def __init__(self, path: str, outcome: str, trouble: Trouble, zone: str) -> None:
        super().__init__(path, outcome, trouble)
        self._zone = zone

    def services(self) -> Sequence[Service]:
        """The participants."""
        from workers import inventory, mail, payments, shipping

        return [inventory.inventory, payments.payments, shipping.shipping, mail.mail]

    def prepare(self) -> None:
        """Fill the services' databases."""
        from workers import prepare

        prepare.main()
        for service in self.services():
            service.create_tables()
            service.dispose()

    def complaints(
        self, outcome: str, databases: Mapping[str, Engine], folder: Path
    ) -> Iterator[str]:
        """Every effect once or not at all, nothing lost on the way."""
        del folder
        for counted in self._counts():
            with databases[counted.service].connect() as connection:
                found = int(connection.scalar(text(counted.query)) or 0)
            expected = counted.completed if outcome == "completed" else counted.otherwise
            if outcome == "stuck" and found in {counted.completed, counted.otherwise}:
                continue
            if found != expected:
                yield f"(b) {counted.what}: {found}, and {expected} expected of a run {outcome}"
        for service, engine in databases.items():
            with engine.connect() as connection:
                rows = connection.execute(text("SELECT effect_key, status FROM saga_barrier"))
                done = [row.effect_key for row in rows if row.status == "done"]
            if outcome == "compensated" and done:
                yield f"(b) {service}: compensated, and {done} are done"

    def _counts(self) -> Iterator[Counted]:
        from workers import inventory, payments, shipping

        stock = sum(count for _, count in inventory.FIRST_STOCK.values())
        money = sum(cents for _, cents in payments.FIRST_CUSTOMERS.values())
        places = sum(count for _, count in shipping.FIRST_ZONES.values())
        yield Counted(
            "articles on the shelf", "inventory", "SELECT sum(stock) FROM article", stock - 2, stock
        )
        yield Counted("holds", "inventory", "SELECT count(*) FROM held WHERE NOT released", 1, 0)
        yield Counted("holds ever made", "inventory", "SELECT count(*) FROM held", 1, 1)
        yield Counted(
            "cents", "payments", "SELECT sum(balance_cents) FROM account", money - 500, money
        )
        yield Counted("charges", "payments", "SELECT count(*) FROM charge WHERE NOT refunded", 1, 0)
        yield Counted("charges ever made", "payments", "SELECT count(*) FROM charge", 1, 1)
        yield Counted("places", "shipping", "SELECT sum(places) FROM zone", places - 1, places)
        yield Counted("parcels", "shipping", "SELECT count(*) FROM sent", 1, 0)
        yield Counted("letters", "mail", "SELECT count(*) FROM letter", 1, 0)

    def _saga(self) -> tuple[Saga[..., Any], Any]:
        from sagas.orders import Order, place_order

        return place_order, Order("crash", "north-01", "apple", 2, 500, f"Lane 1 {self._zone}")


class Trips(Scene):
    """``book_trip``: no database of its own, three bookings over HTTP, and a person's approval."""

    undecidable = "confirm"

    def __init__(self, path: str, outcome: str, trouble: Trouble, *, granted: bool) -> None:
        super().__init__(path, outcome, trouble)
        self._granted = granted

    def services(self) -> Sequence[Service]:
        """The participants."""
        from workers import trips

        return [trips.trips]

    @contextmanager
    def outside(self, folder: Path) -> Iterator[Callable[[], None] | None]:
        """The booking server; its books are a file that every process of it begins anew."""
        from workers.booking_server import BookingServer

        books = folder / "bookings.jsonl"
        with BookingServer(0, books) as server:
            os.environ["BOOKING_URL"] = server.url

            def serve() -> None:
                books.unlink(missing_ok=True)
                server.serve_forever()

            yield serve

    def nudges(self) -> Sequence[Callable[[Journal], None]]:
        """The approval, or its refusal."""
        data = {"granted": self._granted, "by": "grace"}
        signal = Signal(at=START, actor="grace", name="approval", data=data, signal_id="once")
        return (lambda journal: journal.send(RUN, signal),)

    def complaints(
        self, outcome: str, databases: Mapping[str, Engine], folder: Path
    ) -> Iterator[str]:
        """Every booking confirmed, or none left."""
        from workers.booking_server import Booking

        del databases
        lines = (folder / "bookings.jsonl").read_bytes().splitlines()
        history = [msgspec.json.decode(line, type=Booking) for line in lines]
        last = {booking.key: booking.status for booking in history}
        made = [booking for booking in history if booking.status == "booked"]
        if len({booking.key for booking in made}) != 3 or len(made) != 3:
            yield f"(b) {len(made)} bookings were made: {made}"
        left = sorted(status for status in last.values() if status != "cancelled")
        if outcome == "completed" and left != ["confirmed"] * 3:
            yield f"(b) completed, and the bookings are {last}"
        if outcome == "compensated" and left:
            yield f"(b) compensated, and the bookings are {last}"

    def _saga(self) -> tuple[Saga[..., Any], Any]:
        from sagas.trips import Trip, book_trip

        return book_trip, Trip("ada", "LH 400", "Ritz", "beetle")


class Transfers(Scene):
    """``transfer``: an atomic group of two ledgers, whose branches are prepared, and a notice after it."""

    databases = ("ledger_a", "ledger_b", "mail")
    kinds = ("postgresql",)

    def __init__(self, path: str, outcome: str, amount_cents: int) -> None:
        super().__init__(path, outcome, _none)
        self._amount_cents = amount_cents

    def services(self) -> Sequence[Service]:
        """The participants."""
        from workers import ledgers, mail

        return [ledgers.ledger_a, ledgers.ledger_b, mail.mail]

    def prepare(self) -> None:
        """Open the accounts."""
        from workers import ledgers, mail

        ledgers.prepare_database()
        mail.prepare_database()
        for service in self.services():
            service.create_tables()
            service.dispose()

    def complaints(
        self, outcome: str, databases: Mapping[str, Engine], folder: Path
    ) -> Iterator[str]:
        """The money is in one ledger or in the other, and the total is what it was."""
        from workers import ledgers

        del folder
        total = ledgers.FIRST_MONEY_CENTS * len(ledgers.FIRST_OWNERS)
        moved = self._amount_cents if outcome == "completed" else 0
        held = "SELECT sum(balance_cents) FROM ledger_account"
        done = "SELECT count(*) FROM saga_barrier WHERE status = 'done'"
        told = "SELECT count(*) FROM notice"
        effects = 1 if outcome == "completed" else 0
        for service, query, expected in (
            ("ledger_a", held, total - moved),
            ("ledger_b", held, total + moved),
            ("ledger_a", done, effects),
            ("ledger_b", done, effects),
            ("mail", told, effects),
        ):
            with databases[service].connect() as connection:
                found = int(connection.scalar(text(query)) or 0)
            if found != expected:
                yield f"(b) {service}, {query}: {found}, and {expected} expected of a run {outcome}"

    def _saga(self) -> tuple[Saga[..., Any], Any]:
        from sagas.transfers import Transfer, transfer

        return transfer, Transfer("account-001", "account-002", self._amount_cents)


def _none(_work: Work) -> bool:
    return False


def _first_undo_of(participant: str) -> Trouble:
    return lambda work: (work.kind, work.participant, work.attempt) == ("undo", participant, 1)


SCENES: Mapping[str, Scene] = {
    "orders": Orders("succeeds", "completed", _none, "Town"),
    "orders-refused": Orders("is refused at the pivot", "compensated", _none, "Lighthouse"),
    "orders-undo-fails": Orders(
        "is refused at the pivot, and the first refund fails",
        "compensated",
        _first_undo_of("payments.charge"),
        "Lighthouse",
    ),
    "trips": Trips("succeeds", "completed", _none, granted=True),
    "trips-refused": Trips("is refused at the pivot", "compensated", _none, granted=False),
    "trips-undo-fails": Trips(
        "is refused at the pivot, and a hotel's first cancellation fails",
        "compensated",
        _first_undo_of("trips.book_hotel"),
        granted=False,
    ),
    "transfers": Transfers("succeeds", "completed", 2_500),
    "transfers-refused": Transfers("is refused by a branch", "compensated", 1_000_001),
}
