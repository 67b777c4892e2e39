"""A core against the engine: the same images through both, compared integer by integer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.arguments import Arguments
from fxp.formats import IntArray
from fxp.model import FixedModel
from hls import emit_rtl
from hls.rtl.core import Core, Tap
from rtl_sim.build import Bench, build_bench, working_folder
from rtl_sim.packing import (
    TapBeats,
    blocks_to_image,
    input_beats,
    output_flags,
    output_image,
    output_shape,
)
from rtl_sim.script import HEIGHT, STATUS, WIDTH, Log, Script
from rtl_sim.simulators import find_simulator
from rtl_sim.stalls import Stalls

OUTPUT_STREAM = "output stream"
"""Stands for a layer where the stream itself is wrong: beats missing, marked wrongly, too many."""
ERROR_BITS = 0x1F
"""Bits of ``STATUS`` that tell of malformed frames and sizes."""


@dataclass(frozen=True)
class Difference:
    """The first integer that differs, in the first layer that has one.

    Attributes
    ----------
    layer
        Name of the value in the graph, or `OUTPUT_STREAM`.
    frame, channel, row, column
        Where, counted from zero, in that value; None where it has no place.
    expected, got
        What the engine and the core computed; None where the core gave nothing or unknown bits.
    detail
        What is wrong, in words.
    """

    layer: str
    detail: str
    frame: int | None = None
    channel: int | None = None
    row: int | None = None
    column: int | None = None
    expected: int | None = None
    got: int | None = None

    def __str__(self) -> str:
        if self.row is None:
            place = "" if self.frame is None else f" of frame {self.frame}"
            return f"{self.layer}{place}: {self.detail}"
        return (
            f"{self.layer}: frame {self.frame}, channel {self.channel}, row {self.row}, column "
            f"{self.column}: {self.detail}"
        )


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
    clocks
        From the first pixel taken to the last beat out, both included.
    latency_clocks
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
    difference: Difference | None
    frames: int
    pixels: int
    clocks: int
    latency_clocks: int
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
                f"bit-exact: {count} in {self.clocks:,} clocks, first result after "
                f"{self.latency_clocks:,} ({where})"
            )
        found = self.difference or (self.violations or ["an error bit in STATUS is set"])[0]
        return f"DIFFERENT: {found} ({count}; {where})"


def cosim(
    model: FixedModel,
    images: NDArray | Sequence[NDArray],
    *,
    simulator: str = "verilator",
    stalls: Stalls | None = None,
    max_width: int | None = None,
    max_height: int | None = None,
    multipliers: Any = "dsp",
    fold: int = 1,
    raster: bool = False,
    taps: bool = False,
    waveform: str | PathLike[str] | None = None,
    work_dir: str | PathLike[str] | None = None,
    core: str | PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> CosimResult:
    """Run images through an emitted core in a simulator, and through the engine, and compare.

    If the outputs differ, the simulation is repeated with every layer recorded, and the first layer
    that differs from the engine's is named.

    Parameters
    ----------
    model
        A model that `hls.emit_rtl` takes.
    images
        One image or several: raw integers of the model's input, or real numbers, which are
        quantized as the model does; ``(H, W)`` or ``(C, H, W)``. Several are sent back to back;
        where the size changes, the registers are written in between.
    simulator
        ``"verilator"`` or ``"icarus"``.
    stalls
        When source and sink pause; never by default.
    max_width, max_height
        Of the core; those of the images by default.
    multipliers, fold, raster
        As for `hls.emit_rtl`.
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
        Called with what is being done, and how many of how many beats came out.

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
    found = find_simulator(simulator)
    frames = raw_images(model, images)
    target = None if waveform is None else Path(waveform)
    say = progress or (lambda what, done, total: None)
    with working_folder(work_dir) as folder:
        say("emitting the core", 0, 0)
        if core is None:
            core_folder = emit(
                model, frames, folder, max_width=max_width, max_height=max_height,
                multipliers=multipliers, fold=fold, raster=raster,
            )  # fmt: skip
        else:
            core_folder = Path(core)
        say(f"compiling with {found}", 0, 0)
        bench = build_bench(core_folder, found, folder, waveform=target)
        return compare(
            bench, model, frames, stalls or Stalls(), taps=taps, waveform=target,
            progress=say, started=started,
        )  # fmt: skip


