"""The plugin as it is installed, and docs/testing.md as it stands: in pytest runs of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from orchestrator import testing

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/testing.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILES = {
    named.group(1): text
    for kind, text in BLOCKS
    if kind == "python" and (named := re.match(r"# (\w+\.py)\n", text))
}
SHOWN = [text for kind, text in BLOCKS if kind == "text"]
FAILS = "test_failing.py"
ALONE = tuple(
    part
    for name in ("cacheprovider", "hypothesispytest", "schemathesis", "valkey")
    for part in ("-p", f"no:{name}")
)
"""Without the plugins whose imports take seconds and that have no part in it."""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the page's ``shop.py``, and a pytest that writes as it does at a terminal 80 columns wide."""
    for name in ("CI", "BUILD_NUMBER"):  # pytest shortens nothing where it sees them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    pytester.makefile(".py", shop=FILES["shop.py"])
    return pytester


def test_every_example_of_the_page_is_run(pytester: pytest.Pytester) -> None:
    assert len(FILES) == sum(kind == "python" for kind, _ in BLOCKS) > 8
    for name, text in FILES.items():
        pytester.path.joinpath(name).write_text(text)
    result = pytester.runpytest_subprocess(*ALONE, f"--ignore={FAILS}")
    tests = sum(text.count("\ndef test_") for name, text in FILES.items() if name != FAILS)
    result.assert_outcomes(passed=tests)


def test_the_failure_on_the_page_looks_as_shown(shop: pytest.Pytester) -> None:
    shop.path.joinpath(FAILS).write_text(FILES[FAILS])
    result = shop.runpytest_subprocess(*ALONE)
    result.assert_outcomes(failed=1)
    said = "\n".join(result.outlines)
    assert len(SHOWN) == 2
    for shown in SHOWN:
        assert shown.rstrip() in said, said


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_what_is_in_vain_fails_its_test_and_no_other(shop: pytest.Pytester) -> None:
    shop.makepyfile(
        """
        from shop import buy, charge, reserve, send

        def test_in_vain(sagas):
            sagas.when(charge).refuses("no money")
            sagas.when(send).fails()
            assert sagas.run(buy, "lamp", "ada").compensated

        def test_meant_so(sagas):
            sagas.when(charge).refuses("no money")
            sagas.when(send, optional=True).fails()
            assert sagas.run(buy, "lamp", "ada").compensated

        def test_fails_for_its_own_reason(sagas):
            sagas.when(send).fails()
            assert sagas.run(buy, "lamp", 7).completed

        def test_says_what_to_write(sagas):
            sagas.when(charge.undo).fails()
        """
    )
    result = shop.runpytest_subprocess(*ALONE, "-rf")
    result.assert_outcomes(passed=1, failed=3)
    said = "\n".join(result.outlines)
    assert "sagas.when(courier.send).fails() (test_what_is_in_vain" in said
    assert "no run called courier.send; called were bank.charge, courier.quote, stock.r" in said
    assert "InvalidInputError: customer: expected str, got int" in said
    assert said.count("was never reached") == 1
    *_, traceback = said.partition("def test_says_what_to_write")
    assert "write sagas.when_undoing(bank.charge)" in traceback
    assert "orchestrator/testing" not in traceback


def test_asynchronous_tests_and_worker_processes(shop: pytest.Pytester) -> None:
    shop.makepyfile(
        """
        import asyncio
        import pytest
        from orchestrator import Service, saga
        from shop import buy

        mail = Service("mail")

        @mail.participant
        async def tell(name: str) -> str:
            await asyncio.sleep(0)
            return f"dear {name}"

        @saga()
        def write(name: str) -> str:
            return tell(name)

        @pytest.fixture(params=["asyncio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.anyio
        async def test_async(sagas):
            await asyncio.sleep(0)
            assert sagas.run(write, "ada").result == "dear ada"

        @pytest.mark.parametrize("number", range(6))
        def test_many(sagas, number):
            assert sagas.run(buy, f"lamp {number}", "ada").completed
        """
    )
    result = shop.runpytest_subprocess(*ALONE, "-n", "2")
    result.assert_outcomes(passed=7)


def test_who_does_not_use_it_does_not_notice(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_alone="""
        import sys

        def test_nothing_is_imported():
            ours = {name for name in sys.modules if name.partition(".")[0] == "orchestrator"}
            assert ours == {
                "orchestrator", "orchestrator.testing", "orchestrator.testing.pytest_plugin"
            }
            assert not {"sqlalchemy", "celery", "msgspec"} & set(sys.modules)
        """,
        test_own_fixture="""
        import pytest

        @pytest.fixture
        def sagas():
            return "my own"

        def test_own(sagas):
            assert sagas == "my own"
        """,
    )
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:hypothesispytest"
    )
    pytester.runpytest_subprocess(*ALONE).assert_outcomes(passed=2)


def test_it_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sagas): pass")
    result = pytester.runpytest_subprocess(*ALONE, "-p", "no:sagas")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'sagas' not found*"])


def test_pytest_finds_it_by_its_entry_point() -> None:
    [found] = [one for one in entry_points(group="pytest11") if one.name == "sagas"]
    assert found.value == "orchestrator.testing.pytest_plugin"


def test_every_public_name_is_there() -> None:
    assert dir(testing) == sorted(testing.__all__)
    assert all(getattr(testing, name) is not None for name in testing.__all__)
    assert not hasattr(testing, "nothing_of_the_kind")


def test_the_package_does_without_pytest() -> None:
    program = """
import importlib, pkgutil, sys
sys.modules["pytest"] = sys.modules["_pytest"] = None
import orchestrator
for found in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
    if found.name != "orchestrator.testing.pytest_plugin" and "migrations" not in found.name:
        importlib.import_module(found.name)
from orchestrator.testing import Sagas
with Sagas() as sagas:
    print(sagas)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "<sagas of a test: 0 runs>\n"
