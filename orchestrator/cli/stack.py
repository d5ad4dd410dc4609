"""A whole installation on one machine, for playing and for demos: broker, workers, coordinators, and their keeper.

Every process has its own process group and its own log. One that ends is started again. None outlives the stack: it
stops them in order, and if it is killed a guard does (``guard``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from celery import Celery
from pydantic import SecretStr

from orchestrator import wiring
from orchestrator.cli import broker, guard
from orchestrator.cli.child import Child
from orchestrator.errors import StackError
from orchestrator.journal.port import Journal
from orchestrator.settings import CONFIG_VARIABLE, Settings

START_TIMEOUT_S = 60.0
STOP_GRACE_S = 15.0
SAGA = (sys.executable, "-m", "orchestrator.cli")
_LOOK_EVERY_S = 0.05


class Stack:
    """Processes that make an installation, from ``start`` (or ``with``) to ``stop``.

    ``folder`` gets everything: the broker's data, ``logs/*.log``, ``saga.toml`` with the settings all the processes
    share, and, unless ``settings`` name others, the journal; a broker is started unless ``settings`` name one.
    ``apps`` are the modules the workers serve, the settings' unless given. ``also`` are further commands to keep
    running, by name; ``env`` is added to every process's environment. ``say`` is told, in a line, of everything that
    goes wrong and what is done about it, from a thread of the stack's.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        apps: Sequence[str] | None = None,
        worker_processes: int = 2,
        coordinators: int = 1,
        *,
        also: Mapping[str, Sequence[str]] | None = None,
        env: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.folder = folder.resolve()
        self.config_file = self.folder / "saga.toml"
        self._own_broker = "broker_url" not in settings.model_fields_set
        port = broker.free_port() if self._own_broker else 0
        self.settings = _completed(settings, self.folder, port, apps)
        self._env = _environment(self.config_file, env or {})
        self._say = say
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="stack-watcher", daemon=True)
        self._guard: subprocess.Popen[str] | None = None
        self._journal: Journal | None = None
        self._celery: Celery | None = None
        self._broker = [
            self._child("broker", broker.server_command(self.folder / "broker", port))
        ] * self._own_broker
        self._workers = [
            self._child("worker", [*SAGA, "worker", "--processes", str(worker_processes)])
        ]
        self._coordinators = [
            self._child(f"coordinator-{number}" if coordinators > 1 else "coordinator",
                        [*SAGA, "coordinator"])
            for number in range(1, coordinators + 1)
        ]  # fmt: skip
        self._also = [self._child(name, command) for name, command in (also or {}).items()]

    @property
    def children(self) -> list[Child]:
        """Every process, in the order of their starting."""
        return [*self._broker, *self._also, *self._workers, *self._coordinators]

    @property
    def journal(self) -> Journal:
        """The stack's journal, open while it runs. Raises ``StackError`` before."""
        if self._journal is None:
            raise StackError("the stack is not running")
        return self._journal

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up; returns when all of it answers. Raises ``StackError`` with the log of what doesn't."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything in order: coordinators hand over, workers finish what they do, then the broker."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for group in (self._coordinators, self._workers, self._also, self._broker):
            _stop_together(group)
        if self._guard is not None and self._guard.stdin is not None:
            for child in self.children:
                self._tell_guard("-", child)
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def wait(self) -> None:
        """Stay until Ctrl-C or SIGTERM, which both raise ``KeyboardInterrupt``. For the main thread."""
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            while not self._stopping.wait(1.0):
                pass
        finally:
            signal.signal(signal.SIGTERM, before)

    # -- starting

    def _start(self) -> None:
        for folder in (self.folder / "logs", self.folder / "broker"):
            folder.mkdir(parents=True, exist_ok=True)
        self._write_config()
        self._journal = wiring.make_journal(self.settings)
        self._celery = wiring.celery_app(self.settings)
        self._guard = _new_guard()
        self._launch(self._broker)
        if self._own_broker:
            self._until(lambda: broker.answers(self.settings.broker_url), self._broker)
        others = [*self._also, *self._workers, *self._coordinators]
        self._launch(others)
        self._until(self._workers_answer, others)
        self._until(self._shards_are_held, others)
        self._watcher.start()

    def _launch(self, children: Sequence[Child]) -> None:
        for child in children:
            child.start()
            self._tell_guard("+", child)

    def _until(self, ready: Callable[[], bool], needed: Sequence[Child]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            for child in needed:
                if not child.running:
                    raise StackError(_why(child, child.how_it_ended()))
            if time.monotonic() > deadline:
                late = " and ".join(child.name for child in needed)
                raise StackError(_why(needed[-1], f"{late}: not up after {START_TIMEOUT_S:g} s"))
            time.sleep(_LOOK_EVERY_S)

    def _workers_answer(self) -> bool:
        assert self._celery is not None
        return bool(self._celery.control.ping(timeout=0.3, limit=len(self._workers)))

    def _shards_are_held(self) -> bool:
        now = time.time()
        held = {
            lease.shard for lease in self.journal.leases() if lease.owner and lease.expires_at > now
        }
        return len(held) == self.journal.shards()

    def _child(self, name: str, command: Sequence[str]) -> Child:
        return Child(name, command, self.folder / "logs" / f"{name}.log", self._env)

    def _write_config(self) -> None:
        self.config_file.touch(mode=0o600)
        self.config_file.write_text("".join(_toml(self.settings)))

    # -- looking after them

    def _watch(self) -> None:
        due: dict[str, float] = {}
        while not self._stopping.wait(_LOOK_EVERY_S):
            self._mend_guard()
            for child in self.children:
                if not child.running:
                    self._mend(child, due)

    def _mend(self, child: Child, due: dict[str, float]) -> None:
        if child.name not in due:
            pause_s = child.pause_s()
            due[child.name] = time.monotonic() + pause_s
            child.kill()  # what its children were doing is unknown now; none of them may go on
            self._tell_guard("-", child)
            how = child.how_it_ended()
            self._say(f"{child.name} {how}; it is started again in {pause_s:g} s ({child.log})")
        elif time.monotonic() >= due[child.name]:
            del due[child.name]
            try:
                self._launch([child])
            except StackError as error:  # its program is being replaced, perhaps: tried again
                self._say(str(error))

    def _mend_guard(self) -> None:
        if self._guard is not None and self._guard.poll() is not None:
            self._guard = _new_guard()
            for child in self.children:
                if child.running:
                    self._tell_guard("+", child)

    def _tell_guard(self, sign: str, child: Child) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError, RuntimeError):  # gone: mended by the watcher
            self._guard.stdin.write(f"{sign}{child.pid}\n")
            self._guard.stdin.flush()


