"""``saga verify --open-runs`` on real journals with real open runs, and on code that has changed since."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.client import Client, Run
from orchestrator.definition.saga import SAGAS
from orchestrator.journal.sql import SqlJournal
from orchestrator.wiring import Definitions, definitions
from tests.integration.embedding import asked, embedding, ended, types
from tests.waiting import eventually

BEFORE = '''
"""A shop as it is deployed."""

import msgspec
from sqlalchemy.orm import Session

from orchestrator import Call, Ended, Refused, Retry, Service, saga, wait_for, when

DATABASE = "sqlite:///URL"
stock = Service("stock", database=DATABASE)
bank = Service("bank")
post = Service("post", database=DATABASE)


class Hold(msgspec.Struct):
    """Articles put aside."""

    id: int
    weight: int


@stock.participant
def hold(session: Session, sku: str) -> Hold:
    return Hold(1, 250)


@hold.undo
def let_go(session: Session, held: Hold) -> None:
    return None


@bank.participant
def charge(call: Call, customer: str, cents: int) -> str:
    if cents > 1000:
        raise Refused("too much")
    return call.idempotency_key


@charge.undo
def refund(call: Call, receipt: str | None, customer: str) -> None:
    return None


@post.participant
def send(session: Session, weight: int, receipt: str) -> str:
    return f"{weight} g, {receipt}"


@post.participant
def wrap(session: Session, sku: str) -> None:
    return None


@wrap.undo(retry=Retry(attempts=1))
def unwrap(session: Session, sku: str) -> None:
    raise ValueError("torn")


@bank.participant
def tell(ended: Ended) -> None:
    return None


@saga(version=1)
def order(sku: str, customer: str, cents: int, gift: bool) -> str:
    held = hold(sku)
    with when(gift):
        wrap(sku)
    receipt = charge(customer, cents)
    wait_for("paid", bool)
    return send.pivot(held.weight, receipt)


order.on_completed(tell)
'''


class Change(NamedTuple):
    """A deploy: what it replaces in the code, and what the gate must say of it."""

    edits: tuple[tuple[str, str], ...]
    found: list[tuple[str, int, str]]
    """Step, how many runs, and a part of what would break."""
    version: int = 2


CHANGES = {
    "participant removed": Change(
        (
            ("@post.participant\ndef send", "def send"),
            ("send.pivot(held.weight, receipt)", "receipt"),
        ),
        [("send", 3, "it needs post.send, which is gone")],
    ),
    "undo removed": Change(
        (
            ("@charge.undo\n", ""),
            ("    receipt = charge", "    receipt = charge.pivot"),
            ("send.pivot", "send"),
        ),
        [("charge", 3, "its undo is needed, and bank.charge has none any more")],
    ),
    "parameter renamed": Change(
        (
            ("weight: int, receipt: str) -> str", "grams: int, receipt: str) -> str"),
            ('f"{weight}', 'f"{grams}'),
        ),
        [
            ("send", 3, "post.send has no parameter weight any more"),
            ("send", 3, "post.send now needs grams, which this plan doesn't give"),
        ],
    ),
    "parameter added": Change(
        (
            ("cents: int) -> str", "cents: int, unit: str) -> str"),
            ("(customer, cents)", "(customer, cents, 'EUR')"),
        ),
        [("charge", 1, "bank.charge now needs unit, which this plan doesn't give")],
    ),
    "parameter added with a default": Change(
        (("cents: int) -> str", 'cents: int, unit: str = "EUR") -> str'),), []
    ),
    "parameter of another type": Change(
        (
            ("weight: int, receipt: str) -> str", "weight: str, receipt: str) -> str"),
            ("held.weight,", "receipt,"),
        ),
        [
            ("send", 2, "post.send can't read what is stored: weight: expected str, got int"),
            (
                "send",
                1,
                "post.send(weight) takes str now, and the plan gives it `hold.weight`, which",
            ),
        ],
    ),
    "result of another type": Change(
        (("    id: int\n", "    number: str\n"), ("Hold(1,", "Hold('1',")),
        [("hold", 2, "the undo of stock.hold can't read what is stored: its action's result")],
    ),
    "field of a result gone": Change(
        (("    weight: int\n", "    grams: int = 0\n"), ("held.weight", "held.grams")),
        [("send", 1, "the plan reads `hold`'s 'weight', and Hold, which it is now, has none")],
    ),
    "service on another queue": Change(
        (('Service("post", database=DATABASE)', 'Service("post", DATABASE, queue="parcels")'),),
        [
            ("send", 3, "go to queue saga.post, and post.send now listens to parcels"),
            ("wrap", 3, "go to queue saga.post, and post.wrap now listens to parcels"),
        ],
    ),
    "barrier dropped": Change(
        (("def send(session: Session, ", "def send(call: Call, "),),
        [("send", 3, "had a barrier when the run was launched and has none now")],
    ),
    "service gone": Change(
        (('Service("bank")', 'Service("till")'),),
        [("charge", 3, "no service of the apps is named bank"), ("on_completed", 3, "named bank")],
    ),
    "plan changed under its version": Change(
        (("    wait_for", "    hold.options(name='again')(sku)\n    wait_for"),),
        [("", 0, "this version is stored with another plan")],
        version=1,
    ),
    "plan of another version": Change(
        (("    wait_for", "    hold.options(name='again')(sku)\n    wait_for"),), []
    ),
    "saga gone": Change((("order.on_completed(tell)", "del order"),), []),
}
"""Open are two runs that wait (one of them a gift), one whose undo is stuck, and one that nobody has taken up."""


def _defined(folder: Path, name: str, *edits: tuple[str, str]) -> Definitions:
    """The code with these edits, as a module of its own."""
    code = BEFORE.replace("URL", str(folder / "shop.db"))
    for old, new in edits:
        assert old in code, f"nothing to change: {old}"
        code = code.replace(old, new)
    (folder / f"{name}.py").write_text(code)
    importlib.invalidate_caches()
    with SAGAS.isolated():
        return definitions([name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("deploys")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(made))
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A journal with open runs of every kind, left by a coordinator that has stopped."""
    before = _defined(folder, f"shop_before_{request.param}")
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{folder}/journal.db"
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
        _leave_runs(url, before)
        yield url


