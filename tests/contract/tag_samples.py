"""Runs with tags that are easily mixed up, and the index of them."""

from __future__ import annotations

from sqlalchemy import select

from orchestrator.journal.port import Journal
from orchestrator.journal.schema import TAG
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.tags import NAME_LENGTH, VALUE_LENGTH, TagRow
from tests.contract.journal_samples import PLAN, request_of

LONG = "ü" * VALUE_LENGTH
LONG_NAME = "n😀" * NAME_LENGTH
TAGGED: tuple[dict[str, str], ...] = (
    {"customer": "ada"},
    {"customer": "ada lovelace", "shop": "berlin"},
    {"customer": "ad", "shop": "bonn"},
    {"custom": "ada"},
    {"ada": "customer"},
    {"": ""},
    {"x": '"customer":"ada"', 'x"customer': "ada"},
    {"x": ',"customer":"ada"', "y\\": '\\"'},
    {"name": "\u65e5\u672c", "NAME": "\U0001f600"},
    {"null": "a\0b"},
    {"null": "a\ufffdb", "text": "a\\u0000b"},
    {"long": LONG, LONG_NAME: "1"},
    {"long": f"{LONG}a", f"{LONG_NAME}a": "1"},
    {"long": f"{LONG}b", f"{LONG_NAME}a": "1", f"{LONG_NAME}b": "1"},
    {},
)
"""Of each run; they are launched in this order."""


def launch_all(journal: Journal) -> None:
    journal.launch(
        [
            request_of(PLAN, f"tagged-{number}", at=float(number), tags=tags)
            for number, tags in enumerate(TAGGED)
        ]
    )


def index(journal: SqlJournal) -> set[TagRow]:
    with journal.engine.connect() as connection:
        return {TagRow._make(row) for row in connection.execute(select(TAG))}
