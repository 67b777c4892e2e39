"""The suite itself: what continuous integration runs, and what is kept between runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from slow import SLOW

TESTS = Path(__file__).parent
ROOT = TESTS.parent
MOST_LINES = 500


def recipe(target: str) -> list[str]:
    """Commands of a target of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found is not None, target
    return [line.strip() for line in found[1].splitlines()]


def test_continuous_integration_runs_every_test() -> None:
    """The marker hides nothing: CI runs `make test-all`, and that selects nothing."""
    commands = [line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()]
    assert "make test-all" in commands
    assert recipe("test-all") == ["$(BIN)/python -m pytest -n auto --dist loadfile"]


def test_no_option_of_the_project_leaves_tests_out(pytestconfig: pytest.Config) -> None:
    options = pytestconfig.getini("addopts")
    assert "--durations=20" in options
    assert not [option for option in options if re.match(r"-[mk]|--(ignore|deselect)", option)]
    assert pytestconfig.getini("testpaths") == ["tests"]


@pytest.mark.parametrize("entry", SLOW)
def test_what_is_listed_as_slow_exists(entry: str) -> None:
    name, _, test = entry.partition("::")
    path = TESTS / name
    assert path.is_file()
    assert not test or f"\ndef {test}(" in path.read_text()


def test_names_of_test_modules_are_unique() -> None:
    """Two of one name cannot be collected in one run, as their folders are no packages."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert len({*names}) == len(names) > 50


def python_files() -> list[Path]:
    """Every Python file once; hidden folders hold no file of the project, links lead to others."""
    found: list[Path] = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name[0] not in "._" and name != "build"]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return found


def test_no_python_file_is_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in python_files()
    }
    assert len(lines) > 400
    assert {"fxp/graph/graph.py", "tests/test_suite.py", "models/sr/train.py"} <= lines.keys()
    assert [name for name, count in lines.items() if count > MOST_LINES] == []
