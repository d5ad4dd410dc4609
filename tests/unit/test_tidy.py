"""Style that no linter checks: sizes, names, import cycles, sleeping in tests."""

import ast
import graphlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
MAY_SLEEP = {"tests/waiting.py"}
SLEEP_EXCUSE = "# slow on purpose:"


def _python_files() -> list[str]:
    """Return what git tracks or would track, so that nobody's scratch files count."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


FILES = _python_files()


def test_there_are_files_to_check() -> None:
    assert "tests/unit/test_tidy.py" in FILES


def test_no_file_is_too_long() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in FILES}
    assert {path: n for path, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    assert [place for path in FILES for place in _long_functions(path)] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [path for path in FILES if VAGUE_NAMES & set(Path(path).with_suffix("").parts)]
    assert vague == []


def test_no_module_lands_where_another_distribution_installs_its_own() -> None:
    assert not (ROOT / "orchestrator" / "core").exists()
    assert not (ROOT / "orchestrator" / "core.py").exists()


def test_no_test_sleeps() -> None:
    tests = [path for path in FILES if path.startswith("tests/") and path not in MAY_SLEEP]
    assert [place for path in tests for place in _sleeps(path)] == []


def test_no_import_cycle() -> None:
    """Lazy imports count too: a cycle put off to run time is still a cycle."""
    graph = grimp.build_graph("orchestrator", cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module) - {module}
        for module in graph.modules
    }
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_a_sleep_is_found_however_it_is_imported(tmp_path: Path) -> None:
    naughty = tmp_path / "naughty.py"
    naughty.write_text(
        "import asyncio, time as t\n"
        "from time import sleep as nap\n"
        "t.sleep(1)\n"
        "nap(1)\n"
        "await asyncio.sleep(0.5)\n"
        "await asyncio.sleep(0)\n"
        "t.sleep(1)  # slow on purpose: a slow participant\n"
    )
    assert [place.rsplit(":", 1)[1] for place in _sleeps(str(naughty))] == ["3", "4", "5"]


def _long_functions(path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno} {node.name} has {lines} lines"


def _sleeps(path: str) -> Iterator[str]:
    source = (ROOT / path).read_text()
    tree = ast.parse(source)
    names = dict(_imported(tree))
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _yields_only(node):
            continue
        head, dot, tail = ast.unparse(node.func).partition(".")
        sleeps = names.get(head, head) + dot + tail in {"time.sleep", "asyncio.sleep"}
        if sleeps and SLEEP_EXCUSE not in lines[node.lineno - 1]:
            yield f"{path}:{node.lineno}"


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Pair every name that an import binds with what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.asname or name.name, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"


def _yields_only(call: ast.Call) -> bool:
    """Whether this is sleep(0), which only lets others run."""
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
