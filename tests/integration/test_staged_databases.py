"""The ``sagas`` fixture on a real database by URL: asynchronous participants, and tests that share it."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orchestrator import Refused, Service, saga
from orchestrator.errors import DefinitionError
from orchestrator.testing import Sagas

purse = Service("purse", database="postgresql+psycopg://not/to/be/opened")


class Tables(DeclarativeBase):
    """Of ``purse``."""


class Coins(Tables):
    """What somebody has."""

    __tablename__ = "coins"

    owner: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]


@purse.participant
async def take(session: AsyncSession, owner: str, number: int) -> int:
    coins = await session.get_one(Coins, owner)
    coins.number -= number
    return coins.number


@take.undo
async def put_back(session: AsyncSession, owner: str, number: int) -> None:
    (await session.get_one(Coins, owner)).number += number


@purse.participant
def give(session: Session, owner: str, number: int) -> None:
    coins = session.get(Coins, owner)
    if coins is None:
        raise Refused(f"nobody is called {owner}")
    coins.number += number


@saga()
def hand_over(giver: str, taker: str, number: int) -> int:
    """From one to the other."""
    left = take(giver, number)
    give.pivot(taker, number)
    return left


def test_asynchronous_participants_on_postgresql(sagas: Sagas, postgres_url: str) -> None:
    engine = sagas.database(purse, postgres_url, tables=Tables)
    with Session(engine) as session, session.begin():
        session.add_all([Coins(owner="ada", number=5), Coins(owner="bob", number=0)])
    sagas.when(take).is_lost(times=1)
    assert sagas.run(hand_over, "ada", "bob", 2).result == 3
    nobody = sagas.run(hand_over, "ada", "nobody", 2)
    assert nobody.reason == "give: nobody is called nobody"
    assert nobody.undid == [take]
    assert _coins(postgres_url) == {"ada": 3, "bob": 2}


def test_a_database_that_a_real_coordinator_has_used_is_no_hindrance(postgres_url: str) -> None:
    """It remembers newer epochs than a journal that has just begun."""
    for coins in (5, 4):
        with Sagas("the same") as sagas:
            engine = sagas.database(purse, postgres_url, tables=Tables)
            with Session(engine) as session, session.begin():
                session.merge(Coins(owner="ada", number=coins))
                session.merge(Coins(owner="bob", number=0))
            run = sagas.run(hand_over, "ada", "bob", 1)
            assert run.result == coins - 1
            assert [called.outcome for called in run.calls()] == ["succeeded", "succeeded"]
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM saga_epoch"))
                connection.execute(text("INSERT INTO saga_epoch VALUES (0, 99)"))


def test_sqlite_is_no_database_for_asynchronous_participants(sagas: Sagas) -> None:
    with pytest.raises(DefinitionError, match="needs a URL whose driver works both ways"):
        sagas.database(purse)


def _coins(url: str) -> dict[str, int]:
    engine = create_engine(url)
    with Session(engine) as session:
        found = {coins.owner: coins.number for coins in session.query(Coins)}
    engine.dispose()
    return found
