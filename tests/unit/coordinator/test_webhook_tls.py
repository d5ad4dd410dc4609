"""Webhooks over TLS: only to who proves to be the host, by an authority that the system trusts.

The certificates are valid from 2020 to 2120, but for one; their authority's own key was thrown away.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from orchestrator.coordinator.webhook import Webhook, WebhookOptions
from orchestrator.definition.notice import Notice
from orchestrator.errors import NoticeError
from tests.unit.coordinator.test_webhook import KEY, NOTICE, Server

CERTIFICATES = Path(__file__).parent / "certificates"


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system trust our authority, and no other."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(CERTIFICATES / "none"))


@contextmanager
def serving(certificate: str | None) -> Iterator[Server]:
    """A server with this certificate, or one without TLS."""
    made = Server()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        made.socket = context.wrap_socket(made.socket, server_side=True)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def send(server: Server) -> list[float]:
    """Send a notice; returns the pauses between attempts."""
    pauses: list[float] = []
    url = f"https://hooks.example:{server.server_port}/in"
    options = WebhookOptions(url, KEY, private=True, attempts=2, timeout_s=5.0)
    Webhook(options, resolve=lambda *_: ["127.0.0.1"], sleep=pauses.append).send(NOTICE)
    return pauses


@pytest.mark.usefixtures("trusted")
def test_a_notice_goes_to_who_proves_to_be_the_host() -> None:
    with serving("right") as server:
        assert send(server) == []
    ((path, headers, body),) = server.got
    assert (path, headers["Host"]) == ("/in", f"hooks.example:{server.server_port}")
    assert msgspec.json.decode(body, type=Notice) == NOTICE


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("certificate", "why"),
    [("other", "Hostname mismatch"), ("late", "expired"), ("self", "self-signed")],
)
def test_nothing_is_told_to_who_does_not(certificate: str, why: str) -> None:
    refused = pytest.raises(NoticeError, match=f"isn't one of 'hooks.example': .*{why}")
    with serving(certificate) as server, refused:
        send(server)
    assert server.got == []


def test_nor_to_whom_nobody_here_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "self.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(CERTIFICATES / "none"))
    with serving("right") as server, pytest.raises(NoticeError, match="certificate isn't"):
        send(server)
    assert server.got == []


@pytest.mark.usefixtures("trusted")
def test_a_server_that_speaks_no_tls_is_not_told_either() -> None:
    with serving(None) as server, pytest.raises(NoticeError, match="can't be reached: SSL"):
        send(server)
    assert server.got == []
