"""A user's own saga, as one would write it on the first day."""

import msgspec
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Refused, Service, saga

DATABASE = "sqlite:///bakery.db"
bakery = Service("bakery", database=DATABASE)


class Tables(DeclarativeBase):
    """The bakery's tables."""


class Tray(Tables):
    """What is left of a cake."""

    __tablename__ = "tray"
    cake: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


class Slice(msgspec.Struct):
    """What was taken from a tray."""

    cake: str
    count: int


@bakery.participant
def take(session: Session, cake: str, count: int) -> Slice:
    tray = session.get(Tray, cake)
    if tray is None or tray.left < count:
        raise Refused(f"no {cake} left")
    tray.left -= count
    return Slice(cake, count)


@take.undo
def put_back(session: Session, taken: Slice) -> None:
    session.get_one(Tray, taken.cake).left += taken.count


@bakery.participant
def serve(session: Session, guest: str, taken: Slice) -> str:
    if guest == "nobody":
        raise Refused("nobody is at the table")
    return f"{taken.count} {taken.cake} for {guest}"


@saga(version=1)
def order_cake(guest: str, cake: str, count: int) -> str:
    taken = take(cake, count)
    return serve(guest, taken)
