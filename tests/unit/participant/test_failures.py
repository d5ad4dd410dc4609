"""Errors as data: bounded, and naming the place in the user's code that errors of one cause have in common."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestrator.participant.calling import run
from orchestrator.participant.failures import (
    MAX_FRAME_LENGTH,
    MAX_TRACEBACK_LENGTH,
    failure_of,
)


def raised(by: object, *args: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any is what is meant
        by(*args)  # type: ignore[operator]
    error = caught.value
    if error.__traceback__ is not None:  # without this function's own frame
        error.__traceback__ = error.__traceback__.tb_next
    return error


def deep(text: str) -> object:
    return json.loads(text)


def as_the_worker_has_it(error: BaseException) -> BaseException:
    """Without the test's own frames, in which the worker's wouldn't be."""
    while error.__traceback__ is not None and "calling.py" not in (
        error.__traceback__.tb_frame.f_code.co_filename
    ):
        error.__traceback__ = error.__traceback__.tb_next
    return error


class Till:
    """Breaks."""

    def pay(self) -> None:
        deep("no json")


def installed(folder: Path, name: str, code: str) -> ModuleType:
    """A module of a distribution that was installed."""
    file = folder / "site-packages" / f"{name}.py"
    made = ModuleType(name)
    exec(compile(code, str(file), "exec"), made.__dict__)
    return made


def test_the_frame_is_the_users_own_innermost_not_pythons() -> None:
    assert failure_of(raised(Till().pay)).frame == f"{__name__}:deep"


def test_an_installed_package_that_ours_calls_is_not_the_users(tmp_path: Path) -> None:
    library = installed(tmp_path, "library", "def connect():\n    raise OSError('away')")

    def pay() -> None:
        library.connect()

    assert failure_of(raised(pay)).frame == f"{__name__}:{pay.__qualname__}"


def test_an_app_that_was_installed_is_the_users_all_the_same(tmp_path: Path) -> None:
    helper = installed(tmp_path, "app.helper", "def reach():\n    raise OSError('away')")
    app = installed(tmp_path, "app.pay", "def pay(reach):\n    reach()")
    assert failure_of(raised(app.pay, helper.reach)).frame == "app.helper:reach"


def test_a_traceback_begins_where_the_users_code_does() -> None:
    failure = failure_of(as_the_worker_has_it(raised(_through_ours)))
    assert failure.frame == f"{__name__}:_through_ours.<locals>.broken"
    assert "participant/calling.py" not in failure.traceback
    assert "raise ValueError" in failure.traceback


def test_a_coroutines_traceback_begins_there_too_and_has_nothing_of_the_loop() -> None:
    async def broken() -> None:
        raise ValueError("no")

    handler: Any = SimpleNamespace(injected={}, is_async=True, function=broken)
    failure = failure_of(as_the_worker_has_it(raised(run, handler, {}, None, 5.0)))
    _, first, *_ = failure.traceback.splitlines()
    assert first.endswith("in broken")
    assert "asyncio" not in failure.traceback


def test_an_error_of_our_own_has_its_whole_traceback_and_no_frame() -> None:
    failure = failure_of(as_the_worker_has_it(raised(run, None, {}, None, 1.0)))
    assert failure.frame == ""
    assert "participant/calling.py" in failure.traceback


def test_traceback_and_frame_are_bounded(tmp_path: Path) -> None:
    name = "f" * 1_000
    long = installed(tmp_path, "long", f"def {name}(n):\n    raise ValueError('x' * 50_000)")
    failure = failure_of(raised(getattr(long, name), 1))
    assert len(failure.traceback) <= MAX_TRACEBACK_LENGTH + 2
    assert len(failure.frame) == MAX_FRAME_LENGTH


def _through_ours() -> None:
    from orchestrator.participant.handler import action_handler

    def broken() -> None:
        raise ValueError("no")

    run(action_handler(broken, "broken"), {}, None, 1.0)
