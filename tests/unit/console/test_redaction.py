"""A canary: one value that is declared redacted, echoed by every error, looked for on every surface."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator import wiring
from orchestrator.console import ConsoleOptions, Role
from orchestrator.definition.plan import Param, Sequence, Wait
from orchestrator.errors import SettingsError
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel.events import Failure
from orchestrator.kernel.messages import Launch
from orchestrator.kernel.second import TwoPeople
from orchestrator.settings import Settings
from orchestrator.transport.messages import Answer, Work
from tests.unit.console.desks import TOKENS, Desks
from tests.unit.coordinator.scripted import answer, plan_of

CANARY = "canary-4111-1111"
RUN = "ffff6666"


@pytest.fixture
def desks(monkeypatch: pytest.MonkeyPatch) -> Desks:
    """One stuck run whose participants echo what they were given."""
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    stage = Desks()
    made = plan_of("hold", "charge", saga="secretive", attempts=2)
    hold, charge = made.body.nodes
    plan = replace(
        made,
        parameters={"card": "str", "note": "str"},
        redacted=(("card",),),
        body=Sequence(
            (
                replace(hold, args={"card": Param("card")}, redacted_result=((),)),
                Wait("code", "code", redacted=((),)),
                replace(charge, args={"card": Param("card"), "note": Param("note")}),
            )
        ),
    )

    def handler(work: Work) -> Answer:
        if work.kind == "undo" or work.step == "charge":
            failure = Failure("bank.Error", f"card {CANARY} is unknown", (), f"Traceback: {CANARY}")
            return answer(work, "failed", failure=failure)
        return answer(work, result=f"held {CANARY}")

    stage.transport.handler = handler
    given = {"card": CANARY, "note": "seen by all"}
    launch = Launch(
        at=stage.clock, run_id=RUN, saga=plan.saga, version=1, plan=plan.hash, input=given
    )
    stage.store.launch([LaunchRequest(launch, plan)])
    stage.start()
    stage.turns(6)
    assert stage.run("signal", RUN, "code", json.dumps(CANARY)).exit_code == 0
    for _ in range(10):
        stage.turns(3)
        stage.clock += 10
    assert stage.store.find(RUN).status == "stuck"
    assert CANARY in stage.store.find(RUN).reason, "the journal has it: this test would see nothing"
    return stage


PAGES = (
    "/",
    "/runs",
    "/incidents",
    f"/runs/{RUN}",
    f"/runs/{RUN}?after=6",
    f"/runs/{RUN}/act/retry?step=hold",
    "/audit",
)
GETS = (
    *("runs", f"runs/{RUN}", f"runs/{RUN}/state?after=5", f"runs/{RUN}/events"),
    *("runs?stuck=true", f"runs/{RUN}/drawing", "sagas/secretive", "stats", "pulse"),
    "audit",
)
COMMANDS = (
    *(("show", RUN), ("show", RUN, "--full"), ("events", RUN), ("events", RUN, "--at", "1s")),
    *(("list",), ("retry", RUN, "--dry-run"), ("retry", "--stuck", "--dry-run"), ("doctor",)),
    *(("watch", RUN), ("stats",), ("incidents",), ("retry", RUN)),
    ("audit",),
)


@pytest.mark.parametrize("role", list(Role))
def test_no_page_and_no_answer_has_it(desks: Desks, role: Role) -> None:
    for options in ({}, {"viewers_see_values": True}):
        browser, client = desks.browser(role, **options), desks.http(role, **options)
        for path in (*PAGES, "/bulk?operation=retry&stuck=true"):
            assert CANARY not in browser.get(path).text, path
        clusters = client.get("/api/v1/incidents").json()["clusters"]
        assert clusters
        for one in clusters:
            assert CANARY not in json.dumps(one)
            assert CANARY not in browser.get(f"/incidents/{one['cluster']}").text
            assert CANARY not in client.get(f"/api/v1/incidents/{one['cluster']}").text
        for path in GETS:
            assert CANARY not in client.get(f"/api/v1/{path}").text, path
    page = desks.browser(Role.OPERATOR).get(f"/runs/{RUN}").text
    assert "seen by all" in page
    assert "card (redacted) is unknown" in page


def test_what_is_done_says_nothing_of_it(desks: Desks) -> None:
    client = desks.http()
    for path, body in (
        (f"runs/{RUN}/preview", {"operation": "retry"}),
        ("bulk/preview", {"operation": "retry", "filter": {"stuck": True}}),
        (f"runs/{RUN}/retry", {}),
    ):
        found = client.post(f"/api/v1/{path}", json=body)
        assert found.status_code == 200, found.text
        assert CANARY not in found.text, path
    with client.stream("GET", f"/api/v1/runs/{RUN}/stream") as stream:
        for line in stream.iter_lines():
            assert CANARY not in line
            if line.startswith("data:"):
                break


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_it(desks: Desks, command: tuple[str, ...]) -> None:
    for arguments in (command, ("--json", *command)):
        shown = desks.run(*arguments)
        assert CANARY not in shown.stdout + shown.stderr, arguments
        if command[0] in {"show", "events", "list"}:
            assert "(redacted)" in shown.stdout, arguments


def test_a_cluster_and_those_told_of_it_get_it_without(
    desks: Desks, caplog: pytest.LogCaptureFixture
) -> None:
    found = desks.store.clusters().clusters
    assert any(CANARY in one.message for one in found), "the journal has it"
    for one in found:
        for arguments in (
            ("incidents", "show", one.cluster),
            ("--json", "incidents", "show", one.cluster),
        ):
            shown = desks.run(*arguments)
            assert CANARY not in shown.stdout + shown.stderr
            assert "card (redacted) is unknown" in shown.stdout
    teller = wiring.notifier(Settings(), desks.store, {}, lambda _shard: None)
    assert teller.look() == len(found)
    told = [r.getMessage() for r in caplog.records if r.name.endswith("notices")]
    assert all("card (redacted) is unknown" in line for line in told)
    assert CANARY not in "".join(told)


def test_what_waits_for_a_second_person_says_nothing_of_it(desks: Desks) -> None:
    """What is asked for by its place, a reason by what it echoes, the previews by both."""
    secret, run = "secret-of-the-code", "ffff7777"
    plan = desks.store.plan(desks.store.find(RUN).plan)
    given = {"card": CANARY, "note": "seen by all"}
    launch = Launch(
        at=desks.clock, run_id=run, saga=plan.saga, version=1, plan=plan.hash, input=given
    )
    desks.store.launch([LaunchRequest(launch, plan)])
    desks.two_people = TwoPeople(frozenset({"skip", "retry"}))
    desks.start()
    desks.turns(6)
    skip = {"step": "code", "result": secret, "reason": f"{secret} came by phone"}
    client = desks.http()
    number = client.post(f"/api/v1/runs/{run}/skip", json=skip).json()["waits"]
    other = client.post(f"/api/v1/runs/{RUN}/retry", json={"reason": f"not {CANARY}"}).json()
    assert secret in str(desks.store.history(run)[-1].event), "the journal has it"
    shown = [
        *(desks.run("approvals", "list").stdout, desks.run("--json", "approvals", "list").stdout),
        client.get("/api/v1/approvals").text,
        desks.browser().get("/approvals").text,
    ]
    for which, its in ((run, number), (RUN, other["waits"])):
        shown += [
            desks.run("approvals", "show", which, str(its)).stdout,
            desks.run("--json", "approvals", "show", which, str(its)).stdout,
            client.get(f"/api/v1/runs/{which}/approvals/{its}").text,
            client.get(f"/api/v1/runs/{which}/events").text,
            desks.browser().get(f"/runs/{which}/act/approve?number={its}").text,
            desks.browser().get(f"/runs/{which}").text,
        ]
    shown += [client.get("/api/v1/audit").text]
    for text in shown:
        assert secret not in text
        assert CANARY not in text
    assert "(redacted)" in shown[2]


def test_those_whom_the_settings_name_are_shown_it_and_viewers_never(desks: Desks) -> None:
    def seen(role: Role, least: Role | None) -> bool:
        client = desks.http(role, redacted_shown_to=least, viewers_see_values=True)
        return CANARY in client.get(f"/api/v1/runs/{RUN}").text

    roles: Any = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
    assert [seen(role, None) for role in roles] == [False, False, False]
    assert [seen(role, Role.ADMIN) for role in roles] == [False, False, True]
    assert [seen(role, Role.OPERATOR) for role in roles] == [False, True, True]
    with pytest.raises(SettingsError, match="viewers never"):
        ConsoleOptions(tokens=TOKENS, redacted_shown_to=Role.VIEWER).check()