def _completed(settings: Settings, folder: Path, port: int, apps: Sequence[str] | None) -> Settings:
    made: dict[str, Any] = {}
    if "journal_url" not in settings.model_fields_set:
        made["journal_url"] = f"sqlite:///{folder / 'journal.db'}"
    if port:
        made["broker_url"] = f"redis://127.0.0.1:{port}/0"
    if apps is not None:
        made["apps"] = tuple(apps)
    return settings.model_copy(update=made)


def _environment(config_file: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process: the stack's file alone says what is set."""
    prefix = Settings.model_config.get("env_prefix", "")
    others = {name: value for name, value in os.environ.items() if not name.startswith(prefix)}
    return {**others, **more, CONFIG_VARIABLE: str(config_file), "PYTHONUNBUFFERED": "1"}


def _toml(settings: Settings) -> Iterator[str]:
    for name, value in settings.model_dump().items():
        yield f"{name} = {_toml_value(value)}\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, SecretStr):
        return _toml_value(value.get_secret_value())
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{k} = {_toml_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def _new_guard() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__],
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def _stop_together(children: Sequence[Child]) -> None:
    threads = [
        threading.Thread(target=child.stop, args=(STOP_GRACE_S,), name=f"stop {child.name}")
        for child in children
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _why(child: Child, what: str) -> str:
    return f"{child.name} {what}; the end of {child.log}:\n{child.tail()}"


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
