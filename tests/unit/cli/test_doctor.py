"""What the doctor says of the participants that open runs call."""

from __future__ import annotations

from sqlalchemy.orm import Session

from orchestrator.participant.service import Service, remote
from orchestrator.wiring import Definitions
from tests.unit.cli.stage import Stage

elsewhere = remote("svc", queue="q")
here = Service("svc", database="sqlite:///svc.db", queue="q")


@elsewhere.participant(undo=True)
def charge(a: int) -> int:
    """Live in another repository."""
    raise NotImplementedError


@here.participant
def reserve(session: Session, a: int) -> int:
    """Live here."""
    return a


def _found(defined: Definitions) -> list[tuple[str, str]]:
    stage = Stage()
    stage.start()
    stage.launch("aaaa1111", "reserve", "charge")
    stage.defined = defined
    found = stage.json("doctor", "--app", "x")["findings"]
    return [(f["level"], f["what"]) for f in found if f["check"] == "participants"]


def test_a_participant_that_lives_elsewhere_is_known_by_its_contract() -> None:
    assert [level for level, _ in _found(Definitions({}, [here], [charge]))] == ["ok"]
    [(level, what)] = _found(Definitions({}, [here]))
    assert level == "problem"
    assert "svc.charge, and the apps don't define it, nor a contract of it" in what
