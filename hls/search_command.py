"""``fxp search``: widths of single weights and values, as cheap as a quality allows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxp
from fxp import hls
from fxp.cli.console import JsonOption, note, progress_bar
from fxp.cli.networks import (
    ArgOption,
    SourceArgument,
    WeightsOption,
    files_of_network,
    load_network,
)
from fxp.cli.pixel_values import DEFAULT_DIVISOR, MeanOption, StdOption, pixel_scale
from fxp.cli.quantization_options import (
    BitsOption,
    EffortChoice,
    EffortOption,
    HeadroomOption,
    InputFormatOption,
    OutputFormatOption,
    PerChannelOption,
    named_widths,
    width_range,
)
from fxp.cli.sources import (
    CalibrationOption,
    ChannelsOption,
    CropOption,
    LimitOption,
    read_calibration,
)
from fxp.cli.targets import check_target
from fxp.quantization.mixed import Cost
from fxp.quantization.mixed.search import (
    ACTIVATION_WIDTHS,
    MAX_TRIALS,
    WEIGHT_WIDTHS,
    CostName,
)


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
    source: SourceArgument,
    calibration: CalibrationOption,
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
    arg: ArgOption = None,
    weights: WeightsOption = None,
    bits: BitsOption = None,
    effort: EffortOption = EffortChoice.BALANCED,
    headroom: HeadroomOption = None,
    per_channel: PerChannelOption = True,
    input_format: InputFormatOption = None,
    output_format: OutputFormatOption = None,
    divide_by: Annotated[
        float, typer.Option(min=1e-9, help="Pixel values are divided by this.")
    ] = DEFAULT_DIVISOR,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = None,
    crop: CropOption = None,
    limit: LimitOption = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture of quality over cost to write, .svg or .png.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Quantize with widths of its own for every weight and value: the cheapest above a floor.

    Costs are multiplier_bits, packed_size of the weights, luts or adders of shift-and-add hardware,
    and line_memory.

    Example: fxp search my.module:net --calibration photos --floor 40 \
      --cost luts --out net.fxp
    """
    read = [*calibration, *files_of_network(source, arg, weights)]
    check_target(out, reads=read, suffixes=(".fxp",))
    if picture is not None:
        check_target(picture, reads=read, suffixes=(".svg", ".png", ".pdf"))
    widths = (
        width_range("--weight-widths", weight_widths),
        width_range("--activation-widths", activation_widths),
    )
    named = named_widths(bits or [])
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
            bits=named,
            effort=effort.value,
            headroom=headroom,
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
