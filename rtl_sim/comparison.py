"""A core against the engine: the same images through both, compared integer by integer."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray, check_raw
from fxp.hls import emit_rtl
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Core, Packing
from fxp.hls.rtl.styles import LayerFolds, LayerStyles
from fxp.model import FixedModel
from fxp.model.arguments import Arguments
from fxp.model.sources import ModelSource, model_of
from fxp.rtl_sim.build import Bench, build_bench, working_folder
from fxp.rtl_sim.differences import (
    CoreDifference,
    engine_results,
    layer_difference,
    results_difference,
)
from fxp.rtl_sim.estimates import (
    AUTO,
    FEW_CLOCKS,
    clock_count,
    duration_text,
    expected_seconds,
    quickest_simulator,
)
from fxp.rtl_sim.packing import TapBeats, input_beats, output_shape, taken_image
from fxp.rtl_sim.script import SIZE, STATUS, Log, Script
from fxp.rtl_sim.simulators import find_simulator
from fxp.rtl_sim.stalls import Stalls
from fxp.support.errors import ArgumentError
from fxp.support.progress import Progress

if TYPE_CHECKING:
    from torch.nn import Module

ERROR_BITS = 0x1F
"""Bits of ``STATUS`` that tell of malformed frames and sizes."""


@dataclass(frozen=True)
class CosimResult:
    """What a co-simulation found.

    Attributes
    ----------
    bit_exact
        Whether every output equals the engine's and no interface rule was broken.
    difference
        The first difference; None if there is none.
    frames
        Images compared.
    pixels
        Input pixels of all images.
    cycles
        From the first pixel taken to the last beat out, both included.
    latency_cycles
        From the first pixel taken to the first beat out.
    status
        Register ``STATUS`` at the end.
    violations
        Broken rules of the interfaces, in words.
    simulator
        Name and version.
    stalls
        Of both streams.
    seconds
        Of emission, compilation and simulation.
    waveform
        File with all wires, if one was asked for.
    core
        What was simulated.
    """

    bit_exact: bool
    difference: CoreDifference | None
    frames: int
    pixels: int
    cycles: int
    latency_cycles: int
    status: int
    violations: tuple[str, ...]
    simulator: str
    stalls: Stalls
    seconds: float
    waveform: Path | None
    core: Core

    def __str__(self) -> str:
        count = f"{self.frames} frame{'s' if self.frames > 1 else ''}, {self.pixels:,} pixels"
        where = f"{self.simulator}, stalls {self.stalls}, {self.seconds:.1f} s"
        if self.bit_exact:
            return (
                f"bit-exact: {count} in {self.cycles:,} clocks, first result after "
                f"{self.latency_cycles:,} ({where})"
            )
        found = self.difference or (self.violations or ["an error bit in STATUS is set"])[0]
        return f"DIFFERENT: {found} ({count}; {where})"


def cosim(
    model: ModelSource | Module,
    images: NDArray | Sequence[NDArray],
    *,
    simulator: str = AUTO,
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
    taps: bool = False,
    waveform: str | PathLike[str] | None = None,
    work_dir: str | PathLike[str] | None = None,
    core: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CosimResult:
    """Run images through an emitted core in a simulator, and through the engine, and compare.

    If the outputs differ, the simulation is repeated with every layer recorded, and the first layer
    that differs from the engine's is named.

    Parameters
    ----------
    model
        A model that `fxp.hls.emit_rtl` takes, its graph, or the path of its ``.fxp`` file. A
        `torch.nn.Module` is quantized first, calibrated with the images, which are real numbers
        then.
    images
        One image or several: raw integers of the model's input, or real numbers, which are
        quantized as the model does; ``(H, W)`` or ``(C, H, W)``. Several are sent back to back;
        where the size changes, the registers are written in between.
    simulator
        ``"verilator"``, ``"icarus"``, or by default ``"auto"``: the one that is expected to finish
        first. Icarus starts at once and is slow, so it suits small images.
    stalls
        When source and sink pause; never by default. A text as the command takes it will do, such
        as ``"random25/bursts"``.
    max_width, max_height
        Of the core; those of the images by default.
    multipliers, fold, raster, pixels_per_beat, packing
        As for `fxp.hls.emit_rtl`.
    subsampled, levels_per_register, register_shared
        As for `fxp.hls.emit_rtl`.
    taps
        Compare every layer even if the outputs agree.
    waveform
        File for all wires over time: ``.vcd`` with Verilator (``.fst`` too if the library lz4 is
        installed), ``.fst`` with Icarus.
    work_dir
        Folder where cores and compiled programs are kept, so that the next run with the same core
        need not compile; nothing is kept by default.
    core
        Folder of an emitted core of this model, to simulate instead of emitting one.
    progress
        Told how many beats came out, of how many (0 while that is unknown), and what is being done.

    Returns
    -------
    CosimResult
        ``result.bit_exact``, and what differs first.

    Raises
    ------
    ValueError
        If the model cannot stream, an image does not fit, or an argument does not suit.
    SimulatorError
        If the simulator is missing, or fails.
    """
    started = time.perf_counter()
    if simulator != AUTO:
        find_simulator(simulator)
    fixed = quantized(model, images)
    frames = raw_images(fixed, images)
    target = None if waveform is None else Path(waveform)
    pauses = Stalls.of(stalls)
    clocks = LayerStyles(multipliers, fold).clocks
    if simulator == AUTO:
        suffix = "" if target is None else target.suffix
        simulator = quickest_simulator(fixed, frames, pauses, clocks, suffix)
    found = find_simulator(simulator)
    say = progress or (lambda done, total, text: None)
    with working_folder(work_dir) as folder:
        say(0, 0, "emitting the core")
        if core is None:
            core_folder = emit(
                fixed, frames, folder, max_width=max_width, max_height=max_height,
                multipliers=multipliers, fold=fold, raster=raster,
                pixels_per_beat=pixels_per_beat, packing=packing, subsampled=subsampled,
                levels_per_register=levels_per_register, register_shared=register_shared,
            )  # fmt: skip
        else:
            core_folder = core_of(core, fixed)
        check_sizes(Core.read(core_folder), frames)
        expected = duration_text(expected_seconds(simulator, fixed, frames, pauses, clocks))
        say(0, 0, f"compiling with {found}; about {expected} in all")
        quickly = clock_count(frames, pauses, clocks) < FEW_CLOCKS
        bench = build_bench(core_folder, found, folder, waveform=target, quickly=quickly)
        return compare(
            bench, fixed, frames, pauses, taps=taps, waveform=target,
            progress=say, started=started,
        )  # fmt: skip


def quantized(model: ModelSource | Module, images: NDArray | Sequence[NDArray]) -> FixedModel:
    """Return a model however it is given; a module of PyTorch is quantized.

    Parameters
    ----------
    model
        A model, its graph, the path of its file, or a `torch.nn.Module`.
    images
        What calibrates a module: real numbers ``(H, W)`` or ``(C, H, W)``.

    Raises
    ------
    ValueError
        If the images of a module are integers.
    """
    torch = sys.modules.get("torch")
    given: Any = model
    if torch is None or not isinstance(given, torch.nn.Module):
        return model_of(given)
    several = images if isinstance(images, Sequence) else [images]
    arrays = [np.asarray(image) for image in several]
    if any(array.dtype.kind != "f" for array in arrays):
        raise ArgumentError(
            "a torch.nn.Module is quantized by what its images show, so they must be real numbers; "
            "or quantize it first, with fxp.quantize, and give integers"
        )
    from fxp.quantization.quantize import quantize

    batches = [
        torch.as_tensor(array.reshape(1, -1, *array.shape[-2:]), dtype=torch.float32)
        for array in arrays
    ]
    return quantize(given.eval(), batches)


def emit(model: FixedModel, frames: Sequence[IntArray], work_dir: Path, **options: Any) -> Path:
    """Emit the core for some images; returns its folder in the working folder.

    Equal cores share a folder, so that processes which work side by side disturb nobody.

    Parameters
    ----------
    model
        The model.
    frames
        Raw integers ``(C, H, W)``; the largest sides are the core's, unless options say otherwise.
    work_dir
        The working folder.
    options
        Arguments of `fxp.hls.emit_rtl`; `max_width` and `max_height` may be None.
    """
    for name, axis in (("max_height", 1), ("max_width", 2)):
        if options.get(name) is None:
            options[name] = max(frame.shape[axis] for frame in frames)
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="emit_") as temporary:
        made = Path(temporary) / "core"
        core = emit_rtl(model, made, **options)
        check = hashlib.sha256(core.to_json().encode())
        for source in core.sources:
            check.update((made / source).read_bytes())
        target = work_dir / f"core-{core.name}-{check.hexdigest()[:16]}"
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def core_of(folder: str | PathLike[str], model: FixedModel) -> Path:
    """Return the folder of an emitted core; raises ValueError if it is one of another model."""
    values = model.graph.values
    for tap in Core.read(folder).taps:
        form = values[tap.value].format if tap.value in values else None
        if form is None or (form.width, form.frac, form.signed) != (
            tap.width, tap.frac, tap.signed
        ):  # fmt: skip
            raise ArgumentError(f"{folder} is the core of another model: its {tap.value!r} differs")
    return Path(folder)


def check_sizes(core: Core, frames: Sequence[IntArray]) -> None:
    """Raise ValueError if the core does not take frames of that size, or of several sizes."""
    if core.states and len({frame.shape for frame in frames}) > 1:
        raise ArgumentError("the core keeps states from frame to frame, so all have one size")
    for frame in frames:
        height, width = frame.shape[1:]
        if width > core.max_width or height > core.max_height:
            raise ArgumentError(
                f"an image of {width}x{height} is larger than the core takes, "
                f"{core.max_width}x{core.max_height}"
            )
        if height < core.smallest[0] or width < core.smallest[1]:
            raise ArgumentError(
                f"an image of {width}x{height} is smaller than the core takes, "
                f"{core.smallest[1]}x{core.smallest[0]}"
            )


def raw_images(model: FixedModel, images: NDArray | Sequence[NDArray]) -> list[IntArray]:
    """Return every image as raw integers ``(C, H, W)``.

    Raises
    ------
    ValueError
        If there is none, or the model does not take it.
    """
    if len(model.graph.inputs) != 1:
        raise ArgumentError("a core has one image as input")
    several = isinstance(images, Sequence)
    frames = []
    for image in images if several else [images]:
        array = np.asarray(image)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3:
            raise ArgumentError(f"an image is (H, W) or (C, H, W), not of shape {array.shape}")
        arguments = Arguments(model.graph, [array])
        calls = arguments.quantized() if array.dtype.kind == "f" else arguments.images
        ((raw,),) = calls
        form = model.graph.inputs[0].format
        assert form is not None
        frames.append(check_raw(raw, form))
    if not frames:
        raise ArgumentError("there is no image to simulate")
    return frames


def patience_of(core: Core, stalls: Stalls, width: int) -> int:
    """Clocks after which a core that moves nothing has stopped: it may flush meanwhile.

    Parameters
    ----------
    core
        The core.
    stalls
        When source and sink pause.
    width
        Pixels of the longest line.
    """
    flush = (core.lag_lines + 3) * (width + 1) * core.fold
    return (1000 + 4 * core.latency_clocks + 2 * flush) * stalls.slowness


def script_of(
    core: Core, frames: Sequence[IntArray], stalls: Stalls, changes: Sequence[Stalls] = ()
) -> Script:
    """Return the script that sends the frames back to back and waits for all results.

    With `changes`, source and sink follow another pattern from each frame on.

    Parameters
    ----------
    core
        The core.
    frames
        Raw integers ``(C, H, W)``.
    stalls
        When source and sink pause.
    changes
        Another pattern for each frame, from its first pixel on; none by default.
    """
    largest = max(max(frame.shape[2] for frame in frames), core.initial_width)
    slowest = max((stalls, *changes), key=lambda each: each.slowness)
    script = Script(
        stalls,
        patience_of(core, slowest, largest),
        more=tuple(result.stream for result in core.more),
        loops={state.stream: state.result for state in core.states},
    )
    script.reset()
    size = (core.initial_height, core.initial_width)
    beats = [0] * len(core.results)
    for number, frame in enumerate(frames):
        if frame.shape[1:] != size:
            size = frame.shape[1:]
            script.write(SIZE, size[0] << 16 | size[1])
        if changes:
            script.stall(changes[number])
        script.send(*input_beats(frame, core.input))
        for stream, result in enumerate(core.results.values()):
            beats[stream] += int(np.prod(output_shape(result, *size)))
    script.drain(*beats)
    script.read(STATUS)
    return script


def compare(
    bench: Bench,
    model: FixedModel,
    frames: Sequence[IntArray],
    stalls: Stalls,
    *,
    changes: Sequence[Stalls] = (),
    taps: bool = False,
    waveform: Path | None = None,
    progress: Progress | None = None,
    started: float | None = None,
) -> CosimResult:
    """Run frames on a compiled bench and compare with the engine; see `cosim` and `script_of`.

    Parameters
    ----------
    bench
        The compiled core.
    model
        What the core computes.
    frames
        Raw integers ``(C, H, W)``.
    stalls
        When source and sink pause.
    changes
        Another pattern for each frame; none by default.
    taps
        Compare every layer even if the outputs agree.
    waveform
        File for all wires over time; the bench must be built for it.
    progress
        Told how many beats came out, of how many, and what is being done.
    started
        Time of `time.perf_counter` from which the seconds are counted, by default now.
    """
    started = time.perf_counter() if started is None else started
    core = bench.core
    say = progress or (lambda done, total, text: None)
    total = sum(int(np.prod(output_shape(core, *frame.shape[1:]))) for frame in frames)
    script = script_of(core, frames, stalls, changes)

    def run(what: str, taps: bool, waveform: Path | None) -> tuple[Log, list[TapBeats]]:
        say(0, total, what)
        return bench.run(
            script, taps=taps, waveform=waveform, on_beats=lambda done: say(done, total, what)
        )

    log, shown = run("simulating", taps, waveform)
    taken = [taken_image(frame, core.input) for frame in frames]
    difference = results_difference(core, log, frames, engine_results(model, taken))
    if difference is not None and not taps:
        log, shown = run("looking for the layer", True, None)
    if shown:
        values = [each.values for each in engine_results(model, taken, keep_values=True)]
        difference = layer_difference(core, shown, values) or difference
    status = log.values[-1] if log.values else 0
    exact = difference is None and not log.violations and not status & ERROR_BITS
    first = int(log.input_clocks[0]) if len(log.input_clocks) else 0
    out = log.output_clocks
    return CosimResult(
        bit_exact=exact,
        difference=difference,
        frames=len(frames),
        pixels=sum(frame.shape[1] * frame.shape[2] for frame in frames),
        cycles=int(out[-1]) - first + 1 if len(out) else 0,
        latency_cycles=int(out[0]) - first if len(out) else 0,
        status=status,
        violations=log.violations,
        simulator=str(bench.simulator),
        stalls=stalls,
        seconds=time.perf_counter() - started,
        waveform=waveform,
        core=core,
    )
