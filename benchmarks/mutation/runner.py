"""Runs the tests of a room on a damaged copy of the repository."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.mutation.mutants import Mutant
from benchmarks.mutation.rooms import Room
from fxp.support.processes import ChildProcesses, ProcessTimeoutError

Outcome = Literal["failed", "timed out", "survived"]

PARTS = ("fxp", "models", "hls", "rtl_sim", "benchmarks", "tests", "docs", "pyproject.toml",
         "README.md", "Makefile")  # fmt: skip
"""What of the repository the tests read."""
SLOWER = 3.0
"""A run that takes this many times as long as the sound one, and `GRACE` seconds, hangs."""
GRACE = 30.0


class MutationError(Exception):
    """The tests cannot be run; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What the tests said of one fault.

    Attributes
    ----------
    file
        Path from the root of the repository.
    mutant
        The fault.
    outcome
        Whether a test failed, or the tests hung, or none noticed.
    seconds
        How long the run took.
    test
        First test that failed; empty if none did.
    """

    file: str
    mutant: Mutant
    outcome: Outcome
    seconds: float
    test: str = ""


class Checkout:
    """A copy of the repository in a temporary folder, to be damaged.

    Use it in a ``with`` statement, which removes it at the end.

    Parameters
    ----------
    root
        The repository; it is only read.
    children
        Runs the tests, and ends them when the work is given up.
    """

    def __init__(self, root: Path, children: ChildProcesses) -> None:
        self._root = root
        self._children = children
        self._folder = tempfile.TemporaryDirectory(prefix="fxp-mutation-")
        self.path = Path(self._folder.name) / "copy"
        self._compiled = Path(self._folder.name) / "compiled"

    def __enter__(self) -> Checkout:
        """Copy the repository."""
        self.path.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", "*.kernel")
        for name in PARTS:
            source = self._root / name
            if source.is_dir():
                shutil.copytree(source, self.path / name, symlinks=True, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, self.path / name)
        self._check_imports()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the copy."""
        self._folder.cleanup()

    def _check_imports(self) -> None:
        """Make sure that the copy is what the tests import."""
        program = "import fxp.formats; print(fxp.formats.__file__)"
        code, output = self._children.run([sys.executable, "-c", program], self.path)
        if code != 0:
            raise MutationError(f"fxp cannot be imported from the copy:\n{output[-2000:]}")
        if not Path(output.strip()).resolve().is_relative_to(self.path.resolve()):
            raise MutationError(f"the tests would import {output.strip()}, not the copy")

    def sound(self, room: Room, limit: float) -> float:
        """Run the tests without a fault, and again with what the first run compiled.

        Parameters
        ----------
        room
            Its tests are run.
        limit
            Seconds after which to give up.

        Returns
        -------
        float
            Seconds of the run that the others are like.

        Raises
        ------
        MutationError
            If the tests fail or take too long.
        """
        seconds = 0.0
        for _ in range(1 if room.compiled else 2):
            passed, seconds, output = self._tests(room, limit)
            if not passed:
                raise MutationError(f"the tests fail without a fault:\n{output[-2000:]}")
        return seconds

    def judge(self, room: Room, file: Path, mutant: Mutant, usual: float) -> Verdict:
        """Run the tests with one fault, and repair it.

        Parameters
        ----------
        room
            Its tests are run.
        file
            The file to damage, from the root of the repository.
        mutant
            The fault.
        usual
            Seconds of a sound run.
        """
        path = self.path / file
        source = path.read_bytes()
        try:
            path.write_bytes(mutant.apply(source))
            passed, seconds, output = self._tests(room, SLOWER * usual + GRACE)
        finally:
            path.write_bytes(source)
        if passed is None:
            return Verdict(str(file), mutant, "timed out", seconds)
        if passed:
            return Verdict(str(file), mutant, "survived", seconds)
        named = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        test = named[0].split(" - ")[0].split(" ", 1)[1] if named else "collection"
        return Verdict(str(file), mutant, "failed", seconds, test)

    def _tests(self, room: Room, limit: float) -> tuple[bool | None, float, str]:
        """Whether all tests passed, None if they took too long; seconds, and what they printed."""
        compiled = self._compiled / "sound"
        if room.compiled:
            compiled = self._compiled / "once"
            shutil.rmtree(compiled, ignore_errors=True)
        tests = [name for name in room.tests if (self.path / name.split("::")[0]).exists()]
        options = ["-x", "-q", "-o", "addopts=", "-o", f"cache_dir={self._compiled / 'pytest'}"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        # Stale bytecode: a fault of equal length within one second would not be noticed.
        environment = os.environ | {
            "NUMBA_CACHE_DIR": str(compiled),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        start = time.monotonic()
        try:
            code, output = self._children.run(
                command, self.path, environment=environment, timeout_s=limit
            )
        except ProcessTimeoutError:
            return None, time.monotonic() - start, ""
        return code == 0, time.monotonic() - start, output
