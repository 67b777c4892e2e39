"""``fxp synth``: what a core needs on an FPGA, and how fast it runs there."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import fxp
from fxp import hls
from fxp.cli.console import JsonOption, note, output_console, print_json, progress_bar
from fxp.cli.figures import json_text
from fxp.cli.messages import without_folder
from fxp.cli.targets import check_folder_target, check_target
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Core, Multipliers
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
from fxp.hls.synth.harness import ports_of
from fxp.hls.synth.nextpnr import Placer, Router
from fxp.hls.synth.placement import PLACED_TARGETS, Placement, place
from fxp.hls.synth.style_options import (
    FitOption,
    FpsOption,
    LayerOption,
    TargetName,
    layer_styles,
    megahertz_of,
)
from fxp.hls.synth.synthesis import Synthesis, synthesize
from fxp.hls.synth.targets import RESOURCE_NAMES, TARGETS, Resources, SynthesisTarget
from fxp.hls.synth.tools import SynthesisError
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file

CORE_FOLDER = "core"
"""Where the core is in the folder of a build."""


def synth(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    target: Annotated[
        TargetName | None, typer.Option(help="Device; default ecp5-85k, or that of --fit.")
    ] = None,
    multipliers: Annotated[
        Multipliers, typer.Option(help="Multiplier blocks, or shared adders.")
    ] = "dsp",
    fold: Annotated[int, typer.Option(min=1, help="Clocks per pixel.")] = 1,
    levels_per_register: LevelsOption = LEVELS_PER_REGISTER,
    register_shared: RegisterSharedOption = False,
    layer: LayerOption = None,
    fit: FitOption = None,
    fps: FpsOption = None,
    max_width: Annotated[
        int, typer.Option("--max-width", "--width", min=1, help="Pixels of the longest line.")
    ] = 1920,
    max_height: MaxHeightOption = None,
    initial_size: InitialSizeOption = None,
    raster: RasterOption = False,
    compress_lines: CompressLinesOption = False,
    pixels_per_beat: PixelsPerBeatOption = None,
    packing: PackingOption = "bytes",
    subsampled: SubsampledOption = False,
    bypass: BypassOption = False,
    placed: Annotated[
        bool, typer.Option("--place", help="Place and route too, for the frequency.")
    ] = False,
    package: Annotated[
        str | None, typer.Option(help="Of the device, with --place; default the largest.")
    ] = None,
    speed: Annotated[
        int | None,
        typer.Option(min=6, max=8, help="Speed grade, with --place; default the fastest, 8."),
    ] = None,
    megahertz: Annotated[
        float | None,
        typer.Option(help="MHz to aim at, with --place and --fit; default 150."),
    ] = None,
    seed: Annotated[int, typer.Option(help="First seed of the placer.")] = 1,
    attempts: Annotated[
        int, typer.Option(min=1, help="Seeds to try until the aim is reached.")
    ] = 1,
    router: Annotated[
        Router, typer.Option(help="router2 ends sooner on large cores, with --place.")
    ] = "router1",
    placer: Annotated[
        Placer, typer.Option(help="static finds shorter wires on full devices, with --place.")
    ] = "heap",
    route: Annotated[
        bool,
        typer.Option(help="--no-route estimates from the placement alone, with --place."),
    ] = True,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds for each tool.")
    ] = 3600,
    build: Annotated[
        Path | None,
        typer.Option(help="Keep the core and all results here; a later run continues."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the results as JSON, .json.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Synthesize the streaming core of a model and print what every part of it needs.

    The tools, yosys and nextpnr, come with the extra synth.

    Example: fxp synth kimsr_x2.fxp --target xilinx-us --multipliers shift_add

    Example: fxp synth kimsr_x2.fxp --place --json > figures.json
    """
    if fit is not None and target not in (None, fit):
        raise ArgumentError(
            f"--fit {fit} and --target {target} name two devices; --fit alone says both"
        )
    target = fit or target or "ecp5-85k"
    device = TARGETS[target]
    clock = megahertz_of(megahertz)
    if speed is not None and not placed:
        raise ArgumentError(f"--speed {speed} says where --place is to count; give --place as well")
    check_raster(raster, pixels_per_beat)
    size = initial_size_of(initial_size)
    if placed and target not in PLACED_TARGETS:
        raise SynthesisError(
            f"--place needs one of the targets {', '.join(PLACED_TARGETS)}: there is no open "
            f"placer for {device.device}"
        )
    if package is not None and package not in device.packages:
        raise SynthesisError(
            f"{device.device} has no package {package}; choose one of {', '.join(device.packages)}"
            if device.packages
            else f"packages of {device.device} are not known"
        )
    if out is not None:
        check_target(out, reads=[model], suffixes=(".json",))
    if build is not None:
        check_folder_target(build, reads=[model])
    loaded = fxp.load(model)
    if compress_lines:
        loaded = hls.compress_lines(loaded)
    with ExitStack() as stack:
        folder = build
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fxp_synth_")))
            stack.enter_context(without_folder(folder, "--build keeps its files"))
        # Beside what the tools write, which an earlier run may have left to continue with.
        styles, folds, choice = layer_styles(
            loaded, multipliers=multipliers, fold=fold, layers=layer or [], target=fit, fps=fps,
            width=max_width, height=max_height, initial_size=size, megahertz=clock,
            levels_per_register=levels_per_register, register_shared=register_shared,
        )  # fmt: skip
        if choice and not as_json:
            typer.echo(choice)
        with progress_bar("emitting the core") as report:
            core = hls.emit_rtl(
                loaded, folder / CORE_FOLDER, max_width=max_width,
                max_height=MAX_HEIGHT if max_height is None else max_height, initial_size=size,
                multipliers=styles, fold=folds, raster=raster, pixels_per_beat=pixels_per_beat,
                packing=packing, subsampled=subsampled, bypass=bypass,
                levels_per_register=levels_per_register, register_shared=register_shared,
                progress=report,
            )  # fmt: skip
        sources = [f"{CORE_FOLDER}/{source}" for source in core.sources]
        with progress_bar("yosys") as report:
            result = synthesize(folder, sources, core.top, device, timeout_s=timeout_s,
                                progress=report)  # fmt: skip
        figures = figures_of(core, result, device, None)
        # What is known is kept, should anything later fail or be stopped.
        _write(out, figures)
        if not as_json:
            title = f"{core.name} on {device.device}"
            output_console().print(resource_table(result, device, title))
        lacking = device.lacking(result.total)
        if placed and not lacking:
            ports = ports_of((folder / sources[-1]).read_text(encoding="utf-8"), core.top)
            with progress_bar("yosys, then nextpnr, on the whole core") as report:
                placement = place(folder, sources, core.top, ports, target=target,
                                  package=package, speed=8 if speed is None else speed,
                                  megahertz=clock, seed=seed,
                                  attempts=attempts, router=router, placer=placer,
                                  route=route, timeout_s=timeout_s, progress=report)  # fmt: skip
            figures = figures_of(core, result, device, placement)
            _write(out, figures)
            if not as_json:
                typer.echo(placement_text(placement))
        if as_json:
            print_json(figures)
        if out is not None:
            note(f"wrote {out}")
        if lacking:
            raise SynthesisError(f"{core.name} does not fit {device.device}: {', '.join(lacking)}")


