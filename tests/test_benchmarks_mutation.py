"""The mutation run: which faults it makes, where it leaves the source alone, and what it counts."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.mutation import __main__ as mutation
from benchmarks.mutation.mutants import Mutant, mutants
from benchmarks.mutation.rooms import ROOMS, Room
from benchmarks.mutation.runner import Checkout, MutationError
from fxp.support.processes import ChildProcesses

SOURCE = '''\
"""Ü, 1 + 1."""


def clip(x: int = 3, *, most: int = 7) -> int:
    """Return `x`, or 1 < 2."""
    if x < 0 and not most:
        raise ValueError(f"{x + 1}")
    x += 2
    return -x if x == 1.5 else (x) * most
'''


def changed(source: str) -> list[str]:
    """Lines that each fault makes of its line."""
    faults = mutants(source.encode())
    return [item.apply(source.encode()).decode().splitlines()[item.line - 1] for item in faults]


def test_every_fault_of_a_small_source() -> None:
    assert changed(SOURCE) == [
        "def clip(x: int = 2, *, most: int = 7) -> int:",
        "def clip(x: int = 4, *, most: int = 7) -> int:",
        "def clip(x: int = 3, *, most: int = 6) -> int:",
        "def clip(x: int = 3, *, most: int = 8) -> int:",
        "    if False:",
        "    if x <= 0 and not most:",
        "    if x < 1 and not most:",
        "    if x < 0 or not most:",
        "    if x < 0 and  most:",
        "    x -= 2",
        "    x += 1",
        "    x += 3",
        "    return x if x == 1.5 else (x) * most",
        "    return None",
        "    return -x if not (x == 1.5) else (x) * most",
        "    return -x if x != 1.5 else (x) * most",
        "    return -x if x == 2.5 else (x) * most",
        "    return -x if x == 1.5 else (x) + most",
    ]


@pytest.mark.parametrize("name", ROOMS)
def test_every_fault_is_python_and_changes_something(name: str) -> None:
    files = ROOMS[name].sources(mutation.ROOT)
    assert files
    for file in files:
        source = (mutation.ROOT / file).read_bytes()
        for fault in mutants(source)[::25]:
            damaged = fault.apply(source)
            ast.parse(damaged)
            assert damaged != source
            assert fault.before != fault.after


def test_what_a_room_tests_exists() -> None:
    for room in ROOMS.values():
        for test in room.tests:
            assert (mutation.ROOT / test).exists(), test


def test_the_same_seed_draws_the_same_faults() -> None:
    room = ROOMS["formats"]
    first = mutation.drawn(room, mutation.ROOT, 5, 1)
    assert len({*first}) == 5
    assert mutation.drawn(room, mutation.ROOT, 5, 1) == first
    assert mutation.drawn(room, mutation.ROOT, 5, 2) != first
    assert len(mutation.drawn(room, mutation.ROOT, 0, 1)) > 100


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project whose one test notices a wrong sum, and not a wrong name."""
    root = tmp_path / "project"
    (root / "fxp" / "formats").mkdir(parents=True)
    (root / "fxp" / "__init__.py").write_text("")
    (root / "fxp" / "formats" / "__init__.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef unused(a):\n    return a - 1\n"
    )
    (root / "tests").mkdir()
    (root / "tests" / "test_add.py").write_text(
        "from fxp.formats import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(mutation, "ROOT", root)
    return root


SMALL = Room(("fxp/formats/*.py",), ("tests",))


def test_faults_are_noticed_or_survive(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mutation, "ROOMS", {"small": SMALL})
    mutation.main(only=["small"], sample=0, seed=0, jobs=2, again=False, folder=tmp_path / "page")
    page = (tmp_path / "page" / "mutation.md").read_text()
    # Of the sum: the operator and the result. Of the other: operator, result, 0 and 2.
    assert "| small | 6 | 6 | 2 | 4 | 33 % |" in page
    assert "`fxp/formats/__init__.py`, line 6: `-` → `+`" in page
    assert "line 2" not in page
    before = (project / "fxp" / "formats" / "__init__.py").read_text()
    assert "a + b" in before
    assert "a - 1" in before
    # A test for what survived: three of the four are noticed.
    test = project / "tests" / "test_add.py"
    test.write_text(
        test.read_text().replace("import add", "import add, unused")
        + "\n\ndef test_unused():\n    assert unused(5) in (4, 6)\n"
    )
    mutation.main(only=["small"], sample=0, seed=0, jobs=1, again=True, folder=tmp_path / "page")
    page = (tmp_path / "page" / "mutation.md").read_text()
    assert "| small | 6 | 6 | 5 | 1 | 83 % |" in page


def test_endless_tests_are_ended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.mutation.runner.GRACE", 0.5)
    (project / "tests" / "test_add.py").write_text(
        "from fxp.formats import add\n\n\ndef test():\n    while add(2, 3) != 5:\n        pass\n"
    )
    with ChildProcesses() as children, Checkout(project, children) as copy:
        usual = copy.sound(SMALL, 60)
        fault = Mutant(2, "+", "-", source_position(project, "+"))
        verdict = copy.judge(SMALL, Path("fxp/formats/__init__.py"), fault, usual)
        assert verdict.outcome == "timed out"
        path = copy.path
    assert not path.exists()


def source_position(project: Path, text: str) -> int:
    return (project / "fxp" / "formats" / "__init__.py").read_bytes().index(text.encode())


def test_tests_that_fail_without_a_fault_are_reported(project: Path) -> None:
    (project / "tests" / "test_add.py").write_text("def test_add():\n    assert 1 == 2\n")
    with (
        ChildProcesses() as children,
        Checkout(project, children) as copy,
        pytest.raises(MutationError, match="fail without a fault"),
    ):
        copy.sound(SMALL, 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hangs", ["True", "add(2, 3) != 5"], ids=["sound", "damaged"])
def test_nothing_is_left_when_it_is_told_to_end(
    project: Path, tmp_path: Path, hangs: str, number: int
) -> None:
    """Neither its copies of the repository nor the tests that run on them."""
    started, temporary, page = (tmp_path / name for name in ("started", "temporary", "page"))
    temporary.mkdir()
    (project / "tests" / "test_add.py").write_text(
        "import os, pathlib, time\nfrom fxp.formats import add\n\n\ndef test_add():\n"
        f"    file = pathlib.Path({str(started)!r})\n"
        f"    if {hangs}:\n"
        "        file.with_suffix('.new').write_text(str(os.getpid()))\n"
        "        file.with_suffix('.new').rename(file)\n"
        "        time.sleep(300)\n"
    )
    code = (
        "import pathlib, typer\n"
        "from benchmarks.mutation import __main__ as mutation, rooms\n"
        f"mutation.ROOT = pathlib.Path({str(project)!r})\n"
        "mutation.ROOMS = {'small': rooms.Room(('fxp/formats/*.py',), ('tests',))}\n"
        "typer.run(mutation.main)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, "--folder", str(page)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not started.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    tests = int(started.read_text())
    assert len(list(temporary.glob("fxp-mutation-*"))) == 1
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert "Traceback" not in errors
    if number == signal.SIGTERM:
        assert (run.returncode, errors) == (143, "ended by SIGTERM\n")
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(tests, 0)
    assert not page.exists()
