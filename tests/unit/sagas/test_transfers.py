"""``transfer``: both ledgers or neither, on two real PostgreSQL databases."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from orchestrator import Compensated, DefinitionError
from tests.servers import Postgres
from tests.unit.sagas.conftest import Here, fresh_modules, running

WAIT_S = 30.0
FIRST_CENTS = 1_000_000


@pytest.fixture
def urls(postgres_server: Postgres) -> Iterator[tuple[str, str]]:
    with postgres_server.database() as a, postgres_server.database() as b:
        yield a, b


@pytest.fixture
def bank(urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setenv("LEDGER_A_DATABASE_URL", urls[0])
    monkeypatch.setenv("LEDGER_B_DATABASE_URL", urls[1])
    monkeypatch.setenv("MAIL_DATABASE_URL", f"sqlite:///{tmp_path}/mail.db")
    with running("sagas.transfers", ("ledgers", "mail"), tmp_path) as here:
        yield here


def _launch(bank: Here, source: str, target: str, cents: int) -> Any:
    order = bank.module.Transfer(source, target, cents)
    return bank.client.launch(bank.module.transfer, order)


def _balances(url: str, owner: str) -> tuple[int, int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        query = "SELECT balance_cents FROM ledger_account WHERE owner = :owner"
        balance = connection.execute(text(query), {"owner": owner}).scalar_one()
        prepared = connection.execute(
            text("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")
        ).scalar_one()
    engine.dispose()
    return int(balance), int(prepared)


def test_money_moves_and_its_receiver_is_told(bank: Here, urls: tuple[str, str]) -> None:
    assert _launch(bank, "account-001", "account-002", 2_500).result(WAIT_S) == 1
    assert _balances(urls[0], "account-001") == (FIRST_CENTS - 2_500, 0)
    assert _balances(urls[1], "account-002") == (FIRST_CENTS + 2_500, 0)


def test_without_enough_money_neither_ledger_changes(bank: Here, urls: tuple[str, str]) -> None:
    with pytest.raises(Compensated, match="hasn't enough money"):
        _launch(bank, "account-001", "account-002", FIRST_CENTS + 1).result(WAIT_S)
    assert _balances(urls[0], "account-001") == (FIRST_CENTS, 0)
    assert _balances(urls[1], "account-002") == (FIRST_CENTS, 0)


def test_without_a_receiver_neither_ledger_changes(bank: Here, urls: tuple[str, str]) -> None:
    with pytest.raises(Compensated, match="nobody has no account here"):
        _launch(bank, "account-001", "nobody", 2_500).result(WAIT_S)
    assert _balances(urls[0], "account-001") == (FIRST_CENTS, 0)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [(None, "set LEDGER_A_DATABASE_URL"), ("sqlite:///ledger.db", "SQLite can't prepare")],
)
def test_without_databases_that_can_take_part_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, url: str | None, complaint: str
) -> None:
    monkeypatch.delenv("LEDGER_A_DATABASE_URL", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # no wheel with a server
    if url is not None:
        monkeypatch.setenv("LEDGER_A_DATABASE_URL", url)
    with fresh_modules(), pytest.raises(DefinitionError, match=complaint):
        __import__("workers.ledgers")