def resource_table(result: Synthesis, device: SynthesisTarget, title: str) -> Table:
    """Return the table of a synthesis: a line for every instance, the sum, and what there is.

    Parameters
    ----------
    result
        What the parts of the core need.
    device
        What it is for, and what that has.
    title
        Stands above the table.
    """
    table = Table(title=escape(title))
    table.add_column("instance", overflow="fold")
    table.add_column("module", overflow="fold")
    for name in RESOURCE_NAMES:
        table.add_column(name.replace("_", " "), justify="right")
    for item in result.instances:
        # What stands in brackets would be taken for markup.
        table.add_row(escape(item.name or "(top)"), escape(item.module), *_figures(item.resources))
    table.add_section()
    table.add_row("total", "", *_figures(result.total))
    table.add_row(device.device, "", *_figures(device.available))
    return table


def _figures(resources: Resources) -> list[str]:
    return [str(getattr(resources, name) or "") for name in RESOURCE_NAMES]


def placement_text(placement: Placement) -> str:
    """Describe a placement in one line."""
    if not placement.routed:
        return (
            f"{placement.megahertz:.1f} MHz on speed grade {placement.speed}, estimated from the "
            "placement; not routed"
        )
    start, end = placement.path
    return (
        f"{placement.megahertz:.1f} MHz on speed grade {placement.speed}; the slowest path takes "
        f"{placement.logic_ns:.2f} ns in cells and {placement.routing_ns:.2f} ns in wires, from "
        f"{start} to {end}"
    )


def figures_of(
    core: Core, result: Synthesis, device: SynthesisTarget, placement: Placement | None
) -> dict[str, Any]:
    """Return all figures of a synthesis as data.

    Parameters
    ----------
    core
        What was synthesized.
    result
        What it needs.
    device
        What it is for.
    placement
        How fast it is there, if it was placed.

    Returns
    -------
    dict
        ``core``, ``device``, ``fits``, ``synthesis`` and ``placement``.
    """
    return {
        "core": {"name": core.name, "multipliers": core.multipliers, "fold": core.fold,
                 "levels_per_register": core.levels_per_register,
                 "register_shared": core.register_shared,
                 "max_width": core.max_width, "max_height": core.max_height,
                 "raster": core.raster, "pixels_per_beat": core.pixels_per_beat,
                 "bypass": core.bypass},
        "device": {"name": device.device, "available": asdict(device.available)},
        "fits": not device.lacking(result.total),
        "synthesis": asdict(result),
        "placement": asdict(placement) if placement else None,
    }  # fmt: skip


def _write(out: Path | None, figures: dict[str, Any]) -> None:
    if out is not None:
        replace_file(out, f"{json_text(figures)}\n".encode())
