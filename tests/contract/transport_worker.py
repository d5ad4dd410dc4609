"""A scripted executor, and the Celery app that runs it: what a worker of the transport's tests does.

What a command does is in its arguments: `{"do": "echo", ...}`.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
from celery import Celery

from orchestrator.transport.celery_app import make_celery
from orchestrator.transport.execution import worker_name
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import WorkerTransport
from orchestrator.transport.worker import install


class ScriptedExecutor:
    """Does what the arguments say; answers together, or one by one where they say so."""

    participants = ("scripted.echo",)

    def __init__(self) -> None:
        self.disposed = 0

    def execute(self, work: Sequence[Work], transport: WorkerTransport) -> None:
        answers = []
        for command in work:
            answer = _answer(command, _perform(command.args, self))
            if command.args.get("at_once"):
                transport.answer([answer])
            else:
                answers.append(answer)
        if answers:
            transport.answer(answers)

    def dispose(self) -> None:
        self.disposed += 1


def _perform(args: dict[str, Any], executor: ScriptedExecutor) -> Any:
    match args.get("do", "echo"):
        case "sleep":
            time.sleep(args["seconds"])  # slow on purpose: what a slow participant does
        case "fail":
            raise RuntimeError("the executor is broken")
        case "disposed":
            return executor.disposed
        case "large":
            return "x" * int(args["size"])
        case way:
            _end(way)
    return args


def _end(way: str) -> None:
    match way:
        case "exit":
            sys.exit(3)
        case "hang":
            signal.pause()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill worker":
            parent = psutil.Process(os.getppid())
            for process in [parent, *parent.children()]:
                if process.pid != os.getpid():
                    process.kill()
            os.kill(os.getpid(), signal.SIGKILL)
        case _:  # nothing to be done
            pass


def _answer(command: Work, result: Any) -> Answer:
    return Answer(
        run=command.run,
        shard=command.shard,
        epoch=command.epoch,
        step=command.step,
        kind=command.kind,
        attempt=command.attempt,
        outcome="succeeded",
        participant=command.participant,
        result=result,
        worker=worker_name(),
    )


def scripted_app(broker_url: str, namespace: str, keys: Sequence[bytes]) -> Celery:
    """Return a worker's app with the scripted executor."""
    app = make_celery(broker_url)
    install(app, ScriptedExecutor(), namespace=namespace, keys=keys, limit_bytes=100_000)

    @app.task(name="noop")
    def noop(*args: Any) -> None:
        """What a plain Celery task costs."""

    return app


if "TEST_BROKER_URL" in os.environ:
    app = scripted_app(
        os.environ["TEST_BROKER_URL"],
        os.environ["TEST_NAMESPACE"],
        [key.encode() for key in os.environ["TEST_KEYS"].split()],
    )
