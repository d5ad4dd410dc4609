"""`saga doctor`, `saga db`, `saga journal`, serving, errors and the reference."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from orchestrator import errors
from orchestrator.cli.app import app
from orchestrator.cli.exits import Exit, exit_code
from orchestrator.cli.reference import reference
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.transport.messages import Answer, Work
from orchestrator.wiring import Definitions
from tests.unit.cli.stage import Stage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def levels(stage: Stage, *args: str) -> dict[str, str]:
    return {f["check"]: f["level"] for f in stage.json("doctor", *args)["findings"]}


def test_a_healthy_installation(stage: Stage) -> None:
    stage.start()
    assert stage.run("doctor").exit_code == 0
    assert set(levels(stage).values()) == {"ok", "note"}
    assert levels(stage, "--app", "x")["participants"] == "ok"


def test_each_problem_is_found_with_its_way_out(stage: Stage) -> None:
    stage.stuck()
    stage.asked.time = stage.clock + 90
    stage.asked.workers = 0
    result = stage.run("doctor", "--app", "x")
    assert result.exit_code == 1
    for way_out in ("NTP", "saga list --stuck", "saga worker --queues q", "deploy"):
        assert way_out in result.output
    assert levels(stage)["coordinators"] == "ok"


def test_no_coordinator_and_no_broker_and_no_schema(stage: Stage) -> None:
    assert levels(stage)["coordinators"] == "problem"
    stage.asked.error = errors.TransportUnavailableError("refused")
    found = levels(stage)
    assert found["broker"] == "problem"
    assert "queues" not in found
    stage.asked.schema_error = errors.SchemaError("old")
    assert "saga db upgrade" in stage.run("doctor").output


def test_a_broker_that_evicts_or_warns(stage: Stage) -> None:
    stage.start()
    stage.asked.warnings = ("no append-only file",)
    assert "append-only" in stage.run("doctor").output
    assert stage.run("doctor").exit_code == 0
    stage.asked.error = errors.UnsafeBrokerError("evicts")
    result = stage.run("doctor")
    assert result.exit_code == 1
    assert "noeviction" in result.output


def test_journal_check_finds_tampering_and_a_wrong_read_model(stage: Stage) -> None:
    stage.stuck()
    archived = {"files": 0, "runs": 0, "events": 0}
    whole = {"ok": True, "findings": [], "more": False, "archived": archived}
    assert stage.json("journal", "check") == whole
    del stage.store._tables.runs["aaaa1111"]
    result = stage.run("journal", "check")
    assert result.exit_code == 1
    assert "aaaa1111" in result.output
    assert stage.json("journal", "rebuild") == {"runs": 1}
    assert stage.run("journal", "check").exit_code == 0
    shard = next(s for s in stage.store._tables.shards if len(s.log) > 2)
    shard.log[1] = shard.log[1]._replace(actor="mallory")
    assert stage.run("journal", "check").exit_code == 1


def real(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.output


def test_a_real_schema_is_refused_upgraded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--journal", f"sqlite:///{tmp_path / 'j.db'}")
    assert real("db", "check", *where)[0] == 4
    code, said = real("list", *where)
    assert code == 4
    assert "saga db upgrade" in said
    assert "CREATE TABLE saga_event" in real("db", "upgrade", "--sql", *where)[1]
    assert real("db", "check", *where)[0] == 4  # --sql changed nothing
    assert real("db", "upgrade", *where)[0] == 0
    assert real("db", "check", *where)[0] == 0
    assert real("list", *where)[0] == 0


def test_settings_come_from_the_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGA_CONFIG", "")  # so that it is put back
    config = tmp_path / "own.toml"
    config.write_text(f'journal_url = "sqlite:///{tmp_path / "own.db"}"\n')
    assert real("db", "upgrade", "--config", str(config))[0] == 0
    assert (tmp_path / "own.db").exists()
    assert real("list", "--config", str(tmp_path / "no.toml"))[0] == 2


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("list", "--journal", "mysql://x/y"), 2),
        (("list", "--journal", "postgresql+psycopg://u@127.0.0.1:1/x"), 5),
        (("worker",), 2),
        (("dev",), 2),
        (("worker", "--app", "no_such_module"), 2),
        (("worker", "--processes", "0"), 2),
    ],
)
def test_what_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    found, said = real(*args)
    assert found == code, said
    assert "Traceback" not in said


def test_every_error_of_the_package_has_an_exit_code() -> None:
    assert exit_code(errors.RunNotFoundError("x")) is Exit.NOT_FOUND
    assert exit_code(errors.PayloadTooLargeError("x")) is Exit.USAGE
    assert exit_code(errors.Stuck("r", "x")) is Exit.UNSUCCESSFUL
    assert exit_code(errors.TransportUnavailableError("x")) is Exit.UNAVAILABLE


def test_no_color_is_respected(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.stuck()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in stage.run("list").output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in stage.run("list").output


def test_the_reference_is_up_to_date() -> None:
    made = (ROOT / "docs" / "cli.md").read_text()
    assert made == reference(), "run python -m orchestrator.cli.reference > docs/cli.md"


def test_version() -> None:
    assert real("--version")[1].startswith("saga-orchestrator ")


class Heard:
    """A worker's end of a transport."""

    def __init__(self, answers: list[Answer]) -> None:
        self._answers = answers

    def answer(self, answers: Sequence[Answer]) -> None:
        self._answers.extend(answers)


def test_effects_that_a_restored_journal_forgot_are_listed(stage: Stage, tmp_path: Path) -> None:
    shop = Service("shop", database=f"sqlite:///{tmp_path / 'shop.db'}")

    @shop.participant
    def act(session: Session, a: int) -> None: ...

    assert stage.run("journal", "forgotten").exit_code == 2
    stage.defined = Definitions({}, [shop, Service("bank")])
    executor = WorkExecutor(Registry.of([shop]))
    work = Work("f" * 32, 0, 1, "reserve", "do", 1, "shop.act", {"a": 1}, 10.0)
    answers: list[Answer] = []
    found = stage.run("journal", "forgotten", "--app", "x")
    assert found.exit_code == 0, found.output
    assert "bank: not compared" in found.output
    executor.execute([work], Heard(answers))
    assert [answer.outcome for answer in answers] == ["succeeded"]
    found = stage.run("journal", "forgotten", "--app", "x")
    assert found.exit_code == 1
    assert f"{'f' * 32} reserve at shop" in found.output
    said = json.loads(stage.run("journal", "forgotten", "--app", "x", "--json").stdout)
    assert said["not_compared"] == ["bank"]
    assert [finding["step"] for finding in said["findings"]] == ["reserve"]
