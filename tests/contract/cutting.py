"""A proxy before a database that cuts a connection at a statement: before it arrives, or before its answer does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

from sqlalchemy import make_url

Moment = Literal["before", "after"]


class Cutter:
    """Forwards everything, until it is told to cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._statement: bytes | None = None
        self._moment: Moment = "before"
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self, statement: str, moment: Moment) -> None:
        """Cut the next connection on which this statement comes, once."""
        self._statement, self._moment = statement.encode(), moment

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                cut = threading.Event()
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pump,
                        args=(source, sink, cut),
                        kwargs={"is_client": source is client},
                        daemon=True,
                    ).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, cut: threading.Event, *, is_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and self._statement is not None and self._statement in data:
                    self._statement = None
                    self.cuts += 1
                    cut.set()
                    if self._moment == "before":
                        break
                elif not is_client and cut.is_set():
                    break  # the server has answered; nobody is to hear it
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def cutter(url: str) -> Iterator[tuple[Cutter, str]]:
    """A proxy before a database, and the database's URL through it."""
    target = make_url(url)
    assert target.host is not None
    assert target.port is not None
    proxy = Cutter(target.host, target.port)
    try:
        through = target.set(port=proxy.port)
        if target.drivername.startswith("postgresql"):
            through = through.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        proxy.close()
