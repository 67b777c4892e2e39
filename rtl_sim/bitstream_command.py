"""``fxp bitstream``: a model on a board, with a picture and a monitor, as a file for the board."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer

import fxp
from fxp.cli.console import JsonOption, note, print_json, progress_bar
from fxp.cli.messages import printable
from fxp.cli.pixel_values import scale_of_model
from fxp.cli.sources import image_channels, middle, planes
from fxp.cli.targets import check_folder_target, check_target
from fxp.formats import IntArray
from fxp.hls.boards.boards import BOARDS, MODES
from fxp.hls.boards.design import emit_board, frame_size, pixel_clocks
from fxp.hls.boards.flow import Bitstream, build_bitstream
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Multipliers
from fxp.hls.stream_options import LevelsOption, RegisterSharedOption
from fxp.hls.synth.style_options import LayerOption, TargetName, layer_styles
from fxp.hls.synth.targets import RESOURCE_NAMES
from fxp.hls.synth.tools import SynthesisError
from fxp.imaging.files import read_image, write_image
from fxp.rtl_sim.board import simulate_board
from fxp.rtl_sim.comparison import raw_images
from fxp.support.errors import ArgumentError

BoardName = Literal["ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"]
ModeName = Literal["640x480", "800x600"]
assert (get_args(BoardName), get_args(ModeName)) == (tuple(BOARDS), tuple(MODES))


def bitstream(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, or with an earlier design.")],
    board: Annotated[BoardName, typer.Option(help="The board.")] = "ulx3s-85f",
    mode: Annotated[ModeName, typer.Option(help="What the monitor shows.")] = "640x480",
    picture: Annotated[
        Path | None,
        typer.Option(help="Picture for the block memory, repeated; default a test pattern."),
    ] = None,
    crop: Annotated[
        int, typer.Option(min=1, help="Largest side of the picture; its middle is taken.")
    ] = 128,
    multipliers: Annotated[
        Multipliers | None,
        typer.Option(help="A multiplier per weight, or shared adders, the default."),
    ] = None,
    fold: Annotated[int, typer.Option(min=1, help="Weights that share a multiplier.")] = 1,
    levels_per_register: LevelsOption = LEVELS_PER_REGISTER,
    register_shared: RegisterSharedOption = False,
    layer: LayerOption = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Choose for every layer, so that the core fits the board.")
    ] = False,
    build: Annotated[
        bool, typer.Option(help="Run yosys, nextpnr and ecppack; without, only the design.")
    ] = True,
    simulate: Annotated[
        Path | None,
        typer.Option(help="Simulate the design, and write what the monitor shows to this .png."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the placer.")] = 1,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds for each tool.")
    ] = 7200,
    as_json: JsonOption = False,
) -> None:
    """Make a bitstream for a board: a picture goes through the model, a monitor shows the result.

    The design has the core at the monitor's pixel clock, a picture or a test
    pattern before it, a video output behind it, and its registers at the
    serial port. --simulate runs all of it in Verilator, decodes the pins of
    the video connector as a monitor does, and compares with the engine; the
    exit code is 1 if anything differs, or if a clock is too slow.

    The designs were simulated and placed, but never tried on a board.

    Example: fxp bitstream small.fxp design --simulate monitor.png

    The tools come with the extra synth; --simulate needs the extra rtl, g++ and make.
    """
    reads = [model, *([picture] if picture else [])]
    check_folder_target(out, reads=reads)
    if simulate is not None:
        check_target(simulate, reads=reads, suffixes=(".png",))
    if multipliers is None:
        multipliers = "dsp" if layer or fit else "shift_add"
    if multipliers == "shift_add" and fold > 1:
        raise ArgumentError("fold shares multipliers: give --multipliers dsp with it")
    loaded = fxp.load(model)
    video = MODES[mode]
    width, height = frame_size(loaded.graph, video)
    # So many frames that these clocks are left for a pixel, with a margin for the division.
    per_frame = (pixel_clocks(video, width) + 0.5) * width * height
    styles, folds, choice = layer_styles(
        loaded, multipliers=multipliers, fold=fold, layers=layer or [],
        target=cast("TargetName", BOARDS[board].target) if fit else None,
        fps=video.megahertz * 1e6 / per_frame if fit else None, width=width, height=height,
        initial_size=(width, height), megahertz=video.megahertz,
        levels_per_register=levels_per_register, register_shared=register_shared,
    )  # fmt: skip
    if choice and not as_json:
        typer.echo(choice)
    shown = None if picture is None else _raw(picture, loaded, crop)
    emit_board(
        loaded, out, board=board, mode=mode, picture=shown, multipliers=styles, fold=folds,
        levels_per_register=levels_per_register, register_shared=register_shared,
    )  # fmt: skip
    figures: dict[str, Any] = {"model": model, "design": out, "simulation": None, "build": None}
    exact = True
    if simulate is not None:
        with progress_bar("simulation of the board") as report:
            result = simulate_board(loaded, out, picture=shown, progress=report)
        if len(result.pictures):
            write_image(simulate, result.pictures[0])
            note(f"wrote {simulate}")
        exact = result.bit_exact
        figures["simulation"] = {"bit_exact": exact, "text": str(result)}
        if not as_json:
            typer.echo(printable(str(result)))
    made = None
    if build and exact:
        with progress_bar("bitstream") as report:
            made = build_bitstream(out, seed=seed, timeout_s=timeout_s, progress=report)
        figures["build"] = {**asdict(made), "met": made.met}
        if not as_json:
            typer.echo(printable(bitstream_text(made)))
    elif not as_json:
        typer.echo(f"wrote {out}")
    if as_json:
        print_json(figures)
    if not exact:
        raise typer.Exit(1)
    if made is not None and not made.met:
        raise SynthesisError("a clock is too slow: try another --seed, or a smaller network")


def bitstream_text(made: Bitstream) -> str:
    """Describe a bitstream: its file, what it uses, how fast its clocks are."""
    used = [
        f"{getattr(made.resources, name)} of {getattr(made.available, name)} "
        f"{name.replace('_', ' ')}"
        for name in RESOURCE_NAMES
        if getattr(made.available, name)
    ]
    clocks = [
        f"{name} reaches {reached:g} of {needed:g} MHz"
        for name, (needed, reached) in made.clocks.items()
    ]
    return "\n".join([f"wrote {made.path}: {', '.join(used)}", *clocks])


def _raw(path: Path, model: fxp.FixedModel, crop: int) -> IntArray:
    """Read the middle of a picture as raw integers of the model's input ``(C, H, W)``."""
    pixels = planes(read_image(path), image_channels(model), path)
    return raw_images(model, middle(scale_of_model(model).values(pixels), crop))[0]
