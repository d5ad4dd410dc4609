"""`saga hold`, `saga release`, `saga holds`: what they stop, who and why, and the same from Python."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from orchestrator.client import AsyncClient, Client, ClientOptions
from orchestrator.errors import InvalidInputError, OperationRefusedError
from tests.unit.cli.stage import ACTOR, Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    stage = Stage()
    stage.launch("aaaa1111")
    return stage


def client(stage: Stage, actor: str = ACTOR) -> Client:
    return Client(stage.store, {}, options=ClientOptions(actor), clock=stage.now)


def look(stage: Stage) -> None:
    stage.clock += 1
    stage.turns()


def test_a_saga_is_held_and_released_with_who_and_why(stage: Stage) -> None:
    result = stage.run("hold", "saga", "shop", "--yes", "--reason", "wrong prices")
    assert result.exit_code == 0
    assert "1 open runs" in result.stderr
    assert "shop: 1 accepted" in result.stderr
    stage.start()
    look(stage)
    assert stage.transport.sent == []
    assert f"saga shop held by {ACTOR}: wrong prices" in stage.run("list").stdout
    listed = stage.run("holds").stdout
    assert "saga shop" in listed
    assert "wrong prices" in listed
    assert stage.run("hold", "saga", "shop", "--yes").exit_code == 4
    assert stage.json("release", "saga", "shop", "--yes", "--reason", "mended")["reason"]
    look(stage)
    assert stage.store.find("aaaa1111").status == "completed"
    assert stage.run("release", "saga", "shop", "--yes").exit_code == 4
    assert "nothing is held" in stage.run("holds").stderr
    assert ACTOR in stage.run("holds", "--all").stdout
    audited = stage.run("audit").stdout.splitlines()
    assert ["release" in line and "saga:shop" in line for line in audited[1:3]] == [True, False]
    assert "hold" in audited[2]
    assert "wrong prices" in audited[2]


def test_a_preview_changes_nothing_and_a_script_has_to_say_yes(stage: Stage) -> None:
    seen = stage.json("hold", "service", "svc", "--dry-run")["preview"]
    assert (seen["runs"], seen["held"]) == ({"shop": {"accepted": 1}}, None)
    assert stage.run("hold", "service", "svc").exit_code == 2
    assert stage.store.holds() == []
    stage.run("hold", "service", "svc", "--yes")
    assert stage.run("hold", "service", "svc", "--dry-run").exit_code == 4
    assert stage.run("release", "service", "svc", "--dry-run").exit_code == 0
    assert len(stage.store.holds()) == 1


def test_a_name_that_nothing_has_is_refused_and_the_known_ones_are_said(stage: Stage) -> None:
    for kind, known in (("saga", "shop"), ("service", "svc")):
        result = stage.run("hold", kind, "nosuch", "--yes")
        assert result.exit_code == 2
        assert f"there are {known}" in " ".join(result.stderr.split())
    with pytest.raises(InvalidInputError, match="undos is for a saga"):
        client(stage).holds.place("service", "svc", undos=True)


def test_from_python_it_leaves_the_same_record(stage: Stage) -> None:
    stage.run("hold", "saga", "shop", "--undos-too", "--yes", "--reason", "r")
    stage.run("release", "saga", "shop", "--yes", "--reason", "s")
    holds = AsyncClient(client(stage)).holds

    async def same() -> None:
        await holds.place("saga", "shop", undos=True, reason="r", hold_id="given")
        assert (await holds.preview("saga", "shop")).total == 1
        assert len(await holds.list()) == 1
        await holds.release("saga", "shop", reason="s")

    asyncio.run(same())
    stage.start()
    look(stage)
    log = [r.event for n in (0, 1) for r in stage.store.feed(n, 0, 99) if ":" in r.run_id]
    told: list[dict[str, object]] = [{**msgspec.to_builtins(one), "hold": ""} for one in log]
    assert told[:2] == told[2:]
    assert told[0]["undos"] is True


def test_placed_again_under_its_id_it_is_the_same_and_another_is_refused(stage: Stage) -> None:
    holds = client(stage, "ann").holds
    placed = holds.place("saga", "shop", hold_id="one")
    assert holds.place("saga", "shop", hold_id="one") == placed
    for hold_id, undos in (("two", False), ("one", True)):
        with pytest.raises(OperationRefusedError, match="held already by ann"):
            holds.place("saga", "shop", hold_id=hold_id, undos=undos)
