"""Services and what is in doubt, on pages and in the API."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.client import Client, ClientOptions
from orchestrator.console import Role, console
from orchestrator.console.around import Surroundings
from orchestrator.console.doubts import Doubts
from orchestrator.console.rulings import Rulings
from orchestrator.errors import TransportUnavailableError
from orchestrator.journal.records import shard_of
from orchestrator.kernel.second import NOBODY, TwoPeople
from orchestrator.participant.barrier import Held
from orchestrator.participant.two_phase.port import Found
from orchestrator.transport.gid import Gid
from orchestrator.transport.presence import WorkerState
from orchestrator.transport.safety import QueueState
from tests.unit.console.desks import PEER, SECRETS, Desks, hidden
from tests.unit.console.test_pages import text_of
from tests.waiting import eventually


class Database:
    """What a service's database has prepared, and what it was told."""

    def __init__(self, *found: Found) -> None:
        self.prepared = list(found)
        self.told: list[tuple[str, str]] = []
        self.name = "bank"
        self.branches = self.database = self
        self.performer = self
        self.participants: dict[str, Any] = {}
        self.queue = "bank"
        self.down = False
        self.held: list[Held] = []

    def held_of(self, run: str) -> list[Held]:
        return [one for one in self.held if one.run == run]

    def heard_of(self) -> dict[int, int]:
        return {}

    def found(self) -> list[Found]:
        if self.down:
            raise RuntimeError("the database is down")
        return list(self.prepared)

    def end(self, work: Any) -> Any:
        self.told.append((work.kind, work.step))
        self.prepared = [one for one in self.prepared if one.gid.step != work.step]
        return SimpleNamespace(outcome="succeeded", failure=None)


class World:
    """A console whose surroundings are a test's own."""

    def __init__(self, desks: Desks, database: Database, rule: TwoPeople | None = None) -> None:
        self.desks = desks
        self.database = database
        self.told: list[QueueState] | Exception = []
        self.working: list[WorkerState] = []
        client = Client(desks.store, {}, options=ClientOptions("c"), clock=desks.now)
        services: Any = [database]
        rulings = Rulings(desks.store, rule or NOBODY, desks.now)
        doubts = Doubts(services, desks.store, client.state, 600.0, rulings)
        self.around = Surroundings(services, self, doubts, desks.now)

    def queues(self, names: Sequence[str]) -> list[QueueState]:
        if isinstance(self.told, Exception):
            raise self.told
        return [state for state in self.told if state.name in names]

    def workers(self) -> list[WorkerState]:
        return self.working

    def http(self, who: Role | str = Role.OPERATOR) -> TestClient:
        def clients(actor: str) -> Client:
            return Client(self.desks.store, {}, options=ClientOptions(actor), clock=self.desks.now)

        desks = self.desks
        app = console(
            *(desks.store, clients, {}, desks.options, desks.now, desks.sleep), around=self.around
        )
        secret = SECRETS[who] if isinstance(who, Role) else who
        return TestClient(
            app,
            base_url="http://localhost",
            headers={"Authorization": f"Bearer {secret}"},
            client=PEER,
            follow_redirects=False,
        )

    def browser(self, who: Role = Role.OPERATOR) -> TestClient:
        made = self.http()
        del made.headers["Authorization"]
        assert made.post("/login", data={"token": SECRETS[who]}).status_code == 303
        return made


@pytest.fixture
def world(desks: Desks) -> World:
    """One branch that was to be committed, and one that nobody knows of."""
    run = desks.astray()
    shard = desks.store.find(run).shard
    found = Found(
        Gid(shard, 0, run, "credit"), 90.0, locks=("account RowExclusiveLock",), waiting=2
    )
    return World(desks, Database(found))


def test_what_is_in_doubt_is_listed_with_its_decision_and_ended(world: World) -> None:
    client = world.browser()
    asked = client.get("/in-doubt").text
    assert "credit commit 1m 30s account RowExclusiveLock 2" in text_of(asked)
    done = client.post("/in-doubt", data=hidden(asked))
    assert "credit in bank: committed" in text_of(done.text)
    assert world.database.told == [("commit", "credit")]
    assert "Nothing is in doubt in bank" in text_of(done.text)