def _leave_runs(url: str, before: Definitions) -> None:
    order = before.sagas["order"]
    with embedding(url, [order], *before.services) as it:

        def launched(cents: int, *, gift: bool) -> Run[Any]:
            return it.client.launch(order, "apple", "ann", cents, gift)

        waiting = [launched(5, gift=False), launched(5, gift=True), launched(5, gift=True)]
        for run in waiting:
            eventually(partial(_waits, run), 30, what="a run that waits")
        waiting[-1].signal("paid", True)
        assert ended(waiting[-1]) == "completed"
        stuck = launched(2000, gift=True)
        eventually(lambda: types(it, stuck).count("StepUndone") == 1, 30, what="the hold's undo")
        assert ended(stuck) == "stuck"
    left = SqlJournal(url)
    Client(left, {"order": order}).launch(order, "apple", "ann", 5, False)  # nobody takes it up
    left.close()
    statuses = asked(url, "SELECT status FROM saga_run ORDER BY status")
    assert [status for (status,) in statuses] == [
        "accepted", "completed", "running", "running", "stuck",
    ]  # fmt: skip


def _waits(run: Run[Any]) -> bool:
    return run.summary().steps == ("paid",)


def _asked(journal: str, name: str, *args: str) -> tuple[int, str]:
    with SAGAS.isolated():
        said = CliRunner().invoke(app, ["--journal", journal, "--app", name, *args])
    return said.exit_code, said.output


@pytest.mark.parametrize("name", CHANGES)
def test_the_gate_finds_what_a_deploy_would_break(folder: Path, journal: str, name: str) -> None:
    change = CHANGES[name]
    module = f"shop_{'_'.join(name.split())}"
    version = ("version=1", f"version={change.version}")
    _defined(folder, module, *change.edits, version)
    code, told = _asked(journal, module, "--json", "verify", "--open-runs")
    said = json.loads(told)
    assert said["runs"] == 4
    found = [(one["step"], one["runs"]) for one in said["troubles"]]
    assert found == [(step, runs) for step, runs, _ in change.found], told
    for one, (_, _, what) in zip(said["troubles"], change.found, strict=True):
        assert what in one["what"]
    for one in said["troubles"]:
        assert one["fix"]
        assert len(one["examples"]) == min(one["runs"], 3)
    assert said["ok"] is not bool(change.found)
    assert code == (1 if change.found else 0)


def test_the_code_that_launched_them_can_finish_them(folder: Path, journal: str) -> None:
    _defined(folder, "shop_unchanged")
    code, told = _asked(journal, "shop_unchanged", "verify", "--open-runs")
    assert (code, told.strip()) == (0, "4 open runs looked at; none breaks")


def test_people_are_told_which_runs_how_many_and_the_way_out(folder: Path, journal: str) -> None:
    _defined(folder, "shop_moved", ("@charge.undo\n", ""), ("version=1", "version=2"))
    code, told = _asked(journal, "shop_moved", "verify", "--open-runs")
    assert code == 1
    shown = " ".join(told.split())
    assert "order 1 charge 3 its undo is needed, and bank.charge has none any more" in shown
    assert "-> keep it until these runs have ended" in shown
    assert "4 open runs of order 1: the apps define version 2" in shown
    assert "4 open runs looked at; 1 thing would break" in shown


def test_a_plan_that_is_not_in_the_journal_any_more_is_a_trouble(
    folder: Path, journal: str
) -> None:
    _defined(folder, "shop_pruned")
    engine = create_engine(journal)
    with engine.begin() as connection:
        connection.execute(text("UPDATE saga_plan SET hash = 'x' || hash"))
    try:
        code, said = _asked(journal, "shop_pruned", "--json", "verify", "--open-runs")
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE saga_plan SET hash = substr(hash, 2)"))
        engine.dispose()
    assert code == 1
    [trouble] = json.loads(said)["troubles"]
    assert trouble["runs"] == 4
    assert "can't be replayed" in trouble["what"]
