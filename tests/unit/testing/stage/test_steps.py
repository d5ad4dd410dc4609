"""Steps compare as a person writes them down, and say how they differ."""

from __future__ import annotations

import pytest

from orchestrator.errors import StagingError
from orchestrator.testing import Sagas
from orchestrator.testing.stage.steps import Entry, Steps
from tests.unit.testing.stage.shop import announce, audit, charge, order, reserve

KNOWN = [
    Entry("reserve", "stock.reserve"),
    Entry("charge", "bank.charge"),
    Entry("announce", "post.announce"),
    Entry("book", "trips.book"),
]


def _did(*keys: str) -> Steps:
    known = {entry.key: entry.participant for entry in KNOWN}
    entries = [Entry(key, known[key.partition("[")[0]]) for key in keys]
    return Steps(entries, saga="order", known=KNOWN, outcome="order: completed")


@pytest.mark.parametrize(
    "wanted",
    [
        ["reserve", "charge", "announce"],
        ("reserve", "charge", "announce"),
        [reserve, charge, announce],
        ["stock.reserve", "charge", announce],
        ["reserve", {"announce", "charge"}],
        ["reserve", {announce, "charge"}],
        {"announce", "reserve", "charge"},
        [{"charge", "reserve"}, announce],
    ],
)
def test_what_fits(wanted: object) -> None:
    assert _did("reserve", "charge", "announce") == wanted
    assert wanted == _did("reserve", "charge", "announce")


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        ["reserve", "announce", "charge"],
        ["reserve", "charge"],
        ["reserve", "charge", "announce", "announce"],
        [{"reserve", "announce"}, "charge"],
        {"reserve", "charge"},
        "reserve",
        None,
    ],
)
def test_what_does_not_fit(wanted: object) -> None:
    assert _did("reserve", "charge", "announce") != wanted


def test_steps_fit_steps() -> None:
    assert _did("reserve", "charge") == _did("reserve", "charge")
    assert _did("reserve", "charge") != _did("charge", "reserve")


def test_steps_of_a_map_by_name_and_by_place() -> None:
    did = _did("book[1]", "book[0]")
    assert did == ["book[1]", "book[0]"] == did
    assert did == ["book", "book"]
    assert did != ["book[0]", "book[1]"]
    assert did == {"book[0]", "book[1]"}
    assert "book" in did
    assert "book[2]" not in did


def test_a_step_that_the_saga_does_not_have_is_no_silent_success() -> None:
    with pytest.raises(StagingError, match="order has no step refund; its steps are reserve, cha"):
        assert "refund" not in _did("reserve")
    with pytest.raises(StagingError, match=r"no step bank\.audit"):
        assert _did("reserve") != [reserve, audit]


def test_steps_are_a_sequence() -> None:
    did = _did("reserve", "charge")
    assert (len(did), did[0], did[::-1], list(did)) == (
        2,
        "reserve",
        list(reversed(did)),
        ["reserve", "charge"],
    )
    assert repr(did) == "['reserve', 'charge']"
    with pytest.raises(TypeError, match="unhashable"):
        hash(did)


def test_a_difference_is_told_step_by_step() -> None:
    told = _did("reserve", "announce").explain([reserve, {"charge", "announce"}, "book"])
    assert told == [
        "what order did, step by step (-), and what was expected (+):",
        "    reserve",
        "    announce",
        "  + charge",
        "  + book",
        "order: completed",
    ]
    assert _did("reserve").explain("reserve") == []


def test_what_was_undone_is_the_reverse_of_what_was_done(sagas: Sagas) -> None:
    sagas.when(charge).refuses()
    run = sagas.run(order, "apple", 100)
    assert run.undid == run.did[::-1]
