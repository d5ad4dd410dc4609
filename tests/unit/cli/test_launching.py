"""`saga launch`: inputs, keys, tags, waiting, and files of many."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.waiting_option import completed
from orchestrator.definition.saga import Registry, saga
from orchestrator.participant.service import Service
from orchestrator.wiring import Definitions
from tests.unit.cli.stage import Stage

shop = Service("shop")


@shop.participant
def reserve(sku: str) -> str:
    raise AssertionError("the transport answers for it")


@saga(registry=Registry())
def order(sku: str, number: int = 1) -> str:
    return reserve(sku)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    made = Stage()
    made.defined = Definitions({"order": order}, [shop])
    return made


def test_input_inline_from_a_file_and_from_stdin(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"sku": "b"}')
    stage.run("launch", "order", '{"sku": "a"}')
    stage.run("launch", "order", str(file))
    stage.run("launch", "order", "-", stdin='{"sku": "c"}')
    stage.start()
    stage.turns()
    assert sorted(work.args["sku"] for work in stage.transport.sent) == ["a", "b", "c"]


def test_a_key_gives_the_same_run_and_tags_find_it(stage: Stage) -> None:
    first = stage.json("launch", "order", '{"sku": "a"}', "--key", "k", "--tag", "shop=paris")
    again = stage.json("launch", "order", '{"sku": "a"}', "--key", "k")
    assert (first["created"], again["created"]) == (True, False)
    assert first["run_id"] == again["run_id"]
    assert len(stage.json("list", "--tag", "shop=paris")["runs"]) == 1
    assert stage.json("list", "--tag", "shop=rome")["runs"] == []


def test_without_a_coordinator_launch_says_so(stage: Stage) -> None:
    assert "saga coordinator" in stage.run("launch", "order", '{"sku": "a"}').output


def test_wait_gives_the_outcome(stage: Stage) -> None:
    stage.start()
    stage.mend()
    result = stage.run("launch", "order", '{"sku": "a"}', "--wait")
    assert result.exit_code == 0
    assert "completed" in result.output


def test_wait_ends_in_time_with_6(stage: Stage) -> None:
    result = stage.run("launch", "order", '{"sku": "a"}', "--wait", "2")
    assert result.exit_code == 6
    assert "goes on" in result.output


def test_a_bare_wait_is_for_ever() -> None:
    assert completed(["--wait", "x"]) == ["--wait=1e+18", "x"]
    assert completed(["--wait", "5"]) == ["--wait", "5"]
    assert completed(["--", "--wait"]) == ["--", "--wait"]


@pytest.mark.parametrize(
    "args",
    [
        ("order", '{"sku": 5}'),
        ("order", '{"nosuch": 5}'),
        ("order", "{"),
        ("order", "nofile.json"),
        ("order", '{"sku": "a"}', "--key-field", "id"),
        ("order", '{"sku": "a"}', "--tag", "x"),
    ],
)
def test_a_wrong_input_launches_nothing(stage: Stage, args: tuple[str, ...]) -> None:
    assert stage.run("launch", *args).exit_code == 2
    assert stage.json("list")["runs"] == []


def test_a_file_launches_a_run_a_line_with_keys_and_tags(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text("".join(json.dumps({"sku": f"s{n}"}) + "\n" for n in range(1200)))
    args = ("launch", "order", "--file", str(file), "--key-field", "sku", "--tag", "day=1")
    assert stage.json(*args)["created"] == 1200
    assert stage.json(*args)["created"] == 0
    assert len(stage.json("list", "--tag", "day=1", "--limit", "1000")["runs"]) == 1000
    assert stage.json("list", "--key", "s7")["runs"][0]["key"] == "s7"


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2"), ("[]", "object"), ('{"sku": 5}', "run 2"), ('{"sku": "b"}', "'id'")],
)
def test_one_bad_line_launches_nothing(stage: Stage, tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "orders.jsonl"
    field = ("--key-field", "id") if said == "'id'" else ()
    file.write_text(f'{{"sku": "a"}}\n{line}\n')
    result = stage.run("launch", "order", "--file", str(file), *field)
    assert result.exit_code == 2
    assert said in result.output
    assert stage.json("list")["runs"] == []


def test_a_file_can_be_waited_for(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    stage.mend()
    file = tmp_path / "orders.jsonl"
    file.write_text('{"sku": "a"}\n\n{"sku": "b"}\n')
    result = stage.json("launch", "order", "--file", str(file), "--wait")
    assert result["statuses"] == {"completed": 2}


def test_a_file_stands_for_input_and_key(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"sku": "a"}\n')
    assert stage.run("launch", "order", "{}", "--file", str(file)).exit_code == 2
    assert stage.run("launch", "order", "--key", "k", "--file", str(file)).exit_code == 2
    assert stage.run("launch", "order", "--file", str(tmp_path / "no")).exit_code == 2
