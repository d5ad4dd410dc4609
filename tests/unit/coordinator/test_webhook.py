"""Webhooks: signed, tried again where that can help, and never into the coordinator's own network."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from orchestrator.coordinator.webhook import (
    NOTICE_ID,
    SIGNATURE,
    Webhook,
    WebhookOptions,
    is_public,
)
from orchestrator.definition.notice import Notice
from orchestrator.errors import NoticeError, SettingsError

KEY = b"k" * 32
NOTICE = Notice("n1", 1.0, "c1", "shop", "pay", "do", "no", "E", "f", 3, 3, 0, 1.0, 2.0, "r1")


class Server(HTTPServer):
    """Answers with these statuses, in turn; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.statuses = [204]
        self.got: list[tuple[str, dict[str, str], bytes]] = []


class Answering(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), body))
        status = server.statuses[0]
        if len(server.statuses) > 1:
            server.statuses.pop(0)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the base's name


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def hook(server: Server, *, private: bool = True, attempts: int = 3) -> tuple[Webhook, list[float]]:
    pauses: list[float] = []
    url = f"http://hooks.example:{server.server_port}/in?team=desk"
    options = WebhookOptions(url, KEY, private=private, attempts=attempts)
    made = Webhook(
        options, resolve=lambda *_: ["127.0.0.1"], clock=lambda: 1_700.9, sleep=pauses.append
    )
    return made, pauses


def test_it_is_posted_signed_to_the_address_that_was_checked(server: Server) -> None:
    hook(server)[0].send(NOTICE)
    ((path, headers, body),) = server.got
    assert path == "/in?team=desk"
    assert headers["Host"] == f"hooks.example:{server.server_port}"
    assert headers[NOTICE_ID] == "n1"
    made = hmac.new(KEY, b"1700." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"t=1700,v1={made}"
    assert msgspec.json.decode(body, type=Notice) == NOTICE


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    server.statuses = [status, status, 200]
    made, pauses = hook(server)
    made.send(NOTICE)
    assert (len(server.got), len(pauses)) == (3, 2)


def test_it_gives_up_after_its_attempts(server: Server) -> None:
    server.statuses = [500]
    made, _ = hook(server)
    with pytest.raises(NoticeError, match="answered 500"):
        made.send(NOTICE)
    assert len(server.got) == 3


@pytest.mark.parametrize(("status", "why"), [(400, "answered 400"), (302, "aren't followed")])
def test_a_refusal_or_a_redirect_is_final(server: Server, status: int, why: str) -> None:
    server.statuses = [status]
    made, pauses = hook(server)
    with pytest.raises(NoticeError, match=why):
        made.send(NOTICE)
    assert (len(server.got), pauses) == (1, [])


def test_a_private_address_is_refused_before_anything_is_sent(server: Server) -> None:
    made, pauses = hook(server, private=False)
    with pytest.raises(NoticeError, match="isn't public"):
        made.send(NOTICE)
    assert (server.got, pauses) == ([], [])


def test_one_private_address_among_others_is_refused() -> None:
    options = WebhookOptions("https://hooks.example/", KEY)
    made = Webhook(options, resolve=lambda *_: ["93.184.216.34", "10.0.0.1"], sleep=lambda _: None)
    with pytest.raises(NoticeError, match=r"10\.0\.0\.1"):
        made.send(NOTICE)


def test_a_name_is_looked_up_once_for_an_attempt(server: Server) -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    url = f"http://hooks.example:{server.server_port}/"
    Webhook(WebhookOptions(url, KEY, private=True), resolve=rebinding).send(NOTICE)
    assert (asked, len(server.got)) == (["hooks.example"], 1)


def test_a_server_that_is_away_is_tried_again_and_named() -> None:
    pauses: list[float] = []
    options = WebhookOptions("http://hooks.example:1/", KEY, private=True, attempts=2)
    made = Webhook(options, resolve=lambda *_: ["127.0.0.1"], sleep=pauses.append)
    with pytest.raises(NoticeError, match="can't be reached: ConnectionRefusedError"):
        made.send(NOTICE)
    assert len(pauses) == 1


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1"),
    ],
)
def test_these_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_these_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://hooks.example/", "hooks.example", "http://", "https://ann:pw@hooks.example/"),
        *("http://hooks.example:0/", "http://hooks.example:99999/", "http://hooks.example/a b"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="webhook_url"):
        Webhook(WebhookOptions(url, KEY))
