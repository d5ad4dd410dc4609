"""Task messages are what Celery itself would send, and cheap."""

import json
import time

import msgspec

from orchestrator.transport import task_message
from orchestrator.transport.celery_app import EXECUTE_TASK, make_celery
from orchestrator.transport.task_message import TaskMessages
from tests.unit.transport.work_samples import work

app = make_celery("redis://127.0.0.1:1/0")


def test_it_is_what_celery_would_send() -> None:
    built = TaskMessages(app).build("queue", "sealed", [work()])
    theirs = app.amqp.as_task_v2(built.task_id, EXECUTE_TASK, args=("sealed",), ignore_result=True)

    assert json.loads(built.body) == json.loads(json.dumps(theirs.body))
    given = {key: value for key, value in theirs.headers.items() if value is not None}
    mine = {"argsrepr", "timelimit"}
    assert {key: value for key, value in built.headers.items() if key not in mine} == {
        key: value for key, value in given.items() if key not in mine
    }


def test_its_process_is_killed_when_every_command_is_overdue() -> None:
    slow = msgspec.structs.replace(work(), timeout_s=60.0)

    built = TaskMessages(app).build("queue", "sealed", [work(), slow])

    assert built.headers["timelimit"] == [60.0 + task_message.KILL_GRACE_S, None]


def test_each_has_an_id_of_its_own() -> None:
    messages = TaskMessages(app)

    assert len({messages.build("queue", "sealed", [work()]).task_id for _ in range(100)}) == 100


def test_building_one_takes_no_tenth_of_a_millisecond() -> None:
    messages = TaskMessages(app)
    started = time.process_time()
    for _ in range(1000):
        messages.build("queue", "sealed" * 100, [work()])

    assert (time.process_time() - started) / 1000 < 100e-6
