"""The pytest plugin: the fixture ``sagas``, and what a failing test shows of its runs.

pytest loads this module in every run of an environment that has the package, so it imports nothing of it until a test
asks for the fixture. Only pytest loads it: the package itself doesn't need pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from orchestrator.testing.stage.sagas import Sagas

_SAGAS: pytest.StashKey[Sagas] = pytest.StashKey()
_STEPS = "orchestrator.testing.stage.steps"


@pytest.fixture
def sagas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sagas]:
    """Run sagas in this process, on virtual time, with the participants as the test says: docs/testing.md."""
    from orchestrator.testing.stage.sagas import Sagas  # noqa: PLC0415 - see above

    made = Sagas(request.node.nodeid, lambda: tmp_path_factory.mktemp("sagas"))
    request.node.stash[_SAGAS] = made
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that passed fails if something it said of a participant never came about."""
    result = yield
    made = item.stash.get(_SAGAS, None)
    if made is not None and (vain := made.in_vain()):
        pytest.fail("\n".join(vain), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows its runs."""
    report = yield
    made = item.stash.get(_SAGAS, None)
    if made is not None and report.when == "call" and report.failed and made.runs:
        report.sections.append(("sagas", _told(made)))
    return report


def _told(made: Sagas) -> str:
    try:
        return made.report()
    except Exception as error:  # noqa: BLE001 - a report that can't be made must not hide why the test failed
        return f"its runs can't be shown: {type(error).__name__}: {error}"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """How ``run.did`` differs from the list it was compared with."""
    module = sys.modules.get(_STEPS)
    if module is None or op != "==":
        return None
    sides: list[tuple[Any, object]] = [(left, right), (right, left)]
    for steps, wanted in sides:
        if isinstance(steps, module.Steps):
            return [f"{left!r} == {right!r}", *steps.explain(wanted)]
    return None
