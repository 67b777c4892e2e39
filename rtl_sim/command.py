"""``fxp cosim``: images through the emitted core in a simulator, compared with the engine."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import fxp
from fxp import hls, rtl_sim
from fxp.cli.console import JsonOption, note, print_json, progress_bar
from fxp.cli.messages import printable, without_folder
from fxp.cli.pixel_values import scale_of_model
from fxp.cli.sources import image_channels, is_array, middle, planes, read_array
from fxp.cli.targets import check_folder_target, check_target
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.styles import LayerStyles
from fxp.hls.stream_options import (
    CompressLinesOption,
    LevelsOption,
    PackingOption,
    PixelsPerBeatOption,
    RasterOption,
    RegisterSharedOption,
    SubsampledOption,
    check_raster,
)
from fxp.hls.synth.style_options import (
    DEFAULT_MEGAHERTZ,
    FitOption,
    FpsOption,
    LayerOption,
    layer_styles,
)
from fxp.imaging.files import image_paths, read_image
from fxp.rtl_sim.stalls import Stalls
from fxp.support.errors import ArgumentError


class Backend(StrEnum):
    """What runs the core."""

    AUTO = "auto"
    VERILATOR = "verilator"
    ICARUS = "icarus"
    COMPILED = "compiled"


LONG = 60
"""Seconds from which on a run is announced."""


class Multipliers(StrEnum):
    """What multiplies."""

    DSP = "dsp"
    SHIFT_ADD = "shift_add"


def cosim(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    images: Annotated[
        list[Path], typer.Argument(help="Images, folders of them, or .npy arrays of real values.")
    ],
    simulator: Annotated[
        Backend,
        typer.Option(
            help="icarus starts at once and is slow; verilator compiles for a minute first; both "
            "run a cocotb bench, and auto takes the one that will finish first. compiled streams "
            "large frames through Verilator without taps."
        ),
    ] = Backend.AUTO,
    stalls: Annotated[
        str,
        typer.Option(
            metavar="SOURCE/SINK",
            help="When source and sink pause: none, bursts, or random25 (1 to 99 per cent); one "
            "word for both.",
        ),
    ] = "none",
    max_width: Annotated[
        int | None, typer.Option(min=1, help="Line length of the core; default that of the images.")
    ] = None,
    multipliers: Annotated[
        Multipliers, typer.Option(help="A multiplier per weight, or shared adders.")
    ] = Multipliers.DSP,
    fold: Annotated[int, typer.Option(min=1, help="Weights that share a multiplier.")] = 1,
    layer: LayerOption = None,
    fit: FitOption = None,
    fps: FpsOption = None,
    raster: RasterOption = False,
    pixels_per_beat: PixelsPerBeatOption = None,
    packing: PackingOption = "bytes",
    subsampled: SubsampledOption = False,
    levels_per_register: LevelsOption = LEVELS_PER_REGISTER,
    register_shared: RegisterSharedOption = False,
    compress_lines: CompressLinesOption = False,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Largest side; the middle of larger images is taken.")
    ] = None,
    waveform: Annotated[
        Path | None,
        typer.Option(help="File for all wires over time: .vcd with verilator, .fst with icarus."),
    ] = None,
    core: Annotated[
        Path | None, typer.Option(help="Folder of an emitted core of this model to simulate.")
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Keep cores and compiled programs there, for the next run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random stalls.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Simulate the FPGA core of a model and compare every output with the engine.

    Emits the streaming core, sends the images through it back to back and
    prints one line: bit-exact with the clocks it took, or the first layer
    that differs, with its coordinates, what the engine computed and what the
    core gave. The exit code is 1 if anything differs. A one-channel model
    takes the luma of colour images.

    Example: fxp cosim kimsr_x2.fxp photo.png --crop 64 --stalls random25/bursts

    Example: fxp cosim kimsr_x2.fxp frame_1080p.png --simulator compiled

    Needs the extra rtl, g++ and make; icarus needs the Debian package iverilog.
    """
    chosen = Stalls.parse(stalls, seed)
    if simulator is Backend.COMPILED and waveform is not None:
        raise ArgumentError("--simulator compiled writes no waveform; take verilator or icarus")
    if waveform is not None:
        endings = (".fst",) if simulator is Backend.ICARUS else (".fst", ".vcd")
        check_target(waveform, reads=[model, *images], suffixes=endings)
    if work_dir is not None:
        check_folder_target(work_dir)
    check_raster(raster, pixels_per_beat)
    loaded = fxp.load(model)
    if compress_lines:
        loaded = hls.compress_lines(loaded)
    paths = [path for given in images for path in image_paths(given)]
    frames = [frame for path in paths for frame in _read(path, loaded, crop)]
    raw = rtl_sim.raw_images(loaded, frames)
    styles, folds, choice = layer_styles(
        loaded, multipliers=multipliers.value, fold=fold, layers=layer or [], target=fit, fps=fps,
        width=max_width or max(frame.shape[2] for frame in raw),
        height=max(frame.shape[1] for frame in raw), initial_size=None,
        megahertz=DEFAULT_MEGAHERTZ, levels_per_register=levels_per_register,
        register_shared=register_shared,
    )  # fmt: skip
    if choice:
        note(choice)
    clocks = LayerStyles(styles, folds).clocks
    options: dict[str, Any] = {
        "stalls": chosen,
        "max_width": max_width,
        "multipliers": styles,
        "fold": folds,
        "raster": raster,
        "pixels_per_beat": pixels_per_beat,
        "packing": packing,
        "subsampled": subsampled,
        "levels_per_register": levels_per_register,
        "register_shared": register_shared,
        "core": core,
    }
    if simulator is Backend.AUTO:
        suffix = waveform.suffix if waveform is not None else ""
        simulator = Backend(rtl_sim.quickest_simulator(loaded, raw, chosen, clocks, suffix))
    seconds = rtl_sim.expected_seconds(simulator.value, loaded, raw, chosen, clocks)
    if seconds > LONG:
        note(f"this takes about {rtl_sim.duration_text(seconds)} with {simulator}")
    with ExitStack() as stack:
        folder = work_dir
        if folder is None:
            # Made here, so that messages do not name what is gone when they are read.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fxp_rtl_")))
            stack.enter_context(without_folder(folder, "--work-dir keeps such files"))
        report = stack.enter_context(progress_bar("co-simulation"))

        if simulator is Backend.COMPILED:
            result = rtl_sim.full_frame(
                loaded, frames, progress=report, work_dir=folder, **options
            )  # fmt: skip
        else:
            result = rtl_sim.cosim(
                loaded, frames, simulator=simulator.value, waveform=waveform, progress=report,
                work_dir=folder, **options,
            )  # fmt: skip
    if as_json:
        fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        # The whole description of the core is in its folder, in core.json.
        named = {"core": result.core.name, "stalls": str(chosen)}
        print_json({"model": model, **fields, **named, "text": str(result)})
    else:
        typer.echo(printable(str(result)))
    if waveform is not None:
        note(f"wrote {waveform}")
    if not result.bit_exact:
        raise typer.Exit(1)


def _read(path: Path, model: fxp.FixedModel, crop: int | None) -> list[NDArray[np.float64]]:
    """Read an image, or an array of several, as the model's real values ``(C, H, W)``."""
    channels = image_channels(model, outputs=None)
    if is_array(path):
        values = read_array(path)
        frames = list(values if values.ndim == 4 else values[None])
        frames = [frame[None] if frame.ndim == 2 else frame for frame in frames]
        if not frames or any(frame.ndim != 3 or len(frame) != channels for frame in frames):
            raise ArgumentError(
                f"{path} has shape {values.shape}; the model takes ({channels}, H, W), or several "
                f"such images as (N, {channels}, H, W)"
            )
    else:
        pixels = planes(read_image(path), channels, path)
        frames = [scale_of_model(model).values(pixels)]
    return [middle(frame, crop) for frame in frames]