def test_the_api_ends_only_what_is_named_and_decided(world: World) -> None:
    client = world.http()
    [one] = client.get("/api/v1/in-doubt").json()["found"]
    assert (one["decision"], one["waiting"]) == ("commit", 2)
    nothing = client.post("/api/v1/in-doubt", json={"service": "bank", "gids": ["other"]})
    assert nothing.json() == {"branches": []}
    assert world.database.told == []
    wrong = client.post("/api/v1/in-doubt", json={"service": "x", "gids": [one["gid"]]})
    assert wrong.status_code == 422
    done = client.post("/api/v1/in-doubt", json={"service": "bank", "gids": [one["gid"]]}).json()
    assert done["branches"][0]["came_to"] == "committed"


def test_what_nobody_knows_is_left_until_it_is_old(desks: Desks) -> None:
    run = desks.stuck()
    shard = desks.store.find(run).shard
    gone = next(f"r{n}" for n in range(99) if _shard(desks, f"r{n}") == shard)
    world = World(desks, Database(Found(Gid(shard, 0, gone, "x"), 90.0)))
    client = world.http()
    [one] = client.get("/api/v1/in-doubt").json()["found"]
    assert (one["decision"], one["why"]) == ("no record", "left alone until it is 10m old")
    body = {"service": "bank", "gids": [one["gid"]]}
    assert client.post("/api/v1/in-doubt", json=body).json()["branches"][0]["came_to"] == ""
    world.database.prepared = [Found(world.database.prepared[0].gid, 700.0)]
    world.database.held = [Held(gone, "y", "done"), Held(gone, "z", "tombstone")]
    [one] = client.post("/api/v1/in-doubt", json=body).json()["branches"]
    assert one["came_to"] == ""
    assert one["why"].endswith("this has taken effect: y in bank")
    world.database.held = []
    assert client.post("/api/v1/in-doubt", json=body).json()["branches"][0]["came_to"] == (
        "rolled back"
    )


def _shard(desks: Desks, run: str) -> int:

    return shard_of(run, desks.store.shards())


def test_viewers_see_and_may_not_end_and_others_runs_stay_unseen(world: World) -> None:
    viewer = world.http(Role.VIEWER)
    [one] = viewer.get("/api/v1/in-doubt").json()["found"]
    body = {"service": "bank", "gids": [one["gid"]]}
    assert viewer.post("/api/v1/in-doubt", json=body).status_code == 403
    assert "End those" not in viewer.get("/in-doubt").text
    narrow = world.http("narrow")  # of the saga "shop" alone
    assert narrow.get("/api/v1/in-doubt").json()["found"] == []
    assert narrow.post("/api/v1/in-doubt", json=body).json() == {"branches": []}
    assert world.database.told == []


def test_a_database_that_is_down_is_said_to_be(world: World) -> None:
    world.database.down = True
    assert "bank doesn't answer. the database is down" in text_of(
        world.http().get("/in-doubt").text
    )


def test_services_show_their_queues_workers_and_participants(world: World) -> None:
    world.told = [QueueState("shop", 1_234, 0), QueueState("bank", 0, 2)]
    page = text_of(world.http(Role.VIEWER).get("/services").text)
    assert "shop nobody reads shop 1,234 waiting" in page
    assert "bank 2 workers on bank 0 waiting two-phase" in page
    assert "debit buy none not defined" in page
    assert "No worker has shop.credit , shop.debit :" in page
    seen = world.http("narrow").get("/api/v1/services").json()
    assert seen["services"] == [], "no saga of theirs calls any"


def worker(name: str, *participants: str, pid: int = 7) -> WorkerState:
    return WorkerState(name, pid, 2, ("bank",), participants, "1.2.3", "saga")


