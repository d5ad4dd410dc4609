"""Nobody gets in who wasn't let in: every route, each role and none."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from msgspec.structs import replace
from starlette.testclient import TestClient

from orchestrator.console import ConsoleOptions, Grant, Proxy, Role, Token
from orchestrator.console.access import digest, is_loopback, new_token
from orchestrator.console.security import PUBLIC, check_routes, role_of
from orchestrator.errors import SettingsError
from tests.unit.console.desks import PEER, SECRETS, TOKENS, Desks, hidden

WRONG = "saga_wrong"


def routes(desks: Desks) -> list[tuple[str, str, Role | None]]:
    """Method, path and the role it needs, of every route there is."""
    found = [
        (method, route.path, role_of(route))
        for route in desks.app().routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    assert len(found) > 30
    return found


def path_of(path: str) -> str:
    return (
        path.replace("{run}", "aaaa1111").replace("{operation}", "retry").replace("{saga}", "shop")
    )


def ask(client: TestClient, method: str, path: str) -> Any:
    json: dict[str, str] | None = {} if method == "POST" else None
    return client.request(method, path_of(path), json=json)


def test_every_route_denies_who_is_not_known(desks: Desks) -> None:
    desks.stuck()
    for secret in (None, WRONG, ""):
        client = desks.http(secret)
        for method, path, role in routes(desks):
            answer = ask(client, method, path)
            if role is None:
                assert path in PUBLIC, path
            elif path.startswith(("/api/", "/metrics")):
                assert answer.status_code == 401, (method, path)
                assert answer.json()["error"]["type"] == "UnauthenticatedError"
            else:
                assert answer.status_code == 303, (method, path)
                assert answer.headers["location"] == "/login"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b'{"reason": 1}'])
def test_who_is_not_known_learns_nothing_of_a_body(desks: Desks, body: bytes) -> None:
    client = desks.http(None)
    for method, path, role in routes(desks):
        if method == "POST" and role is not None and path.startswith("/api/"):
            headers = {"Content-Type": "application/json"}
            answer = client.request(method, path_of(path), content=body, headers=headers)
            assert answer.status_code == 401, (path, answer.text)


@pytest.mark.parametrize("role", list(Role))
def test_every_route_lets_in_the_roles_it_is_for_and_no_others(desks: Desks, role: Role) -> None:
    desks.stuck()
    client = desks.http(role, streams_max=0)
    for method, path, needed in routes(desks):
        status = ask(client, method, path).status_code
        assert status < 500, (method, path)
        if needed is not None:
            assert (status == 403) is not role.includes(needed), (method, path, status)
            assert status != 401, (method, path)


def test_only_operators_change_anything(desks: Desks) -> None:
    changing = [
        (path, role) for method, path, role in routes(desks) if method not in {"GET", "HEAD"}
    ]
    for path, role in changing:
        if path not in {"/login", "/logout"}:
            upkeep = path == "/api/v1/archive"
            assert role is (Role.ADMIN if upkeep else Role.OPERATOR), path


def test_a_route_without_a_role_is_not_served(desks: Desks) -> None:
    app = desks.app()
    app.add_api_route("/api/v1/back-door", lambda: "hello")
    with pytest.raises(AssertionError, match="back-door needs no role"):
        check_routes(app.routes)


def test_there_is_no_console_that_nobody_or_anybody_can_use(desks: Desks) -> None:
    with pytest.raises(SettingsError, match="nobody could sign in"):
        desks.app(tokens=())
    with pytest.raises(SettingsError, match="lets everybody in"):
        desks.app(insecure_dev=True)
    with pytest.raises(SettingsError, match="same name"):
        ConsoleOptions(tokens=(TOKENS[0], TOKENS[0])).check()
    with pytest.raises(SettingsError, match="networks"):
        ConsoleOptions(proxy=Proxy(("nowhere",))).check()


def test_a_token_ends_when_it_says(desks: Desks) -> None:
    short = Token("short", digest("short"), Role.VIEWER, expires_at=desks.clock + 10)
    client = desks.http("short", tokens=(short,))
    assert client.get("/api/v1/me").json()["name"] == "short"
    desks.clock += 10
    assert client.get("/api/v1/me").status_code == 401


def test_a_session_ends_with_its_token_or_its_time(desks: Desks) -> None:
    short = Token("short", digest("short"), Role.VIEWER, expires_at=desks.clock + 10)
    client = desks.browser("short", tokens=(short,))
    assert client.get("/").status_code == 200
    desks.clock += 10
    assert client.get("/").status_code == 303
    client = desks.browser(session_s=60)
    desks.clock += 60
    assert client.get("/").status_code == 303


def test_a_cookie_that_was_changed_or_made_elsewhere_is_worth_nothing(desks: Desks) -> None:
    client = desks.browser(Role.VIEWER)
    cookie = client.cookies["saga_session"]
    client.cookies.clear()
    changed = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")

    def status(asked: TestClient, value: str) -> int:
        answer = asked.get("/", headers={"Cookie": f"saga_session={value}"})
        return answer.status_code

    assert [status(client, value) for value in (cookie, changed, "", "x.y")] == [200] + [303] * 3
    assert status(desks.http(None), cookie) == 303


def test_the_cookie_is_for_this_site_alone(desks: Desks) -> None:
    client = desks.http(None, https=True)
    answer = client.post("/login", data={"token": SECRETS[Role.VIEWER]})
    given = answer.headers["set-cookie"].lower()
    assert "httponly" in given
    assert "samesite=lax" in given
    assert "secure" in given


def test_a_wrong_token_does_not_sign_in_and_guessing_is_slow(desks: Desks) -> None:
    client = desks.http(None)
    answers = [client.post("/login", data={"token": WRONG}).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]


def test_another_site_can_not_sign_in_or_act_for_a_browser(desks: Desks) -> None:
    desks.stuck()
    client = desks.browser()
    data = {"token": SECRETS[Role.VIEWER]}
    cross = client.post("/login", data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403
    length = len(desks.store.history("aaaa1111"))
    form = {"length": str(length), "reason": "forged"}
    for headers in ({}, {"X-CSRF-Token": "guess"}):
        path = "/runs/aaaa1111/act/retry"
        assert client.post(path, data=form, headers=headers).status_code == 403
        path = "/api/v1/runs/aaaa1111/retry"
        assert client.post(path, json={}, headers=headers).status_code == 403
    plain = client.post(
        "/api/v1/runs/aaaa1111/retry", content="{}", headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code == 415
    assert len(desks.store.history("aaaa1111")) == length
    proof = client.get("/api/v1/me").json()["headers"]
    assert client.post("/api/v1/runs/aaaa1111/retry", json={}, headers=proof).status_code == 200


def test_the_proof_of_one_session_is_none_of_another(desks: Desks) -> None:
    desks.stuck()
    app = desks.app()
    proofs = []
    for role in (Role.OPERATOR, Role.ADMIN):
        client = TestClient(app, base_url="http://localhost", client=PEER)
        client.post("/login", data={"token": SECRETS[role]})
        proofs.append((client, client.get("/api/v1/me").json()["headers"]))
    refused = proofs[0][0].post("/api/v1/runs/aaaa1111/retry", json={}, headers=proofs[1][1])
    assert refused.status_code == 403


def test_signing_out_forgets(desks: Desks) -> None:
    client = desks.browser()
    csrf = hidden(client.get("/").text)["csrf"]
    assert client.post("/logout", data={"csrf": csrf}).status_code == 303
    assert client.get("/").status_code == 303


PROXY = Proxy(
    networks=("10.1.0.0/16",),
    grants=(
        Grant(Role.VIEWER, group="staff"),
        Grant(Role.OPERATOR, user="ann", sagas=("shop",)),
    ),
)


def behind_proxy(desks: Desks, peer: str, **headers: str) -> TestClient:
    app = desks.app(tokens=(), proxy=PROXY)
    names = {
        "X-Forwarded-User": headers.get("user", ""),
        "X-Forwarded-Groups": headers.get("groups", ""),
    }
    return TestClient(app, headers=names, client=(peer, 1), follow_redirects=False)


def test_a_proxy_vouches_for_people_from_where_it_speaks(desks: Desks) -> None:
    inside = behind_proxy(desks, "10.1.2.3", user="bob", groups="sales, staff")
    assert inside.get("/api/v1/me").json()["role"] == "viewer"
    ann = behind_proxy(desks, "10.1.2.3", user="ann", groups="staff").get("/api/v1/me").json()
    assert (ann["role"], ann["sagas"]) == ("operator", ["shop"])
    assert behind_proxy(desks, "10.2.0.1", user="ann").get("/api/v1/me").status_code == 401
    assert behind_proxy(desks, "10.1.2.3", user="eve").get("/api/v1/me").status_code == 403
    assert behind_proxy(desks, "10.1.2.3").get("/api/v1/me").status_code == 401


def test_who_comes_through_a_proxy_needs_the_proof_too(desks: Desks) -> None:
    desks.stuck()
    client = behind_proxy(desks, "10.1.2.3", user="ann")
    assert client.post("/api/v1/runs/aaaa1111/retry", json={}).status_code == 403
    proof = client.get("/api/v1/me").json()["headers"]
    assert client.post("/api/v1/runs/aaaa1111/retry", json={}, headers=proof).status_code == 200


@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        ("127.0.0.1", "localhost:8700", 200),
        ("::1", "[::1]:8700", 200),
        ("192.168.1.5", "localhost:8700", 401),
        ("127.0.0.1", "evil.example", 401),
    ],
)
def test_insecure_dev_is_for_this_machine_alone(
    desks: Desks, peer: str, host: str, status: int
) -> None:
    app = desks.app(tokens=(), insecure_dev=True)
    client = TestClient(app, client=(peer, 1))
    assert client.get("/api/v1/me", headers={"Host": host}).status_code == status


def test_a_limited_principal_sees_and_does_nothing_else(desks: Desks) -> None:
    desks.stuck("aaaa1111")
    desks.stuck("bbbb2222", saga="other")
    client = desks.http("narrow")
    assert [run["run_id"] for run in client.get("/api/v1/runs").json()["runs"]] == ["aaaa1111"]
    assert [saga["saga"] for saga in client.get("/api/v1/sagas").json()["sagas"]] == ["shop"]
    assert [one["saga"] for one in client.get("/api/v1/stats").json()["sagas"]] == ["shop"]
    assert client.get("/api/v1/stats?saga=other").json()["sagas"] == []
    assert sum(b["parked"] for b in client.get("/api/v1/pulse").json()["beats"]) == 1
    for path in ("", "/events", "/state", "/drawing", "/stream"):
        theirs = client.get(f"/api/v1/runs/bbbb2222{path}")
        nobodys = client.get(f"/api/v1/runs/zzzz{path}")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["error"]["message"] == nobodys.json()["error"]["message"].replace(
            "zzzz", "bbbb2222"
        )
    assert client.post("/api/v1/runs/bbbb2222/retry", json={}).status_code == 404
    assert client.get("/api/v1/sagas/other").status_code == 404
    launch = client.post("/api/v1/runs", json={"saga": "other"})
    assert launch.status_code == 403
    bulk = {"operation": "retry", "runs": [{"run": "aaaa1111"}, {"run": "bbbb2222"}]}
    items = client.post("/api/v1/bulk", json=bulk).json()["items"]
    assert [item["outcome"] for item in items] == ["sent", "not found"]
    assert "bbbb2222" not in client.get("/").text + client.get("/runs").text


def test_changes_are_limited_in_number(desks: Desks) -> None:
    desks.stuck()
    client = desks.http(mutations_per_min=2)
    answers = [client.post("/api/v1/runs/aaaa1111/cancel", json={}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [409, 409, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert client.get("/api/v1/runs").status_code == 200
    desks.clock += 60
    assert client.post("/api/v1/runs/aaaa1111/cancel", json={}).status_code == 409


def test_pages_stay_with_those_they_are_shown_to(desks: Desks) -> None:
    headers = desks.browser().get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_too_long_is_not_read(desks: Desks) -> None:
    client = desks.http()
    many = {"Content-Length": str(100 * 1024 * 1024)}
    assert client.post("/api/v1/runs", content=b"{}", headers=many).status_code == 413


def test_tokens_are_kept_as_hashes(desks: Desks) -> None:
    made = new_token()
    assert made not in repr(replace(TOKENS[0], digest=digest(made)))
    shown = desks.http(Role.ADMIN).get("/api/v1/access").text
    assert not any(token.digest in shown for token in TOKENS)


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "example.org", "localhost.example.org", "")))
