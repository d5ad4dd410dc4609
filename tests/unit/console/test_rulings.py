"""A prepared branch that the journal can't decide is decided by people: previewed, on record, perhaps by two."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console import Role
from orchestrator.console.rulings import Rulings
from orchestrator.errors import OperationRefusedError
from orchestrator.journal.records import shard_of
from orchestrator.kernel.second import TwoPeople
from orchestrator.participant.barrier import Held
from orchestrator.participant.two_phase.port import Found
from orchestrator.transport.gid import Gid
from tests.unit.console.desks import Desks, hidden
from tests.unit.console.test_around import Database, World
from tests.unit.console.test_pages import text_of

FORCE = TwoPeople(frozenset({"force"}), expires_s=7_200.0)


def world_of(rule: TwoPeople | None = None) -> World:
    """One branch of a run that the journal has no record of, whose other step has taken effect."""
    desks = Desks()
    desks.stuck()
    gone = "9f" * 16
    gid = Gid(shard_of(gone, desks.store.shards()), 0, gone, "credit")
    database = Database(Found(gid, 90.0, locks=("account RowExclusiveLock",), waiting=2))
    database.held = [Held(gone, "debit", "done")]
    return World(desks, database, rule)


@pytest.fixture
def world() -> World:
    return world_of()


def chosen(world: World, kind: str = "commit", **more: str) -> dict[str, str]:
    [found] = world.database.prepared
    return {"service": "bank", "gid": str(found.gid), "kind": kind, **more}


def audited(world: World) -> list[tuple[str, ...]]:
    world.desks.turns(2)
    page = world.http().get("/api/v1/audit").json()
    assert page["intact"]
    return [
        (one["operation"], one["step"], one["actor"], one["second"], one["reason"])
        for one in page["entries"]
        if one["run_id"].startswith("branch:")
    ]


def test_it_is_decided_on_its_page_and_stands_in_the_audit(world: World) -> None:
    client = world.browser()
    listed = client.get("/in-doubt")
    assert "no record" in text_of(listed.text)
    assert "Commit… Roll back…" in text_of(listed.text)
    asked = client.get("/in-doubt/decide", params=chosen(world)).text
    seen = text_of(asked)
    assert "Commits credit in the database of bank, for good at once" in seen
    assert "Leaves debit in bank has taken effect" in seen
    assert "Warning" not in seen
    assert world.database.told == []
    done = client.post("/in-doubt/decide", data=hidden(asked) | {"reason": "the slip is signed"})
    assert "credit in bank: committed" in text_of(done.text)
    assert world.database.told == [("commit", "credit")]
    assert audited(world) == [("decide", "credit", "the operator", "", "the slip is signed")]
    assert 'href="/in-doubt">branch:saga-orch1:' in client.get("/audit").text


def test_the_api_says_what_to_fear_and_does_it(world: World) -> None:
    client = world.http()
    seen = client.post("/api/v1/in-doubt/preview", json=chosen(world, "abort")).json()
    assert (seen["effects"], seen["second"]) == (["debit in bank"], None)
    assert seen["warnings"] == ["this has taken effect, and stays: debit in bank"]
    world.database.held = []
    seen = client.post("/api/v1/in-doubt/preview", json=chosen(world)).json()
    assert "nothing else of the run is known to have taken effect" in seen["warnings"][0]
    done = client.post("/api/v1/in-doubt/decide", json=chosen(world, "abort", reason="void"))
    assert (done.status_code, done.json()["came_to"]) == (200, "rolled back")
    assert audited(world) == [("decide", "credit", "the operator", "", "void")]


def test_what_else_is_prepared_of_the_run_is_named(world: World) -> None:
    one = world.database.prepared[0]
    body = chosen(world)
    other = Found(one.gid._replace(step="fee"), 90.0)
    world.database.prepared.append(other)
    seen = world.http().post("/api/v1/in-doubt/preview", json=body).json()
    assert [branch["step"] for branch in seen["others"]] == ["fee"]
    assert seen["warnings"] == ["also prepared, and to be decided alike: fee in bank"]


def test_only_operators_who_see_all_decide_and_only_what_nobody_else_can(world: World) -> None:
    body = chosen(world)
    viewer = world.http(Role.VIEWER)
    assert "Roll back" not in viewer.get("/in-doubt").text
    for path in ("preview", "decide"):
        assert viewer.post(f"/api/v1/in-doubt/{path}", json=body).status_code == 403
        assert world.http("narrow").post(f"/api/v1/in-doubt/{path}", json=body).status_code == 422
    assert viewer.get("/in-doubt/decide", params=body).status_code == 403
    operator = world.http()
    assert operator.post("/api/v1/in-doubt/decide", json=body | {"gid": "x"}).status_code == 422
    assert operator.post("/api/v1/in-doubt/decide", json=body | {"kind": "x"}).status_code == 422
    browser = world.browser()
    form = hidden(browser.get("/in-doubt/decide", params=body).text)
    assert browser.post("/in-doubt/decide", data=form | {"kind": "x"}).status_code == 422
    run = world.desks.astray()
    world.database.prepared = [Found(Gid(shard_of(run, 2), 0, run, "credit"), 90.0)]
    known = operator.post("/api/v1/in-doubt/decide", json=chosen(world))
    assert "isn't for you to decide, the journal says: commit" in known.text
    assert world.database.told == []


def test_nothing_is_done_that_could_not_be_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = chosen(world)
    monkeypatch.setattr(world.desks.store, "note", _broken)
    with pytest.raises(ConnectionError):
        world.http().post("/api/v1/in-doubt/decide", json=body)
    assert world.database.told == []


def _broken(*_: Any) -> None:
    raise ConnectionError("the journal is down")


def test_where_it_takes_two_people_another_has_to_say_the_same() -> None:
    world = world_of(FORCE)
    body = chosen(world)
    ann, bob = world.http(Role.OPERATOR), world.http(Role.ADMIN)
    seen = ann.post("/api/v1/in-doubt/preview", json=body).json()
    assert seen["second"] == {"approvers": [], "expires_s": 7_200.0}
    asked = ann.post("/api/v1/in-doubt/decide", json=body | {"reason": "signed"})
    assert (asked.status_code, asked.json()["asked"]["actor"]) == (202, "the operator")
    world.desks.turns(2)
    assert ann.post("/api/v1/in-doubt/decide", json=body).status_code == 409
    [waits] = bob.get("/api/v1/approvals").json()["branches"]
    assert (waits["kind"], waits["actor"], waits["reason"]) == ("commit", "the operator", "signed")
    assert world.http("narrow").get("/api/v1/approvals").json()["branches"] == []
    assert world.database.told == []
    done = bob.post("/api/v1/in-doubt/decide", json=body | {"reason": "seen"})
    assert done.json()["came_to"] == "committed"
    assert audited(world) == [
        ("decide", "credit", "the operator", "the admin", "signed; seen"),
        ("ask", "credit", "the operator", "", "signed"),
    ]
    assert bob.get("/api/v1/approvals").json()["branches"] == []


def test_saying_the_other_thing_is_asking_for_that() -> None:
    world = world_of(FORCE)
    ann, bob = world.http(Role.OPERATOR), world.http(Role.ADMIN)
    ann.post("/api/v1/in-doubt/decide", json=chosen(world))
    world.desks.turns(2)
    world.desks.clock += 1
    assert bob.post("/api/v1/in-doubt/decide", json=chosen(world, "abort")).status_code == 202
    world.desks.turns(2)
    assert [one["kind"] for one in ann.get("/api/v1/approvals").json()["branches"]] == ["abort"]
    world.desks.clock += 7_201
    assert ann.get("/api/v1/approvals").json()["branches"] == []
    late = ann.post("/api/v1/in-doubt/decide", json=chosen(world, "abort"))
    assert late.status_code == 202, "what bob asked for is over: this asks anew"
    assert world.database.told == []


def test_it_is_asked_for_and_approved_on_pages() -> None:
    world = world_of(FORCE)
    first, second = world.browser(), world.browser(Role.ADMIN)
    asked = first.get("/in-doubt/decide", params=chosen(world)).text
    assert "This takes two people. The button only asks for it" in text_of(asked)
    assert "Ask for a second person" in text_of(asked)
    done = first.post("/in-doubt/decide", data=hidden(asked) | {"reason": "signed"})
    assert "credit in bank: waits for a second person" in text_of(done.text)
    world.desks.turns(2)
    assert "the operator wants to commit it: signed" in text_of(first.get("/in-doubt").text)
    mine = text_of(first.get("/in-doubt/decide", params=chosen(world)).text)
    assert ("all the same" in mine, "Ask for" in mine) == (False, False)
    listed = second.get("/approvals")
    assert "commit credit a prepared branch in bank the operator signed" in text_of(listed.text)
    place = listed.text.partition("/in-doubt/decide?")[2].partition('"')[0].replace("&amp;", "&")
    page = second.get(f"/in-doubt/decide?{place}").text
    assert "Commit all the same" in text_of(page)
    second.post("/in-doubt/decide", data=hidden(page))
    assert world.database.told == [("commit", "credit")]


def test_somebody_without_a_name_is_neither_of_the_two() -> None:
    world = world_of(FORCE)
    [found] = world.database.prepared
    rulings = Rulings(world.desks.store, FORCE, world.desks.now)
    with pytest.raises(OperationRefusedError, match="nobody says who you are"):
        rulings.rule_on(found.gid, "bank", "commit", " ", "")
    assert Rulings(world.desks.store).rule_on(found.gid, "bank", "commit", "", "") is None
