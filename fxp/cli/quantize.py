"""``fxp quantize``: a torch network to a .fxp file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fxp
from fxp.cli.console import JsonOption, note, print_json, progress_bar
from fxp.cli.figures import model_figures
from fxp.cli.networks import load_network
from fxp.cli.pixel_values import DEFAULT_DIVISOR, MeanOption, StdOption, pixel_scale
from fxp.cli.sources import check_target, read_calibration
from fxp.formats import Overflow, Rounding
from fxp.quantization.options import ACTIVATION_BITS, WEIGHT_BITS


class MethodChoice(StrEnum):
    """How fraction bits are chosen; see fxp.quantize."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    SEARCH = "search"


class EffortChoice(StrEnum):
    """How much is tried for a better result; see fxp.quantize."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


class WeightRoundingChoice(StrEnum):
    """How weights are rounded; see fxp.quantize."""

    NEAREST = "nearest"
    LEARNED = "learned"


def quantize(
    source: Annotated[
        str, typer.Argument(help="package.module:name of a torch module, or of what returns one.")
    ],
    calibration: Annotated[
        list[Path], typer.Option(help="Image, folder of images or .npy array; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="The .fxp file to write.")],
    arg: Annotated[
        list[str] | None, typer.Option(help="Argument of the source, as text; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict, .safetensors or .pt; also one within a checkpoint."),
    ] = None,
    weight_bits: Annotated[int, typer.Option(min=2, max=32, help="Bits of every weight.")] = (
        WEIGHT_BITS
    ),
    activation_bits: Annotated[
        int, typer.Option(min=2, max=32, help="Bits of every activation.")
    ] = ACTIVATION_BITS,
    effort: Annotated[
        EffortChoice, typer.Option(help="How much is tried for a better result.")
    ] = EffortChoice.BALANCED,
    method: Annotated[
        MethodChoice | None, typer.Option(help="Rule for fraction bits; default: mse or minmax.")
    ] = None,
    headroom: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=16,
            help="Bits further than the calibration images that values may reach; default: by how "
            "many images there are and how much they differ.",
        ),
    ] = None,
    per_channel: Annotated[
        bool,
        typer.Option(
            "--per-channel/--per-layer", help="Weight fraction bits per output channel or layer."
        ),
    ] = True,
    input_format: Annotated[
        str | None,
        typer.Option(help="Format of the input, such as 'ap_ufixed<8,0>'; default: by the data."),
    ] = None,
    output_format: Annotated[
        str | None, typer.Option(help="Format of the output; default: by the data.")
    ] = None,
    rounding: Annotated[
        Rounding,
        typer.Option(
            metavar="MODE", help=f"Rounding mode: {', '.join(mode.value for mode in Rounding)}."
        ),
    ] = Rounding.HALF_UP,
    overflow: Annotated[
        Overflow,
        typer.Option(
            metavar="MODE", help=f"Overflow mode: {', '.join(mode.value for mode in Overflow)}."
        ),
    ] = Overflow.SATURATE,
    equalization: Annotated[
        bool | None, typer.Option(help="Scale channels to weights of similar range.")
    ] = None,
    bias_correction: Annotated[
        bool | None, typer.Option(help="Take mean errors off the biases.")
    ] = None,
    add_biases: Annotated[
        bool | None, typer.Option(help="Whether that gives biases to layers without one.")
    ] = None,
    weight_rounding: Annotated[
        WeightRoundingChoice | None,
        typer.Option(help="Nearest, or up or down by what layers give."),
    ] = None,
    divide_by: Annotated[
        float, typer.Option(min=1e-9, help="Pixel values are divided by this.")
    ] = DEFAULT_DIVISOR,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: Annotated[
        int | None,
        typer.Option(
            help="Of the input: 1 for luma, 3 for RGB; default that of the first convolution."
        ),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Calibrate on the middle of images only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most calibration inputs.")] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Quantize a trained torch network to fixed point.

    Refinements that are neither given nor refused are chosen by the effort.

    One-channel networks are calibrated on the BT.601 luma of colour images. The module of the
    network may lie in the working directory.

    Example: fxp quantize my.module:net --calibration photos --out net.fxp

    Example: fxp quantize fxp.models.sr:load_float --arg kimsr_x2_bicubic \
      --calibration photos --divide-by 256 --input-format 'ap_ufixed<8,0>' \
      --out kimsr.fxp
    """
    read = [*calibration, *([weights] if weights is not None else [])]
    check_target(out, reads=read, suffixes=(".fxp",))
    scale = pixel_scale(divide_by, mean, std)
    network = load_network(source, arg or [], weights)
    inputs = read_calibration(calibration, network, channels, scale, crop, limit)
    with progress_bar("quantizing") as progress:
        model = fxp.quantize(
            network,
            inputs,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            effort=effort.value,
            method=None if method is None else method.value,
            headroom=headroom,
            per_channel=per_channel,
            input_format=input_format or None,
            output_format=output_format or None,
            rounding=rounding,
            overflow=overflow,
            equalization=equalization,
            bias_correction=bias_correction,
            add_biases=add_biases,
            weight_rounding=None if weight_rounding is None else weight_rounding.value,
            progress=progress,
        )
    model.metadata |= scale.metadata()
    model.save(out)
    if as_json:
        print_json(model_figures(model, out))
    else:
        typer.echo(model.summary())
    note(f"wrote {out}")
