"""``fxp export``: a .fxp file as ONNX, QONNX, C, NumPy arrays, a core, or an hls4ml project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import fxp
from fxp import hls
from fxp.cli.application import SETTINGS, WholeHelpGroup, help_text
from fxp.cli.console import note, progress_bar
from fxp.cli.targets import check_folder_target, check_target
from fxp.cli.usage import PlainCommand
from fxp.export.c import to_c
from fxp.export.npz import to_npz
from fxp.export.onnx import OPSET, OPSETS, to_onnx
from fxp.export.qonnx import INEXACT, to_qonnx
from fxp.graph.extents import fit_sizes
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.frame_sizes import MAX_HEIGHT
from fxp.hls.stream_options import (
    BypassOption,
    CompressLinesOption,
    InitialSizeOption,
    LevelsOption,
    MaxHeightOption,
    PackingOption,
    PixelsPerBeatOption,
    RasterOption,
    RegisterSharedOption,
    SubsampledOption,
    check_raster,
    initial_size_of,
)
from fxp.hls.synth.style_options import (
    FitOption,
    FpsOption,
    LayerOption,
    layer_styles,
    megahertz_of,
)
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file, replacing

export = typer.Typer(
    cls=WholeHelpGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
    help="Write a model as ONNX, QONNX, C, NumPy arrays, a core, or an hls4ml project.",
)


class FormChoice(StrEnum):
    """How nodes of an ONNX file compute."""

    AUTO = "auto"
    INTEGER = "integer"


class BackendChoice(StrEnum):
    """Backends of hls4ml."""

    VITIS = "Vitis"
    VIVADO = "Vivado"
    CATAPULT = "Catapult"
    QUARTUS = "Quartus"


class IoChoice(StrEnum):
    """How values pass between layers."""

    STREAM = "io_stream"
    PARALLEL = "io_parallel"


class StrategyChoice(StrEnum):
    """How hls4ml computes products."""

    LATENCY = "latency"
    RESOURCE = "resource"
    RESOURCE_UNROLLED = "resource_unrolled"
    DISTRIBUTED_ARITHMETIC = "distributed_arithmetic"


def onnx(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    form: Annotated[
        FormChoice, typer.Option(help="Floating point where it is exact, or int64 alone.")
    ] = FormChoice.AUTO,
    opset: Annotated[
        int, typer.Option(min=OPSETS[0], max=OPSETS[1], help="Version of the operator set.")
    ] = OPSET,
) -> None:
    """Write an ONNX model that computes the same integers in ONNX Runtime.

    Inputs and outputs are int64 tensors of the raw integers; their formats are in the metadata.
    With --form auto, which is quick, layers that are proved to be exact in floating point are
    written so. With --form integer all of them compute with int64.

    Example: fxp export onnx kimsr_x2.fxp kimsr_x2.onnx
    """
    check_target(out, reads=[model], suffixes=(".onnx",))
    made = to_onnx(fxp.load(model).graph, form=form.value, opset=opset)
    replace_file(out, made.SerializeToString())
    typer.echo(f"wrote {out}")


def qonnx(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    height: Annotated[
        int | None, typer.Option(min=1, help="Of the input; free if left out.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Of the input; free if left out.")
    ] = None,
) -> None:
    """Write a QONNX model, for FINN, hls4ml, alkaid and other tools.

    fxp quantize reads the same integers from it.

    Example: fxp export qonnx net.fxp net.onnx --height 32 --width 32
    """
    check_target(out, reads=[model], suffixes=(".onnx",))
    graph = fxp.load(model).graph
    made = to_qonnx(graph, sizes=_sizes(graph, height, width))
    replace_file(out, made.SerializeToString())
    typer.echo(f"wrote {out}")
    inexact = [entry.value for entry in made.metadata_props if entry.key == INEXACT]
    if inexact:
        note(f"sums of more than 24 bits, which qonnx itself may round: {inexact[0]}")


def c(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="The .c file to write.")],
    height: Annotated[int | None, typer.Option(min=1, help="Of the input, if it is free.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the input, if it is free.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Begins all names; default that of the model.")
    ] = None,
) -> None:
    """Write a C99 file with all weights, for firmware, that computes the same integers.

    It needs no library and allocates nothing. Compiled with -DNAME_TEST, it runs a test vector.

    Example: fxp export c net.fxp net.c --height 32 --width 32
    """
    check_target(out, reads=[model], suffixes=(".c",))
    graph = fxp.load(model).graph
    text = to_c(graph, sizes=_sizes(graph, height, width), name=name)
    replace_file(out, text.encode("ascii"))
    typer.echo(f"wrote {out}")


def _sizes(graph: fxp.Graph, height: int | None, width: int | None) -> dict[str, int]:
    """Return the free sizes of the first input that its height and width give."""
    sizes = graph.inputs[0].shape[1:]
    given = [(size, number) for size, number in zip(sizes, (height, width), strict=False) if number]
    return fit_sizes(((size,), (number,)) for size, number in given)


def npz(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="The .npz file to write.")],
) -> None:
    """Write all weights, biases and tables as integers, for NumPy.

    Beside every array NAME lies NAME:frac, its fraction bits; "graph" describes all in JSON.

    Example: fxp export npz kimsr_x2.fxp kimsr_x2.npz
    """
    check_target(out, reads=[model], suffixes=(".npz",))
    arrays = to_npz(fxp.load(model).graph)
    with replacing(out) as stream:
        # NumPy types keywords as its own options, which `to_npz` keeps free.
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    typer.echo(f"wrote {out}")


def rtl(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, or with an earlier core.")],
    max_width: Annotated[
        int, typer.Option("--max-width", "--width", min=1, help="Pixels of the longest line.")
    ] = 1920,
    max_height: MaxHeightOption = None,
    initial_size: InitialSizeOption = None,
    multipliers: Annotated[
        Multipliers, typer.Option(help="A multiplier per weight, or shared adders.")
    ] = "dsp",
    fold: Annotated[int, typer.Option(min=1, help="Weights that share a multiplier.")] = 1,
    levels_per_register: LevelsOption = LEVELS_PER_REGISTER,
    register_shared: RegisterSharedOption = False,
    layer: LayerOption = None,
    fit: FitOption = None,
    fps: FpsOption = None,
    megahertz: Annotated[
        float | None, typer.Option(help="MHz that the core will have, with --fit; default 150.")
    ] = None,
    raster: RasterOption = False,
    compress_lines: CompressLinesOption = False,
    pixels_per_beat: PixelsPerBeatOption = None,
    packing: PackingOption = "bytes",
    subsampled: SubsampledOption = False,
    bypass: BypassOption = False,
    bus_errors: Annotated[
        bool, typer.Option("--bus-errors", help="Answer accesses without effect with SLVERR.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the core; default that of the model.")
    ] = None,
) -> None:
    """Write a streaming core in SystemVerilog that computes the same integers.

    The folder holds all sources, a data sheet, a C header of the registers, and timing constraints.

    Example: fxp export rtl kimsr_x2.fxp core --max-width 1920 --raster

    Example: fxp export rtl small.fxp core --fit ecp5-85k --fps 30 --width 960
    """
    check_folder_target(out, reads=[model])
    check_raster(raster, pixels_per_beat)
    size = initial_size_of(initial_size)
    if megahertz is not None and fit is None:
        raise ArgumentError("--megahertz says what clock --fit counts with; give --fit as well")
    loaded = fxp.load(model)
    if compress_lines:
        loaded = hls.compress_lines(loaded)
    styles, folds, choice = layer_styles(
        loaded, multipliers=multipliers, fold=fold, layers=layer or [], target=fit, fps=fps,
        width=max_width, height=max_height, initial_size=size, megahertz=megahertz_of(megahertz),
        levels_per_register=levels_per_register, register_shared=register_shared,
    )  # fmt: skip
    if choice:
        typer.echo(choice)
    with progress_bar("emitting the core") as report:
        core = hls.emit_rtl(
            loaded,
            out,
            max_width=max_width,
            max_height=MAX_HEIGHT if max_height is None else max_height,
            initial_size=size,
            multipliers=styles,
            fold=folds,
            levels_per_register=levels_per_register,
            register_shared=register_shared,
            raster=raster,
            pixels_per_beat=pixels_per_beat,
            packing=packing,
            subsampled=subsampled,
            bypass=bypass,
            bus_errors=bus_errors,
            name=name,
            progress=report,
        )
    typer.echo(f"wrote {out}: the core {core.name}, {core.latency_clocks} clocks of latency")


def hls4ml(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    height: Annotated[int | None, typer.Option(min=1, help="Of the input; 32 if free.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the input; 32 if free.")] = None,
    backend: Annotated[BackendChoice, typer.Option(help="Backend of hls4ml.")] = (
        BackendChoice.VITIS
    ),
    io_type: Annotated[IoChoice, typer.Option(help="Streams or arrays.")] = IoChoice.STREAM,
    part: Annotated[str | None, typer.Option(help="Device; default that of the backend.")] = None,
    clock_period: Annotated[float, typer.Option(min=0.1, help="In ns.")] = 5,
    reuse_factor: Annotated[int, typer.Option(min=1, help="Products per multiplier.")] = 1,
    strategy: Annotated[StrategyChoice, typer.Option(help="How products are computed.")] = (
        StrategyChoice.LATENCY
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier project.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Compare the C simulation with the engine, layer by layer.")
    ] = True,
) -> None:
    """Write an hls4ml project whose C simulation equals the engine.

    Example: fxp export hls4ml kimsr.fxp project --height 64 --width 64
    """
    check_folder_target(out, reads=[model])
    loaded = fxp.load(model)
    with progress_bar("hls4ml writes the project") as report:
        project = hls.export(
            loaded,
            out,
            size=None if height is width is None else (height or 32, width or 32),
            backend=backend.value,
            io_type=io_type.value,
            part=part,
            clock_period=clock_period,
            reuse_factor=reuse_factor,
            strategy=strategy.value,
            overwrite=overwrite,
            verify=verify,
            progress=report,
        )
    typer.echo(f"wrote {project.folder}, {_verdict(project)}")


for _command in (onnx, qonnx, c, npz, rtl, hls4ml):
    export.command(_command.__name__, cls=PlainCommand, help=help_text(_command))(_command)


def _verdict(project: hls.HlsProject) -> str:
    verified = project.notes["verified"]
    if verified is None:
        return "unverified"
    if all(list(project.shapes[name]) == shape for name, shape in verified.items()):
        return "equal to the engine"
    _, height, width = next(iter(verified.values()))
    return f"whose twin of {height}×{width} pixels is equal to the engine"
