"""Whole frames through a core, compiled by Verilator with a main program of its own."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Core, Packing
from fxp.hls.rtl.register_map import BY_NAME
from fxp.hls.rtl.styles import LayerFolds
from fxp.model.sources import ModelSource
from fxp.rtl_sim.build import (
    compiled,
    read_sources,
    recipe,
    runtime_folder,
    watched_count,
    working_folder,
)
from fxp.rtl_sim.comparison import (
    ERROR_BITS,
    check_sizes,
    core_of,
    emit,
    patience_of,
    quantized,
    raw_images,
)
from fxp.rtl_sim.differences import CoreDifference, output_difference
from fxp.rtl_sim.packing import as_image, input_beats, output_shape, taken_image
from fxp.rtl_sim.script import Log, StreamLog
from fxp.rtl_sim.simulators import (
    Simulator,
    SimulatorError,
    find_simulator,
    make_model,
    run_compiler,
)
from fxp.rtl_sim.stalls import Stalls, stall_percent
from fxp.rtl_sim.wrapper import TOP, control_file, wrapper
from fxp.support.errors import ArgumentError
from fxp.support.processes import run_process
from fxp.support.progress import Progress

if TYPE_CHECKING:
    from torch.nn import Module

SPLIT = 12_000
"""Size of a piece of what Verilator writes: two compilers share the work."""
MAIN = Path(__file__).with_name("harness.cpp")


@dataclass(frozen=True)
class FrameResult:
    """What came of whole frames.

    Attributes
    ----------
    bit_exact
        Whether every output equals the engine's.
    difference
        The first difference; None if there is none.
    frames
        Number of frames.
    cycles
        From the first pixel of the first frame taken to its last beat out, both included.
    total_cycles
        The same for all frames.
    latency_cycles
        From the first pixel taken to the first beat out.
    input_cycles
        From the first pixel of the first frame taken to its last.
    pixels
        Input pixels of a frame.
    status
        Register ``STATUS`` at the end.
    seconds, compile_seconds, simulation_seconds
        Of everything, of Verilator and the C++ compiler, and of the simulation.
    core
        What was simulated.
    """

    bit_exact: bool
    difference: CoreDifference | None
    frames: int
    cycles: int
    total_cycles: int
    latency_cycles: int
    input_cycles: int
    pixels: int
    status: int
    seconds: float
    compile_seconds: float
    simulation_seconds: float
    core: Core

    def __str__(self) -> str:
        if not self.bit_exact:
            return f"DIFFERENT: {self.difference or 'an error bit in STATUS is set'}"
        return (
            f"bit-exact: {self.pixels:,} pixels in {self.cycles:,} clocks, first result after "
            f"{self.latency_cycles:,} (compiled in {self.compile_seconds:.0f} s, simulated in "
            f"{self.simulation_seconds:.0f} s)"
        )


def full_frame(
    model: ModelSource | Module,
    image: NDArray | Sequence[NDArray],
    *,
    stalls: Stalls | str | None = None,
    max_width: int | None = None,
    max_height: int | None = None,
    multipliers: Any = "dsp",
    fold: LayerFolds = 1,
    raster: bool = False,
    pixels_per_beat: int | None = None,
    packing: Packing = "bytes",
    subsampled: bool = False,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
    threads: int = 1,
    work_dir: str | PathLike[str] | None = None,
    core: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FrameResult:
    """Run a whole frame through an emitted core and through the engine, and compare.

    Much faster than `fxp.rtl_sim.cosim`, which drives the core from Python: for whole frames.

    Parameters
    ----------
    model
        A model, its graph, the path of its file, or a module; see `fxp.rtl_sim.cosim`.
    image
        One image, or several of one size, which are sent back to back; see `fxp.rtl_sim.cosim`.
    stalls
        When source and sink pause, as for `fxp.rtl_sim.cosim`. Bursts are taken as random stalls.
    threads
        Threads of the compiled model.
    max_width, max_height, multipliers, fold, raster, pixels_per_beat, packing
        As for `fxp.rtl_sim.cosim`.
    subsampled, levels_per_register, register_shared
        As for `fxp.hls.emit_rtl`.
    work_dir, core, progress
        As for `fxp.rtl_sim.cosim`.

    Returns
    -------
    FrameResult
        ``result.bit_exact``, and the clocks it took.

    Raises
    ------
    ValueError
        If the model cannot stream, the images do not fit, or an argument does not suit.
    SimulatorError
        If Verilator is missing, or fails.
    """
    started = time.perf_counter()
    simulator = find_simulator("verilator")
    fixed = quantized(model, image)
    frames = raw_images(fixed, image)
    if len({frame.shape for frame in frames}) > 1:
        raise ArgumentError("the frames must have one size")
    say = progress or (lambda done, total, text: None)
    with working_folder(work_dir) as folder:
        if core is None:
            core_folder = emit(
                fixed, frames, folder, max_width=max_width, max_height=max_height,
                multipliers=multipliers, fold=fold, raster=raster,
                pixels_per_beat=pixels_per_beat, packing=packing, subsampled=subsampled,
                levels_per_register=levels_per_register, register_shared=register_shared,
            )  # fmt: skip
        else:
            core_folder = core_of(core, fixed)
        say(0, 0, "compiling with Verilator")
        described = Core.read(core_folder)
        if described.more:
            raise ArgumentError(
                f"{described.name!r} has streams beside m_axis ({', '.join(described.results)}), "
                "which the compiled harness does not drive: take fxp.rtl_sim.cosim, or the command "
                "with another simulator"
            )
        check_sizes(described, frames)
        compiling = time.perf_counter()
        program = _build(simulator, core_folder, described, folder, threads)
        simulating = time.perf_counter()
        log, answer = _run(program, described, frames, Stalls.of(stalls), folder, say)
        simulated = time.perf_counter()
    expected = [
        as_image(fixed.run(frame, narrow=True, count_clipped=False).outputs[0])
        for frame in (taken_image(frame, described.input) for frame in frames)
    ]
    difference = output_difference(described, log.results[0], frames, expected)
    first_in, last_in, first_out, last_out = answer["frames"][0]
    return FrameResult(
        bit_exact=difference is None and not answer["status"] & ERROR_BITS,
        difference=difference,
        frames=len(frames),
        cycles=last_out - first_in + 1,
        total_cycles=answer["frames"][-1][3] - first_in + 1,
        latency_cycles=first_out - first_in,
        input_cycles=last_in - first_in + 1,
        pixels=frames[0].shape[1] * frames[0].shape[2],
        status=answer["status"],
        seconds=time.perf_counter() - started,
        compile_seconds=simulating - compiling,
        simulation_seconds=simulated - simulating,
        core=described,
    )


def _build(
    simulator: Simulator, core_folder: Path, core: Core, work_dir: Path, threads: int
) -> Path:
    """Return the compiled program."""
    around = wrapper(core)
    sources = [(core_folder / source).absolute() for source in core.sources]
    sizes = _sizes(core)
    sizes |= {f"FXP_{name}": BY_NAME[name].address for name in ("SIZE", "STATUS")}
    defines = " ".join(f"-D{name}={value}" for name, value in sizes.items())

    def make(folder: Path) -> Path:
        (folder / f"{TOP}.sv").write_text(around, encoding="utf-8")
        command = [
            simulator.program, "--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style",
            "--x-assign", "fast", "--x-initial", "fast", "--threads", str(threads),
            "--output-split", str(SPLIT), "--output-split-cfuncs", "1000",
            "--top-module", TOP, "--prefix", "Vtop", "-o", TOP, "-Mdir", folder,
            "-CFLAGS", defines, MAIN, folder / f"{TOP}.sv", *sources,
        ]  # fmt: skip
        run_compiler(command, folder, simulator.environment)
        runtime = runtime_folder(simulator, work_dir, f"harness {threads}")
        make_model(simulator, folder, runtime=runtime, optimize="-O2")
        return folder / TOP

    own = [MAIN.read_bytes(), Path(__file__).read_bytes(), recipe()]
    content = [str(simulator), str(threads), around, control_file(core), defines, *own]
    content += read_sources(core_folder, core)
    return compiled(work_dir, "harness", content, make) / TOP


def _sizes(core: Core) -> dict[str, int]:
    out = core.output.beat_bytes(core.beat_pixels)
    return {
        "INPUT_BYTES": core.input.beat_bytes(),
        "OUTPUT_BYTES": out,
        "KEEP_BYTES": -(-out // 8) if core.has_keep else 0,
    }


def _run(
    program: Path,
    core: Core,
    frames: Sequence[IntArray],
    stalls: Stalls,
    work_dir: Path,
    progress: Progress,
) -> tuple[Log, dict[str, Any]]:
    """Run the program; returns what came out, and what it printed."""
    height, width = frames[0].shape[1:]
    beats = int(np.prod(output_shape(core, height, width)))
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="run_") as name:
        source, target = Path(name) / "input.raw", Path(name) / "output.raw"
        data = [input_beats(frame, core.input)[0] for frame in frames]
        source.write_bytes(np.concatenate(data).tobytes())
        counts = [
            width, height, len(frames), beats, stall_percent(stalls.source),
            stall_percent(stalls.sink), stalls.seed, patience_of(core, stalls, core.max_width),
        ]  # fmt: skip
        numbers = [str(count) for count in counts]
        printed = Path(name) / "simulation.log"
        with watched_count(printed, lambda done: progress(done, beats * len(frames), "simulating")):
            done = run_process([program, source, target, *numbers], Path(name), output=printed)
        told = printed.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(told) if line.strip()), "")
        if done.code:
            raise SimulatorError(f"the compiled model failed: {last or f'exit code {done.code}'}")
        sizes = _sizes(core)
        out, keep = sizes["OUTPUT_BYTES"], sizes["KEEP_BYTES"]
        records = np.fromfile(target, np.uint8).reshape(-1, out + keep + 1)
    kept = None
    if keep:
        kept = np.unpackbits(records[:, out : out + keep], axis=1, count=out, bitorder="little")
    none = np.zeros(0, np.int64)
    log = Log((StreamLog(records[:, :out], kept, records[:, -1], none),), none, (), ())
    return log, json.loads(last)
