"""Names of branches: ours are read back whole, within the databases' limits, and no others are taken for ours."""

from __future__ import annotations

import pytest

from orchestrator.transport.gid import (
    GID_BYTES_AT_MOST,
    XA_BYTES_AT_MOST,
    Gid,
    read_gid,
    read_xa,
)

RUN = "0123456789abcdef" * 2
GIDS = [
    Gid(0, 0, RUN, "debit"),
    Gid(1023, 99, RUN, "debit[3]"),
    Gid(7, 1, RUN, "größte[0][12]'%"),
    Gid(7, 1, RUN, "x" * 500),
    Gid(7, 1, "y" * 500, "with:colon"),
]


@pytest.mark.parametrize("gid", GIDS)
def test_a_name_is_read_back_and_fits(gid: Gid) -> None:
    assert len(str(gid).encode()) <= GID_BYTES_AT_MOST
    names = gid.xa("ledger")
    assert all(len(name.encode()) <= XA_BYTES_AT_MOST for name in names)
    for read in (read_gid(str(gid)), read_xa(*names, "ledger")):
        assert read is not None
        assert (read.shard, read.round) == (gid.shard, gid.round)
        assert read.is_of(gid.step)
        assert not read.is_of(gid.step + "x")
        assert read.has_whole_run == (len(gid.run) < 50)
        if read.has_whole_run:
            assert read.run == gid.run


@pytest.mark.parametrize("gid", GIDS)
def test_what_was_read_makes_the_same_name_again(gid: Gid) -> None:
    read = read_gid(str(gid))
    assert read is not None
    assert str(read) == str(gid)
    read = read_xa(*gid.xa("ledger"), "ledger")
    assert read is not None
    assert read.xa("ledger") == gid.xa("ledger")


def test_long_names_stay_different() -> None:
    assert str(Gid(0, 0, RUN, "x" * 500)) != str(Gid(0, 0, RUN, "x" * 499 + "y"))
    assert Gid(0, 0, RUN, "x" * 90).xa("d") != Gid(0, 0, RUN, "x" * 89 + "y").xa("d")


@pytest.mark.parametrize(
    "text",
    ["", "mine", "saga-orch2:0:0:run:step", "saga-orch1", "saga-orch1:a:0:run:step",
     "saga-orch1:0:0::step", "saga-orch1:0:0:run:", "xsaga-orch1:0:0:run:step"],
)  # fmt: skip
def test_a_foreign_name_is_nobodys(text: str) -> None:
    assert read_gid(text) is None
    assert read_xa(text, "0:0:00000000:step", "d") is None
    assert read_xa("saga-orch1:run", text, "d") is None


def test_another_databases_branch_is_not_ours() -> None:
    assert read_xa(*Gid(0, 0, RUN, "debit").xa("ledger_a"), "ledger_b") is None
