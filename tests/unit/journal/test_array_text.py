"""Columns as text come back on PostgreSQL as they were."""

from __future__ import annotations

import math

import psycopg
import pytest

from orchestrator.journal import array_text

TEXTS = [
    "",
    "a",
    'q"',
    "back\\slash",
    "NULL",
    "null",
    "{a,b}",
    " a ",
    "é\U0001f600",
    "\n\t\r\x1f",
    '","',
]


@pytest.fixture
def connection(postgres_url: str) -> psycopg.Connection:
    return psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True)


@pytest.mark.parametrize("values", [[], [""], ["a", "b"], TEXTS], ids=len)
def test_texts(connection: psycopg.Connection, values: list[str]) -> None:
    with connection:
        found = connection.execute("SELECT %s::text[]", (array_text.texts(values),)).fetchone()
        assert found == (values,)
        mixed = [*values, None]
        literal = array_text.optional_texts(mixed)
        assert connection.execute("SELECT %s::text[]", (literal,)).fetchone() == (mixed,)


def test_numbers(connection: psycopg.Connection) -> None:
    floats = [0.1 + 0.2, 1e300, -0.0, 5e-324, 1763876000.123456, math.inf, 3]
    with connection:
        literal = array_text.optional_numbers([*floats, None])
        found = connection.execute("SELECT %s::float8[]", (literal,)).fetchone()
        assert found == ([*floats, None],)
        literal = array_text.numbers([2**62, -1])
        assert connection.execute("SELECT %s::bigint[]", (literal,)).fetchone() == ([2**62, -1],)
        literal = array_text.booleans([True, False])
        assert connection.execute("SELECT %s::bool[]", (literal,)).fetchone() == ([True, False],)


def test_lines(connection: psycopg.Connection) -> None:
    values = ['{"a":"x\\ny"}', "null", "[]"]
    with connection:
        query = "SELECT string_to_array(%s, chr(10))"
        assert connection.execute(query, (array_text.lines(values),)).fetchone() == (values,)
