"""``fxp quantize``: a torch or ONNX network to a .fxp file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fxp
from fxp.cli.console import JsonOption, note, print_json, progress_bar
from fxp.cli.figures import model_figures
from fxp.cli.networks import (
    ArgOption,
    SourceArgument,
    WeightsOption,
    files_of_network,
    is_onnx,
    load_network,
)
from fxp.cli.pixel_values import DEFAULT_DIVISOR, MeanOption, StdOption, pixel_scale
from fxp.cli.quantization_options import (
    SEARCHED_ACTIVATION_BITS,
    SEARCHED_WEIGHT_BITS,
    ActivationBitsOption,
    AddBiasesOption,
    BiasCorrectionOption,
    BitsOption,
    EffortChoice,
    EffortOption,
    EqualizationOption,
    HeadroomOption,
    HoldStatesOption,
    InputFormatOption,
    MethodOption,
    MinSqnrOption,
    OutputFormatOption,
    OverflowOption,
    PercentileOption,
    PerChannelOption,
    RoundingOption,
    StatesOption,
    WeightBitsOption,
    WeightRoundingOption,
    named_widths,
    percentile_method,
    read_states,
    widths,
)
from fxp.cli.sources import (
    ChannelsOption,
    CropOption,
    LimitOption,
    read_calibration,
    read_sequences,
)
from fxp.cli.targets import check_target
from fxp.formats import Overflow, Rounding
from fxp.quantization.options import ACTIVATION_BITS, WEIGHT_BITS, QuantizeOptions
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


def quantize(
    source: SourceArgument,
    out: Annotated[Path, typer.Option(help="The .fxp file to write.")],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Image, folder of images or .npy array; repeatable."),
    ] = None,
    arg: ArgOption = None,
    weights: WeightsOption = None,
    weight_bits: WeightBitsOption = None,
    activation_bits: ActivationBitsOption = None,
    bits: BitsOption = None,
    min_sqnr: MinSqnrOption = None,
    effort: EffortOption = EffortChoice.BALANCED,
    method: MethodOption = None,
    percentile: PercentileOption = None,
    headroom: HeadroomOption = None,
    per_channel: PerChannelOption = True,
    input_format: InputFormatOption = None,
    output_format: OutputFormatOption = None,
    rounding: RoundingOption = Rounding.HALF_UP,
    overflow: OverflowOption = Overflow.SATURATE,
    equalization: EqualizationOption = None,
    bias_correction: BiasCorrectionOption = None,
    add_biases: AddBiasesOption = None,
    weight_rounding: WeightRoundingOption = None,
    states: StatesOption = None,
    hold_states: HoldStatesOption = True,
    divide_by: Annotated[
        float, typer.Option(min=1e-9, help="Pixel values are divided by this.")
    ] = DEFAULT_DIVISOR,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = None,
    crop: CropOption = None,
    limit: LimitOption = None,
    snap_scales: Annotated[
        bool,
        typer.Option(
            "--snap-scales", help="Round the scales of a quantized file to powers of two."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    r"""Quantize a trained torch network to fixed point.

    Refinements that are neither given nor refused are chosen by the effort.

    One-channel networks are calibrated on the BT.601 luma of colour images. The module of the
    network may lie in the working directory. With --states, the frames of a folder are one
    sequence, in the order of their names, and --limit counts the frames of each.

    An ONNX file of a network that is quantized already keeps its integers, and takes no calibration
    data.

    Example: fxp quantize my.module:net --calibration photos --out net.fxp

    Example: fxp quantize network.onnx --calibration photos --out net.fxp

    Example: fxp quantize quantized.onnx --out net.fxp

    Example: fxp quantize fxp.models.sr:load_float --arg kimsr_x2_bicubic \
      --calibration photos --divide-by 256 --input-format 'ap_ufixed<8,0>' \
      --out kimsr.fxp

    Example: fxp quantize my.module:flow --states 1:1:8x64x64 \
      --calibration frames --out flow.fxp
    """
    read = [*(calibration or []), *files_of_network(source, arg, weights)]
    check_target(out, reads=read, suffixes=(".fxp",))
    if calibration is None:
        _finish(_quantized_network(source, input_format, snap_scales), out, as_json)
        return
    fed = read_states(states, with_shapes=True)
    method = percentile_method(method, percentile)
    searched = min_sqnr is not None
    options = QuantizeOptions(
        weight_bits=widths(
            "--weight-bits", weight_bits, SEARCHED_WEIGHT_BITS if searched else WEIGHT_BITS
        ),
        activation_bits=widths(
            "--activation-bits",
            activation_bits,
            SEARCHED_ACTIVATION_BITS if searched else ACTIVATION_BITS,
        ),
        bits=named_widths(bits or []),
        min_sqnr=min_sqnr,
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
        states=[state.positions for state in fed],
        initial_states=[torch.zeros(1, *state.shape) for state in fed],
        hold_states=hold_states,
        percentile=QuantizeOptions.percentile if percentile is None else percentile,
    )
    scale = pixel_scale(divide_by, mean, std)
    network = load_network(source, arg or [], weights)
    read_inputs = read_sequences if fed else read_calibration
    inputs = read_inputs(calibration, network, channels, scale, crop, limit)
    with progress_bar("quantizing") as progress:
        model = fxp.quantize(network, inputs, options, progress=progress)
    model.metadata |= scale.metadata()
    _finish(model, out, as_json)


def _finish(model: fxp.FixedModel, out: Path, as_json: bool) -> None:
    """Save a model, and show its figures as JSON or its summary."""
    model.save(out)
    if as_json:
        print_json(model_figures(model, out))
    else:
        typer.echo(model.summary())
    note(f"wrote {out}")


def _quantized_network(source: str, input_format: str | None, snap_scales: bool) -> fxp.FixedModel:
    """Read an ONNX file of a quantized network, which alone needs no calibration data."""
    if not is_onnx(source):
        raise ArgumentError(
            "--calibration is needed: give typical images, folders of images or .npy arrays; only "
            "an ONNX file that is quantized already does without"
        )
    return fxp.from_quantized_onnx(
        source, snap_scales=snap_scales, input_format=input_format or None
    )
