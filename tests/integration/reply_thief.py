"""A proxy that, when told to, lets a request through and drops the connection instead of the answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class ReplyThief:
    """Forwards to a loopback port."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stealing = threading.Event()
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listener, *self._open]:
            each.close()

    def steal_next(self) -> None:
        """The next answer of the server ends its connection."""
        self._stealing.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                for source, target, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._forward,
                        args=(source, target),
                        kwargs={"answers": answers},
                        daemon=True,
                    ).start()

    def _forward(self, source: socket.socket, target: socket.socket, *, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if answers and self._stealing.is_set():
                    self._stealing.clear()
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
