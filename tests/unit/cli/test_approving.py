"""`saga approvals`: an operation that takes two people, asked for by one and approved by another."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.cli.exits import Exit
from orchestrator.client import AsyncClient, Client, ClientOptions
from orchestrator.kernel.second import TwoPeople
from tests.unit.cli.stage import Stage

RUN = "aaaa1111"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    made = Stage()
    made.two_people = TwoPeople(frozenset({"retry"}))
    made.stuck(RUN)
    made.mend()
    return made


def ask(stage: Stage) -> str:
    [number] = stage.json("retry", RUN, "--reason", "mended")["waits"]
    return str(number)


def types(stage: Stage, run: str = RUN) -> list[str]:
    return [record.type for record in stage.store.history(run)]


def test_it_is_asked_for_shown_and_approved_by_another(stage: Stage) -> None:
    asked = stage.run("retry", RUN, "--reason", "mended")
    number = asked.stderr.split("approve aaaa1111 ")[1].split("`")[0]
    assert "retry takes two people" in asked.stderr
    assert "StepRetried" not in types(stage)
    listed = stage.run("approvals", "list").stdout
    assert all(text in listed for text in ("aaaa", number, "retry", "ann@desk", "mended"))
    assert stage.run("approvals", "approve", RUN, number).exit_code == Exit.REFUSED
    stage.actor = "bob@desk"
    shown = stage.run("approvals", "show", RUN, number).stdout
    assert "ann@desk asks to retry: mended" in shown
    assert "undoes    reserve" in shown
    assert "undoes" in stage.run("approvals", "approve", RUN, number, "--dry-run").stdout
    done = stage.run("approvals", "approve", RUN, number, "--reason", "seen").stdout
    assert "is approved: seen" in done
    assert "the undo of reserve is retried (approved by bob@desk): mended" in done
    assert stage.store.find(RUN).status == "compensated"
    assert "approved by bob@desk: seen" in stage.run("approvals", "show", RUN, number).stdout
    assert "nothing waits" in stage.run("approvals", "list").stderr
    assert "ann@desk, bob@desk" in stage.run("audit", "--operation", "retry").stdout


def test_who_asked_takes_it_back(stage: Stage) -> None:
    number = ask(stage)
    assert stage.run("approvals", "deny", RUN, number, "--reason", "wrong run").exit_code == 0
    assert "denied by ann@desk: wrong run" in stage.run("approvals", "show", RUN, number).stdout
    stage.actor = "bob@desk"
    assert stage.run("approvals", "approve", RUN, number).exit_code == Exit.REFUSED
    assert "StepRetried" not in types(stage)


@pytest.mark.parametrize("named", ["retry", "bulk"])
def test_a_filter_is_no_way_around(stage: Stage, named: str) -> None:
    stage.two_people = TwoPeople(frozenset({named}))
    stage.start()
    done = stage.json("retry", "--stuck", "--yes")
    assert (done["taken"], done["waits"]) == (1, 1)
    said = stage.run("retry", "--stuck", "--yes")
    assert said.exit_code == Exit.REFUSED, "it waits already"
    assert "StepRetried" not in types(stage)


def test_a_bulk_operation_is_approved_as_a_whole(stage: Stage) -> None:
    made = stage.json("bulk", "start", "retry", "--stuck", "--yes", "--reason", "mended")["id"]
    stage.clock += 1
    stage.turns(4)
    assert f"bulk {made[:8]}" in stage.run("approvals", "list").stdout
    assert stage.run("bulk", "approve", made).exit_code == Exit.REFUSED
    assert stage.run("bulk", "resume", made).exit_code == Exit.REFUSED
    stage.actor = "bob@desk"
    assert stage.run("bulk", "approve", made).exit_code == 0
    stage.clock += 1
    stage.turns(6)
    assert "StepRetried" in types(stage)
    assert "ApprovalAsked" not in types(stage)


def test_from_asyncio_it_is_the_same(stage: Stage) -> None:
    number = int(ask(stage))

    async def approve() -> None:
        bob = AsyncClient(Client(stage.store, {}, options=ClientOptions("bob"), clock=stage.now))
        [one] = await bob.approvals.list()
        judged = await bob.approvals.get(one.run_id, one.number)
        assert judged.approval == one
        await bob.approvals.deny(RUN, number, reason="no")

    asyncio.run(approve())
    stage.turns(4)
    assert types(stage)[-1] == "ApprovalDenied"
    again = int(ask(stage))

    async def yes() -> None:
        bob = AsyncClient(Client(stage.store, {}, options=ClientOptions("bob"), clock=stage.now))
        await bob.approvals.approve(RUN, again)

    asyncio.run(yes())
    stage.turns(6)
    assert stage.store.find(RUN).status == "compensated"


def test_a_preview_says_beforehand_that_it_takes_two_people(stage: Stage) -> None:
    shown = stage.run("retry", RUN, "--dry-run").stdout
    assert "second    it takes two people: this only asks for it, and within 1d" in shown
    assert "another person has to approve it, see `saga approvals list`" in shown
    assert stage.json("retry", RUN, "--dry-run")["second"] == {
        "approvers": [],
        "expires_s": 86_400.0,
    }
    assert "second " not in stage.run("cancel", RUN, "--dry-run").stdout
    many = stage.run("retry", "--stuck", "--dry-run").stdout
    assert "second    1 of them each wait for a second person" in many
    recorded = stage.run("bulk", "start", "retry", "--stuck", "--dry-run").stdout
    assert "second    it takes two people" in recorded


def test_a_bulk_operation_that_nobody_approved_in_time_is_listed_no_more(stage: Stage) -> None:
    stage.run("bulk", "start", "retry", "--stuck", "--yes")
    stage.clock += 1
    stage.turns(4)
    assert "bulk " in stage.run("approvals", "list").stdout
    stage.clock += 86_401
    assert "nothing waits" in stage.run("approvals", "list").stderr