def emit(model: FixedModel, frames: Sequence[IntArray], folder: Path, **options: Any) -> Path:
    """Emit the core for some images into a working folder; returns its folder."""
    for name, axis in (("max_height", 1), ("max_width", 2)):
        if options[name] is None:
            options[name] = max(frame.shape[axis] for frame in frames)
    settings = "_".join(f"{key}{value}" for key, value in sorted(options.items()))
    target = folder / f"core_{model.graph.name}_{settings}"
    emit_rtl(model, target, **options)
    return target


def raw_images(model: FixedModel, images: NDArray | Sequence[NDArray]) -> list[IntArray]:
    """Return every image as raw integers ``(C, H, W)``.

    Raises
    ------
    ValueError
        If there is none, or the model does not take it.
    """
    if len(model.graph.inputs) != 1 or len(model.graph.outputs) != 1:
        raise ValueError("a core has one image input and one output")
    several = isinstance(images, Sequence)
    frames = []
    for image in images if several else [images]:
        array = np.asarray(image)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3:
            raise ValueError(f"an image is (H, W) or (C, H, W), not of shape {array.shape}")
        arguments = Arguments(model.graph, [array])
        calls = arguments.quantized() if array.dtype.kind == "f" else arguments.images
        ((raw,),) = calls
        frames.append(np.asarray(raw, np.int64))
    if not frames:
        raise ValueError("there is no image to simulate")
    return frames


def patience_of(core: Core, stalls: Stalls, width: int) -> int:
    """Clocks after which a core that moves nothing has stopped: it may flush meanwhile."""
    flush = (core.lag_lines + 3) * (width + 1) * core.fold
    return (1000 + 4 * core.latency_clocks + 2 * flush) * stalls.slowness


def script_of(core: Core, frames: Sequence[IntArray], stalls: Stalls) -> Script:
    """Return the script that sends the frames back to back and waits for all results."""
    largest = max(max(frame.shape[2] for frame in frames), core.initial_width)
    script = Script(stalls, patience_of(core, stalls, largest))
    script.reset()
    size = (core.initial_height, core.initial_width)
    beats = 0
    for frame in frames:
        if frame.shape[1:] != size:
            size = frame.shape[1:]
            script.write(WIDTH, size[1])
            script.write(HEIGHT, size[0])
        script.send(*input_beats(frame, core.input))
        beats += int(np.prod(output_shape(core, *size)))
    script.drain(beats)
    script.read(STATUS)
    return script


def compare(
    bench: Bench,
    model: FixedModel,
    frames: Sequence[IntArray],
    stalls: Stalls,
    *,
    taps: bool = False,
    waveform: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    started: float | None = None,
) -> CosimResult:
    """Run frames on a compiled bench and compare with the engine; see `cosim`."""
    started = time.perf_counter() if started is None else started
    core = bench.core
    say = progress or (lambda what, done, total: None)
    total = sum(int(np.prod(output_shape(core, *frame.shape[1:]))) for frame in frames)
    script = script_of(core, frames, stalls)

    def run(what: str, taps: bool, waveform: Path | None) -> tuple[Log, list[TapBeats]]:
        say(what, 0, total)
        return bench.run(
            script, taps=taps, waveform=waveform, progress=lambda done: say(what, done, total)
        )

    log, shown = run("simulating", taps, waveform)
    expected = [model.run(frame, narrow=True).outputs[0] for frame in frames]
    difference = output_difference(core, log, frames, expected)
    if difference is not None and not taps:
        log, shown = run("looking for the layer", True, None)
    if shown:
        difference = layer_difference(core, shown, model, frames) or difference
    status = log.values[-1] if log.values else 0
    exact = difference is None and not log.violations and not status & ERROR_BITS
    first = int(log.input_clocks[0]) if len(log.input_clocks) else 0
    out = log.output_clocks
    return CosimResult(
        bit_exact=exact,
        difference=difference,
        frames=len(frames),
        pixels=sum(frame.shape[1] * frame.shape[2] for frame in frames),
        clocks=int(out[-1]) - first + 1 if len(out) else 0,
        latency_clocks=int(out[0]) - first if len(out) else 0,
        status=status,
        violations=log.violations,
        simulator=str(bench.simulator),
        stalls=stalls,
        seconds=time.perf_counter() - started,
        waveform=waveform,
        core=core,
    )


