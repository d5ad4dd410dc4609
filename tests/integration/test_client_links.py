"""A client's connection to the broker goes when the client goes."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from orchestrator import Service, saga, wiring
from orchestrator.journal.upgrade import upgrade
from orchestrator.settings import Settings

post = Service("post")


@post.participant
def stamp(letter: str) -> str:
    return letter


@saga(version=1)
def send_a_letter(letter: str) -> str:
    return stamp(letter)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_no_connection_outlives_its_client(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(f"{broker}_url")
    settings = Settings(journal_url=f"sqlite:///{tmp_path}/journal.db", broker_url=url)
    upgrade(settings.journal_url)
    journal = wiring.make_journal(settings)
    before = _sockets()
    client = wiring.client(settings, journal, {send_a_letter.name: send_a_letter})
    client.launch(send_a_letter, "Dear all")
    assert _sockets() > before
    del client
    assert _sockets() == before
    journal.close()


def test_no_connection_outlives_its_console(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(journal_url=f"sqlite:///{tmp_path}/journal.db", broker_url=redis_url)
    journal = wiring.make_journal(settings)
    gc.collect()  # what other tests have left
    before = _sockets()
    sagas = {send_a_letter.name: send_a_letter}
    app = wiring.console_app(settings, journal, sagas, insecure_dev=True)
    app.state.parts.desk.clients("ann").launch(send_a_letter, "Dear all")
    assert _sockets() > before
    del app
    gc.collect()
    assert _sockets() == before
    journal.close()


def _sockets() -> int:
    opened = [fd for fd in list(Path("/proc/self/fd").iterdir()) if fd.is_symlink()]
    return sum(str(fd.readlink()).startswith("socket:") for fd in opened)
