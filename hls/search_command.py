"""``fxp search``: widths of single weights and values, as cheap as a quality allows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxp
from fxp import hls
from fxp.cli.console import JsonOption, note, progress_bar
from fxp.cli.networks import load_network
from fxp.cli.pixel_values import DEFAULT_DIVISOR, MeanOption, StdOption, pixel_scale
from fxp.cli.sources import check_target, read_calibration
from fxp.quantization.mixed import Cost
from fxp.quantization.mixed.search import (
    ACTIVATION_WIDTHS,
    MAX_TRIALS,
    WEIGHT_WIDTHS,
    CostName,
)
from fxp.support.errors import ArgumentError


class CostChoice(StrEnum):
    """What to save; see fxp.quantize_mixed."""

    MULTIPLIER_BITS = "multiplier_bits"
    PACKED_SIZE = "packed_size"
    LUTS = "luts"
    ADDERS = "adders"
    LINE_MEMORY = "line_memory"


class QualityChoice(StrEnum):
    """What to keep, against the float network."""

    SQNR = "sqnr"
    PSNR = "psnr"


class StrategyChoice(StrEnum):
    """How to search; see fxp.quantize_mixed."""

    INTEGER_PROGRAM = "integer_program"
    GREEDY = "greedy"


class SensitivityChoice(StrEnum):
    """Where the integer program learns what widths cost in quality."""

    MEASURED = "measured"
    CURVATURE = "curvature"


def search(
    source: Annotated[
        str, typer.Argument(help="package.module:name of a torch module, or of what returns one.")
    ],
    calibration: Annotated[
        list[Path], typer.Option(help="Image, folder of images or .npy array; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="The .fxp file to write.")],
    floor: Annotated[float, typer.Option(help="Least quality in dB.")],
    cost: Annotated[CostChoice, typer.Option(help="What to save.")] = CostChoice.MULTIPLIER_BITS,
    quality: Annotated[
        QualityChoice, typer.Option(help="What to keep, against the float network.")
    ] = QualityChoice.SQNR,
    peak: Annotated[float, typer.Option(min=1e-9, help="Largest output value, for psnr.")] = 1.0,
    weight_widths: Annotated[
        str, typer.Option(metavar="FROM-TO", help="Widths of weights to choose from.")
    ] = f"{WEIGHT_WIDTHS[0]}-{WEIGHT_WIDTHS[-1]}",
    activation_widths: Annotated[
        str, typer.Option(metavar="FROM-TO", help="Widths of activations to choose from.")
    ] = f"{ACTIVATION_WIDTHS[0]}-{ACTIVATION_WIDTHS[-1]}",
    strategy: Annotated[StrategyChoice, typer.Option(help="How to search.")] = (
        StrategyChoice.INTEGER_PROGRAM
    ),
    sensitivity: Annotated[
        SensitivityChoice, typer.Option(help="Measured layer by layer, or predicted, faster.")
    ] = SensitivityChoice.MEASURED,
    line_width: Annotated[
        int, typer.Option(min=1, help="Pixels of the longest line, for line_memory.")
    ] = 1920,
    max_trials: Annotated[int, typer.Option(min=1, help="Most models to measure.")] = MAX_TRIALS,
    arg: Annotated[
        list[str] | None, typer.Option(help="Argument of the source, as text; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict, .safetensors or .pt; also one within a checkpoint."),
    ] = None,
    per_channel: Annotated[
        bool,
        typer.Option(
            "--per-channel/--per-layer", help="Weight fraction bits per output channel or layer."
        ),
    ] = True,
    input_format: Annotated[
        str | None, typer.Option(help="Format of the input; default: width and point by the data.")
    ] = None,
    output_format: Annotated[
        str | None, typer.Option(help="Format of the output; default likewise.")
    ] = None,
    divide_by: Annotated[
        float, typer.Option(min=1e-9, help="Pixel values are divided by this.")
    ] = DEFAULT_DIVISOR,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: Annotated[
        int | None, typer.Option(help="Of the input; default that of the first convolution.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Calibrate on the middle of images only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most calibration inputs.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture of quality over cost to write, .svg or .png.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Quantize with widths of its own for every weight and value: the cheapest above a floor.

    Costs are multiplier_bits, packed_size of the weights, luts or adders of shift-and-add hardware,
    and line_memory.

    Example: fxp search my.module:net --calibration photos --floor 40 --cost luts --out net.fxp
    """
    read = [*calibration, *([weights] if weights is not None else [])]
    check_target(out, reads=read, suffixes=(".fxp",))
    if picture is not None:
        check_target(picture, reads=read, suffixes=(".svg", ".png", ".pdf"))
    widths = (
        _widths("--weight-widths", weight_widths),
        _widths("--activation-widths", activation_widths),
    )
    scale = pixel_scale(divide_by, mean, std)
    network = load_network(source, arg or [], weights)
    inputs = read_calibration(calibration, network, channels, scale, crop, limit)
    with progress_bar("searching") as progress:
        found = fxp.quantize_mixed(
            network,
            inputs,
            floor=floor,
            cost=_cost(cost, line_width),
            quality=quality.value,
            peak=peak,
            weight_widths=widths[0],
            activation_widths=widths[1],
            strategy=strategy.value,
            sensitivity=sensitivity.value,
            max_trials=max_trials,
            per_channel=per_channel,
            input_format=input_format or None,
            output_format=output_format or None,
            progress=progress,
        )
    found.model.metadata |= scale.metadata()
    found.model.save(out)
    if picture is not None:
        found.save_picture(picture)
        note(f"wrote {picture}")
    typer.echo(found.to_json() if as_json else str(found))
    note(f"wrote {out}")


def _cost(cost: CostChoice, line_width: int) -> CostName | Cost:
    match cost:
        case CostChoice.MULTIPLIER_BITS:
            return "multiplier_bits"
        case CostChoice.PACKED_SIZE:
            return "packed_size"
        case CostChoice.LINE_MEMORY:
            return hls.LineMemoryCost(line_width)
        case CostChoice.LUTS:
            return hls.ShiftAddCost("luts")
        case CostChoice.ADDERS:
            return hls.ShiftAddCost("adders")


def _widths(option: str, text: str) -> range:
    """Return the widths of a text such as ``4-10`` or ``8``."""
    first, _, last = text.partition("-")
    ends = [first, last or first]
    if not all(end.isascii() and end.isdigit() for end in ends) or int(ends[0]) > int(ends[1]):
        raise ArgumentError(f"{option} must be written as FROM-TO, such as 4-10, not {text!r}")
    return range(int(ends[0]), int(ends[1]) + 1)
