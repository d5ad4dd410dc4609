"""One RabbitMQ for all processes of a test run: it takes ten seconds of a core to start.

The process that leads the run starts it when one of those that test asks for it first, and ends it with itself.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

from tests.servers.base import ServerFailedError, ServerMissingError
from tests.servers.rabbitmq import RabbitMQ


class Lender:
    """Belongs to the process that leads."""

    def __init__(self) -> None:
        self.key = secrets.token_hex()
        self._folder = tempfile.TemporaryDirectory(prefix="saga-lender-")
        self.address = str(Path(self._folder.name, "socket"))
        self._listener = Listener(self.address, "AF_UNIX", authkey=self.key.encode())
        self._server: RabbitMQ | None = None
        threading.Thread(target=self._serve, name="lender", daemon=True).start()

    def close(self) -> None:
        """End the server, if anybody has asked for it."""
        self._listener.close()
        if self._server is not None:
            self._server.close()
        self._folder.cleanup()

    def _serve(self) -> None:
        """One after the other: who asks while the server starts has to wait for that anyway."""
        with contextlib.suppress(OSError):  # closed
            while True:
                with self._listener.accept() as asker, contextlib.suppress(EOFError):
                    self._answer(asker)

    def _answer(self, asker: Any) -> None:
        try:
            self._server = self._server or RabbitMQ.launch()
        except (ServerMissingError, ServerFailedError) as error:
            asker.send(error)
        else:
            asker.send((self._server.port, self._server.management_port))


def borrowed(address: str, key: str) -> RabbitMQ:
    """The run's RabbitMQ, not to be stopped. Raises ``ServerMissingError``, ``ServerFailedError``."""
    with Client(address, "AF_UNIX", authkey=key.encode()) as lender:
        answer = lender.recv()
    if isinstance(answer, Exception):
        raise answer
    return RabbitMQ.at(*answer)