def output_difference(
    core: Core, log: Log, frames: Sequence[IntArray], expected: Sequence[NDArray]
) -> Difference | None:
    """Return where what came out differs first from what the engine computed."""
    first = 0
    for number, (frame, wanted) in enumerate(zip(frames, expected, strict=True)):
        height, width = frame.shape[1:]
        flags = output_flags(core, height, width)
        beats = slice(first, first + len(flags))
        first += len(flags)
        data = log.data[beats]
        if len(data) < len(flags):
            # The flags and pixels that did come are wrong only later, if at all.
            text = f"{len(data)} of {len(flags)} beats came out"
            return Difference(OUTPUT_STREAM, text, frame=number)
        try:
            keep = None if log.keep is None else log.keep[beats]
            got = output_image(core, data, keep, height, width)
        except ValueError as error:
            return Difference(OUTPUT_STREAM, str(error), frame=number)
        difference = image_difference(core.output.name, number, wanted, got)
        if difference is not None:
            return difference
        wrong = np.flatnonzero(log.flags[beats] != flags)
        if len(wrong):
            text = f"tuser or tlast of beat {wrong[0]} is wrong"
            return Difference(OUTPUT_STREAM, text, frame=number)
    if len(log.data) > first:
        return Difference(OUTPUT_STREAM, f"{len(log.data) - first} beats too many came out")
    return None


def image_difference(layer: str, frame: int, expected: NDArray, got: IntArray) -> Difference | None:
    """Return the first difference of two images in raster order."""
    places = np.argwhere((expected != got).transpose(1, 2, 0))
    if not len(places):
        return None
    row, column, channel = map(int, places[0])
    wanted, found = int(expected[channel, row, column]), int(got[channel, row, column])
    text = f"expected {wanted}, got {found} ({len(places):,} of {got.size:,} differ)"
    return Difference(layer, text, frame, channel, row, column, wanted, found)


def layer_difference(
    core: Core, shown: Sequence[TapBeats], model: FixedModel, frames: Sequence[IntArray]
) -> Difference | None:
    """Return the first difference in the first layer, in graph order, that has one."""
    values = [model.run(frame, keep_values=True, narrow=True).values for frame in frames]
    for tap, beats in zip(core.taps, shown, strict=True):
        difference = _tap_difference(tap, beats, [each[tap.value] for each in values])
        if difference is not None:
            return difference
    return None


def _tap_difference(tap: Tap, beats: TapBeats, expected: Sequence[NDArray]) -> Difference | None:
    first = 0
    for number, wanted in enumerate(expected):
        channels, height, width = wanted.shape
        height, width = height // tap.scale, width // tap.scale
        fields = beats.fields[first : first + height * width]
        first += height * width
        missing = height * width - len(fields)
        # What did not come is compared with itself.
        blocks = image_to_blocks(wanted, tap.scale)
        filled = np.concatenate([fields, blocks[len(fields) :]])
        got = blocks_to_image(filled.reshape(-1), channels, tap.scale, height, width)
        difference = image_difference(tap.value, number, wanted, got)
        if difference is not None:
            return difference
        if missing:
            what = "unknown bits" if beats.unknown else "nothing"
            return Difference(
                tap.value, f"{what} from pixel {len(fields)} of {height * width} on", number
            )
    if len(beats.fields) > first:
        return Difference(tap.value, f"{len(beats.fields) - first} pixels too many")
    return None


def image_to_blocks(image: NDArray, scale: int) -> IntArray:
    """Return the beats ``(pixels, fields)`` of an image, the inverse of `blocks_to_image`."""
    channels, height, width = image.shape
    blocks = image.reshape(channels, height // scale, scale, width // scale, scale)
    blocks = blocks.transpose(1, 3, 2, 4, 0).astype(np.int64)
    return blocks.reshape(-1, scale * scale * channels)
