"""Where each service of the shop keeps its data: a database of its own, named by the environment.

``INVENTORY_DATABASE_URL`` and its kin name any database that participants may have; without them it is a SQLite file
in ``SHOP_FOLDER``, which is ``.dev`` unless given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, func, make_url, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

UP_WITHIN_S = 30
"""How long a database may take to come up beside its worker."""


def database_url(service: str) -> str:
    """The database of a service."""
    folder = Path(os.environ.get("SHOP_FOLDER", ".dev")).resolve()
    return os.environ.get(f"{service.upper()}_DATABASE_URL", f"sqlite:///{folder / service}.db")


def prepare(
    service: str, tables: type[DeclarativeBase], first_rows: Sequence[Any], url: str | None = None
) -> None:
    """Make a service's tables where they are missing, and fill them if they are empty; ``url`` if it isn't as above."""
    url = url or database_url(service)
    database = make_url(url).database
    if url.startswith("sqlite") and database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    try:
        _made(engine, tables)
        with Session(engine) as session, session.begin():
            kinds = {type(row) for row in first_rows}
            if not any(session.scalar(select(func.count()).select_from(kind)) for kind in kinds):
                session.add_all(first_rows)
    finally:
        engine.dispose()


@retry(
    retry=retry_if_exception_type(OperationalError),
    stop=stop_after_delay(UP_WITHIN_S),
    wait=wait_fixed(0.2),
    reraise=True,
)
def _made(engine: Engine, tables: type[DeclarativeBase]) -> None:
    tables.metadata.create_all(engine)
