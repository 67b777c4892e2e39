"""Compiling a core with its bench, once for the same sources, and running scripts on it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fxp.hls.rtl.core import Core
from fxp.rtl_sim.packing import TapBeats, read_tap
from fxp.rtl_sim.script import PROGRESS, Log, Script
from fxp.rtl_sim.simulators import Simulator, SimulatorError, make_model, run_compiler
from fxp.rtl_sim.wrapper import TAPS, TOP, WAVEFORM, control_file, tap_file, wrapper
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import
from fxp.support.processes import run_process

cocotb_config = lazy_import("cocotb_tools.config", "rtl")
find_libpython = lazy_import("find_libpython", "rtl")

ICARUS_PROGRAM = "sim.vvp"
SPLIT = 30_000
"""Size of a piece of what Verilator writes; one piece alone needs no shared header."""
_PLAYED = "simulation.log"


@contextmanager
def working_folder(work_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Give the folder for builds: as named, made if missing, or a temporary one."""
    if work_dir is None:
        with tempfile.TemporaryDirectory(prefix="fxp_rtl_") as folder:
            yield Path(folder)
    else:
        folder = Path(work_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def compiled(
    work_dir: Path, name: str, content: Sequence[str | bytes], make: Callable[[Path], Path]
) -> Path:
    """Return the folder with a compiled program, made now unless it was before.

    Parameters
    ----------
    work_dir
        Where builds are kept.
    name
        What the folder's name begins with.
    content
        All that decides what the program is.
    make
        Compiles in a folder and returns the program.
    """
    check = hashlib.sha256()
    for part in content:
        data = part.encode() if isinstance(part, str) else part
        check.update(len(data).to_bytes(8, "little") + data)
    target = work_dir / f"{name}-{check.hexdigest()[:16]}"
    if target.is_dir():
        return target
    if re.search(r"\s", str(work_dir)):
        raise ArgumentError(f"make takes no folder with spaces in its name, so not {work_dir}")
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="build_") as folder:
        program = make(Path(folder))
        kept = Path(folder) / "kept"
        kept.mkdir()
        shutil.move(program, kept / program.name)
        try:
            kept.rename(target)
        except OSError:
            # Another process was faster with the same.
            if not target.is_dir():
                raise
    return target


def read_sources(folder: Path, core: Core) -> list[bytes]:
    """Return the content of all sources of a core."""
    return [(folder / source).read_bytes() for source in core.sources]


@dataclass(frozen=True)
class Bench:
    """A compiled core with the cocotb bench around it.

    Attributes
    ----------
    core
        The core.
    simulator
        What runs it.
    folder
        Where the compiled program is.
    work_dir
        Where runs take place.
    """

    core: Core
    simulator: Simulator
    folder: Path
    work_dir: Path

    def run(
        self,
        script: Script,
        *,
        taps: bool = False,
        waveform: Path | None = None,
        on_beats: Callable[[int], None] | None = None,
    ) -> tuple[Log, list[TapBeats]]:
        """Play a script in a process of the simulator.

        Parameters
        ----------
        script
            What to do.
        taps
            Whether to record what every tap shows.
        waveform
            File for all wires; the bench must be built for it.
        on_beats
            Called now and then with the number of beats that came out.

        Returns
        -------
        tuple
            What the bench saw, and with `taps` what each of ``core.taps`` showed.

        Raises
        ------
        SimulatorError
            If the simulation fails.
        """
        with tempfile.TemporaryDirectory(dir=self.work_dir, prefix="run_") as name:
            folder = Path(name)
            script.save(folder)
            with watched_count(folder / PROGRESS, on_beats):
                self.play("fxp.rtl_sim.bench", folder, taps=taps, waveform=waveform)
            log = Log.load(folder)
            if log is None:
                raise SimulatorError(f"{self.simulator} failed: {_last_error(folder / _PLAYED)}")
            if not taps:
                return log, []
            return log, [read_tap(folder / tap_file(i), t) for i, t in enumerate(self.core.taps)]

    def play(
        self, module: str, folder: Path, *, taps: bool = False, waveform: Path | None = None
    ) -> None:
        """Run the cocotb tests of a module on the core.

        Parameters
        ----------
        module
            Name by which Python imports the module.
        folder
            Where the simulator runs; it keeps its log there, and cocotb ``results.xml``.
        taps
            Whether to record what every tap shows.
        waveform
            File for all wires; the bench must be built for it.

        Raises
        ------
        SimulatorError
            If the simulator fails; not if a test of the module does.
        """
        options = [f"+{TAPS}"] if taps else []
        if self.simulator.name == "verilator":
            command = [self.folder / TOP]
            # Registers without a reset start with random content: nothing may depend on it.
            options += ["+verilator+rand+reset+2", "+verilator+seed+1"]
            if waveform is not None:
                options = ["--trace", "--trace-file", str(waveform.absolute()), *options]
        else:
            interface = cocotb_config.lib_entry("vpi", "icarus")
            command = ["vvp", "-m", interface, self.folder / ICARUS_PROGRAM]
            options += [] if waveform is None else [f"+{WAVEFORM}={waveform.absolute()}"]
            options.append("-none" if waveform is None else "-fst")
        done = run_process(
            [*command, *options], folder,
            environment=_bench_environment(self.simulator, folder, module),
            output=folder / _PLAYED,
        )  # fmt: skip
        if done.code:
            raise SimulatorError(f"{self.simulator} failed: {_last_error(folder / _PLAYED)}")