def test_workers_are_named_with_what_they_have_registered(world: World) -> None:
    world.working = [worker("celery@one", "shop.debit", "shop.credit"), worker("x@two", "else.y")]
    client = world.http(Role.VIEWER)
    page = text_of(client.get("/services").text)
    assert "celery@one 7 answers 0 s ago 2 bank 2 registered shop.debit , shop.credit 1.2.3" in page
    assert "debit buy 1 not defined" in page
    assert "No worker has" not in page
    [one] = [
        row
        for row in client.get("/api/v1/services").json()["workers"]
        if row["worker"]["name"] == "x@two"
    ]
    assert (one["missing"], one["worker"]["participants"]) == (False, ["else.y"])


def test_a_worker_that_answers_no_more_is_missing_until_it_is_started_again(world: World) -> None:
    world.working = [worker("one", "shop.debit"), worker("two", "shop.debit")]
    client = world.http()
    client.get("/services")
    world.working = [worker("two", "shop.debit")]
    assert "missing" not in text_of(client.get("/services").text).partition("A worker is")[0], (
        "kept"
    )
    world.desks.clock += 60.0
    page = text_of(client.get("/services").text)
    assert "one 7 missing since 1m ago" in page
    assert "debit buy 1 not" in page, "who is missing serves nobody"
    world.working = [worker("one", "shop.debit", pid=8), worker("two")]
    world.desks.clock += 60.0
    rows = client.get("/api/v1/services").json()["workers"]
    assert [(row["worker"]["pid"], row["missing"]) for row in rows] == [(8, False), (7, False)]
    world.working = []
    world.desks.clock += 60.0
    assert text_of(client.get("/services").text).count("missing since") == 2
    world.desks.clock += 86_400.0
    assert "No worker answers." in text_of(client.get("/services").text)


def test_who_sees_some_sagas_sees_what_their_services_have_registered(world: World) -> None:
    world.working = [worker("one", "shop.debit"), worker("two", "shop.debit", "svc.reserve")]
    narrow = world.http("narrow")  # of the saga "shop" alone, which nobody launched yet
    assert "Workers" not in text_of(narrow.get("/services").text)
    world.desks.launch("ffff6666", saga="shop")
    world.desks.clock += 60.0
    [row] = narrow.get("/api/v1/services").json()["workers"]
    assert (row["worker"]["name"], row["worker"]["participants"]) == ("two", ["svc.reserve"])
    assert row["worker"]["queues"] == []


def test_a_broker_that_does_not_answer_is_said_to_be(world: World) -> None:
    world.told = TransportUnavailableError("no broker at amqp://x")
    page = text_of(world.http().get("/services").text)
    assert "Nothing is known of queues and workers: no broker at amqp://x" in page
    assert "debit" in page


def test_a_console_without_apps_says_so(desks: Desks) -> None:
    client = desks.browser()
    assert "No service of this console's apps has two-phase" in text_of(
        client.get("/in-doubt").text
    )
    assert "this console has no broker to ask" in text_of(client.get("/services").text)
    assert "this console has no broker to ask" in text_of(client.get("/").text)


def test_the_overview_tells_of_queues_and_workers_what_was_found_last(world: World) -> None:
    world.told = [QueueState("shop", 1_234, 2), QueueState("bank", 0, 0)]
    world.working = [worker("one", "shop.debit"), worker("two", "shop.debit")]
    client = world.http(Role.VIEWER)

    def overview() -> str:
        return text_of(client.get("/").text)

    eventually(lambda: "2 workers answer" in overview())
    page = overview()
    assert "shop 1,234 2" in page
    assert "No worker has shop.credit" in page
    world.working = []
    world.desks.clock += 60.0
    eventually(lambda: "0 workers answer, 2 missing" in overview())
    assert "shop 1,234" not in text_of(world.http("narrow").get("/").text), "no saga of theirs"


def test_who_goes_missing_is_known_though_nobody_looks(world: World) -> None:
    world.working = [worker("one", "shop.debit")]
    with world.http():  # it is told that it begins, and nobody asks it for anything
        eventually(lambda: world.around.glance([]) is not None)
    seen = world.around.glance([])
    assert seen is not None
    assert [row.worker.name for row in seen.workers] == ["one"]
