"""The shapes of a saga besides the plain sequence: parallel, when and otherwise, waiting and sleeping."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec

from orchestrator.definition.building import Block, Building, require
from orchestrator.definition.durations import Duration, seconds
from orchestrator.definition.plan import Const, Expr, Sleep, Wait, When
from orchestrator.definition.redacted import redacted_paths
from orchestrator.definition.references import Reference, type_of
from orchestrator.definition.static_types import kind_of, name_of
from orchestrator.definition.values import check_type
from orchestrator.errors import DefinitionError

T = TypeVar("T")


@contextmanager
def parallel() -> Generator[None]:
    """Every statement inside runs at the same time; the block ends when all have.

    ``with sequence():`` inside makes several statements one branch.
    """
    building = _require("parallel()")
    with building.block("parallel") as block:
        yield
    building.add(_filled(building, block, "parallel()").node())


@contextmanager
def sequence() -> Generator[None]:
    """The statements inside run one after the other: one branch of ``parallel()``."""
    building = _require("sequence()")
    with building.block("sequence") as block:
        yield
    building.add(_filled(building, block, "sequence()").node())


@contextmanager
def when(condition: bool) -> Generator[None]:  # noqa: FBT001 - a condition is what it is about
    """The statements inside run only if the condition on the run's values holds.

    Results of steps in a branch that was not taken are None. ``with otherwise():`` may follow directly.
    """
    building = _require("when()")
    given: Any = condition
    if not isinstance(given, Reference):
        raise building.error(
            f"when({given!r}) is decided already: `is`, `in`, `not`, `and` and `or` can't be recorded; use ==, "
            "contains(), not_(), & and | on values of the saga, or a plain `if` for constants"
        )
    if kind_of(type_of(given)) != "bool" and type_of(given) is not Any:
        raise building.error(f"when() needs a condition, and {given!r} is none; write a comparison")
    expr = building.use(given)
    name = building.name("when")
    with building.block("then") as block:
        yield
    building.add(When(name, expr, _filled(building, block, "when()").node()))


@contextmanager
def otherwise() -> Generator[None]:
    """The statements inside run if the condition of the ``when()`` block directly before didn't hold."""
    building = _require("otherwise()")
    before = building.last_when()
    if before is None:
        raise building.error("otherwise() must stand directly after a `with when(...)` block, once")
    at = building.place()[-1][1] - 1
    with building.block("otherwise", at=at) as block:
        yield
    done = _filled(building, block, "otherwise()").node()
    building.replace_last(msgspec.structs.replace(before, otherwise=done))


def wait_for(signal: str, type_: type[T], timeout: Duration | None = None) -> T:
    """A step that ends when the signal arrives, and gives its data, which must be a ``type_``.

    Without ``timeout`` (seconds or a timedelta) it waits for as long as the saga may run; when it is over the step
    fails. Signals that come early are kept.
    """
    building = _require("wait_for()")
    if not signal:
        raise building.error("wait_for() needs the signal's name")
    check_type(type_, f"wait_for({signal!r})")
    known = building.signals.setdefault(signal, type_)
    if known != type_:
        raise building.error(
            f"signal {signal!r} carries {name_of(known)} elsewhere in this saga, not {name_of(type_)}"
        )
    timeout_s = None if timeout is None else seconds(timeout, f"wait_for({signal!r}, timeout=)")
    name = building.name(re.sub(r"[^A-Za-z0-9_-]", "_", signal))
    place = building.place()
    building.add(Wait(name, signal, timeout_s, name_of(type_), redacted_paths(type_)))
    return cast(T, building.result(name, type_, place))


def sleep(duration: Duration) -> None:
    """A step that ends after a time: seconds, a timedelta, or a value of the saga that is either."""
    building = _require("sleep()")
    expr: Expr
    given: Any = duration
    if isinstance(given, Reference):
        if kind_of(type_of(given)) not in {"number", "duration"} and type_of(given) is not Any:
            raise building.error(f"sleep() needs seconds or a timedelta, and {given!r} is neither")
        expr = building.use(given)
    else:
        expr = Const(seconds(duration, "sleep()", zero=True))
    building.add(Sleep(building.name("sleep"), expr))


def _require(what: str) -> Building:
    return require(what, "move it there")


def _filled(building: Building, block: Block, what: str) -> Block:
    if not block.nodes:
        raise DefinitionError(f"saga {building.saga!r}, {block.source}: {what} has no step inside")
    return block