def _bench_environment(simulator: Simulator, folder: Path, module: str) -> dict[str, str]:
    """Return the variables by which a simulator's process finds cocotb and the bench.

    They are those that cocotb documents for a flow of one's own. Its runner sets the same, but
    does not let us end what it starts.
    """
    libraries = [os.environ.get("LIBPYTHON_LOC") or find_libpython.find_libpython()]
    if libraries[0] is None:
        raise SimulatorError(
            "cocotb needs Python as a shared library, which this Python lacks; on Debian: "
            "apt-get install libpython3-dev"
        )
    return {
        **os.environ,
        "COCOTB_RANDOM_SEED": "1",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_TEST_MODULES": module,
        "COCOTB_TOPLEVEL": TOP,
        "GPI_USERS": ";".join([*libraries, cocotb_config.pygpi_entry_point()]),
        "PATH": os.pathsep.join([os.environ.get("PATH", ""), str(cocotb_config.libs_dir)]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TOPLEVEL_LANG": "verilog",
        # Verilator alone puts writes off by itself, until the values of a clock are settled.
        "COCOTB_TRUST_INERTIAL_WRITES": str(int(simulator.name == "verilator")),
    }


def _last_error(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    told = [line.strip() for line in lines if re.search(r"[Ee]rror", line)]
    return (told or lines or ["it left no log"])[-1].strip()


@contextmanager
def watched_count(path: Path, on_count: Callable[[int], None] | None) -> Iterator[None]:
    """Tell the number that a file ends with, a few times a second while the block runs.

    Parameters
    ----------
    path
        The file, which need not exist yet.
    on_count
        Takes the number, in a thread of its own; None watches nothing.
    """
    if on_count is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            words = path.read_text(errors="replace").split() if path.is_file() else []
            if words and words[-1].isdigit():
                on_count(int(words[-1]))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def build_bench(
    core_folder: Path,
    simulator: Simulator,
    work_dir: Path,
    *,
    waveform: Path | None = None,
    quickly: bool = False,
) -> Bench:
    """Compile an emitted core with the bench around it.

    Parameters
    ----------
    core_folder
        What `fxp.hls.emit_rtl` wrote.
    simulator
        What to compile it with.
    work_dir
        Where programs are kept and runs take place.
    waveform
        File that a run will write; its suffix says in which format.
    quickly
        Do not let the compiler optimize what Verilator writes: it needs two thirds of the time, and
        a clock one and a half times as much.

    Raises
    ------
    ValueError
        If the folder holds no core, or the simulator does not write such waveforms.
    SimulatorError
        If the simulator refuses the core.
    """
    core, work_dir = Core.read(core_folder), work_dir.absolute()
    check_waveform(simulator, waveform)
    around, control = wrapper(core), control_file(core)
    sources = [(core_folder / source).absolute() for source in core.sources]
    trace = waveform.suffix if waveform is not None and simulator.name == "verilator" else ""

    def make(folder: Path) -> Path:
        (folder / f"{TOP}.sv").write_text(around, encoding="utf-8")
        (folder / f"{TOP}.vlt").write_text(control, encoding="utf-8")
        if simulator.name == "verilator":
            return _with_verilator(simulator, folder, sources, trace, work_dir, optimize)
        return _with_icarus(simulator, folder, sources)

    optimize = "-O0" if quickly and simulator.name == "verilator" else "-O1"
    options = (str(simulator), trace, optimize)
    content = [*options, around, control, recipe(), *read_sources(core_folder, core)]
    folder = compiled(work_dir, simulator.name, content, make)
    return Bench(core, simulator, folder, work_dir)


def recipe() -> bytes:
    """Return what else decides how a program is compiled: this code."""
    from fxp.rtl_sim import simulators

    return Path(__file__).read_bytes() + Path(simulators.__file__).read_bytes()


def check_waveform(simulator: Simulator, waveform: Path | None) -> None:
    """Raise ValueError if the simulator cannot write that file."""
    if waveform is None:
        return
    if not waveform.absolute().parent.is_dir():
        raise ArgumentError(f"there is no folder {waveform.parent} for the waveform")
    if simulator.name == "icarus":
        if waveform.suffix != ".fst":
            raise ArgumentError(f"Icarus writes waveforms as .fst, not {waveform.name}")
    elif waveform.suffix not in (".fst", ".vcd"):
        raise ArgumentError(f"Verilator writes waveforms as .vcd or .fst, not {waveform.name}")


def runtime_folder(simulator: Simulator, work_dir: Path, options: str) -> Path:
    """Return where the compiled library of Verilator is kept for models with some options.

    Parameters
    ----------
    simulator
        Verilator.
    work_dir
        Where programs are kept.
    options
        What the library is compiled with, in words of our own.
    """
    name = hashlib.sha256(f"{simulator} {options}".encode() + recipe()).hexdigest()[:16]
    return work_dir / f"runtime-{name}"


def _with_verilator(
    simulator: Simulator,
    folder: Path,
    sources: Sequence[Path],
    trace: str,
    work_dir: Path,
    optimize: str,
) -> Path:
    libraries = cocotb_config.libs_dir
    main = Path(cocotb_config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    tracing = {"": [], ".vcd": ["--trace-vcd"], ".fst": ["--trace-fst"]}[trace]
    command = [
        simulator.program, "--cc", "--exe", "--vpi", "--assert", *tracing,
        "-Wno-fatal", "-Wno-lint", "-Wno-style",
        "--x-assign", "unique", "--x-initial", "unique",
        "--output-split", str(SPLIT),
        "--top-module", TOP, "--prefix", "Vtop", "-o", TOP, "-Mdir", folder,
        "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        main, folder / f"{TOP}.vlt", folder / f"{TOP}.sv", *sources,
    ]  # fmt: skip
    run_compiler(command, folder, simulator.environment)
    try:
        make_model(
            simulator, folder, optimize=optimize, optimize_runtime=optimize,
            runtime=runtime_folder(simulator, work_dir, f"{trace} {optimize}"),
        )  # fmt: skip
    except SimulatorError as error:
        if trace == ".fst" and "lz4" in str(error):
            raise SimulatorError(
                "Verilator writes .fst with the library lz4; apt-get install liblz4-dev zlib1g-dev,"
                " or name the waveform .vcd"
            ) from None
        raise
    return folder / TOP


def _with_icarus(simulator: Simulator, folder: Path, sources: Sequence[Path]) -> Path:
    program = folder / ICARUS_PROGRAM
    command = [
        simulator.program, "-g2012", "-s", TOP, "-o", program, folder / f"{TOP}.sv", *sources
    ]  # fmt: skip
    run_compiler(command, folder, simulator.environment)
    return program
