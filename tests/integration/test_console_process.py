"""`saga console` as a process: it serves, and stops when it is told to, also while somebody listens."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.console.access import digest
from tests.integration.test_cli_processes import SAGA, environment
from tests.tables import make_tables
from tests.waiting import eventually

SECRET = "let me in"


class Console:
    """The process, and where it answers."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        journal = f"sqlite:///{folder / 'journal.db'}"
        make_tables(journal, 2)
        env = environment(folder, journal, "redis://127.0.0.1:1/0")  # none is needed to look
        config = folder / "saga.toml"
        config.write_text(
            f'[[console.tokens]]\nname = "t"\nsha256 = "{digest(SECRET)}"\nrole = "viewer"\n'
        )
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [*SAGA, "console", "--port", str(port)], env=env, cwd=folder, stderr=subprocess.PIPE
        )
        eventually(self.answers, 30)

    def answers(self) -> bool:
        """Whether it is up."""
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        try:
            return bool(httpx.get(f"{self.url}/health").json() == {"status": "ok"})
        except httpx.TransportError:
            return False


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path)
    yield console
    console.process.kill()
    console.process.communicate()


def test_it_serves_who_has_a_token_and_stops_when_told(served: Console) -> None:
    assert httpx.get(f"{served.url}/api/v1/runs").status_code == 401
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert httpx.get(f"{served.url}/api/v1/runs", headers=headers).json()["runs"] == []
    with httpx.stream("GET", f"{served.url}/api/v1/stream", headers=headers) as stream:
        parts = stream.iter_lines()
        assert next(parts).startswith("retry:")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(15) in {0, -signal.SIGTERM}
    assert served.process.stderr is not None
    assert b"Traceback" not in served.process.stderr.read()
