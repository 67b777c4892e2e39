"""A network that is quantized already, from an ONNX file to a `FixedModel` with its integers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.executors import oracle, torch_forward
from fxp.formats import Format, FormatError
from fxp.frontend import FrontendError, from_torch
from fxp.frontend.model_import import TRACING
from fxp.frontend.onnx.file import read_model
from fxp.frontend.onnx.load import example_inputs, naming_file
from fxp.frontend.onnx.module import Operator
from fxp.frontend.onnx.quantized import QuantizedModule, build_quantized, is_quantized
from fxp.frontend.onnx.quantizers import Bipolar, QuantizerModule, ScaleAndShift, Scales
from fxp.graph import Graph
from fxp.graph.ops import GraphError
from fxp.imaging.metrics import sqnr
from fxp.model import FixedModel
from fxp.quantization.given_formats import Given, lower_given
from fxp.support.errors import warn_of_precision

if TYPE_CHECKING:
    import onnx

APPROXIMATE = frozenset(
    ("adaptive_average_pool", "average_pool", "bicubic_upsample", "global_average_pool",
     "group_norm", "interpolate", "l2_norm", "local_response_norm", "reduce_mean",
     "standard_deviation", "sum_pool", "variance")
)  # fmt: skip
"""Ops whose integers may differ from real arithmetic: they divide, or use a table."""


@dataclass(frozen=True)
class SnappedScales:
    """What rounding the scales of a file to powers of two has cost.

    Attributes
    ----------
    scales
        Scale and power of two by the name of the node.
    constants
        Names of nodes of which a constant was rounded.
    sqnr
        By output, in dB, against the file as it is, on random integers at the inputs.
    """

    scales: Mapping[str, tuple[float, float]]
    constants: Sequence[str]
    sqnr: Mapping[str, float]


def from_quantized_onnx(
    source: str | PathLike[str] | onnx.ModelProto,
    *,
    snap_scales: bool = False,
    input_format: Mapping[str, Format | str] | Format | str | None = None,
    name: str | None = None,
) -> FixedModel:
    """Turn a quantized ONNX network into a model with the very same integers.

    The file may have the operations of QONNX, which Brevitas writes, ``QuantizeLinear`` and
    ``DequantizeLinear``, or ``QLinearConv``, ``ConvInteger`` and their kin. Nothing is calibrated:
    every format is that of the file, and what lies between two quantizers is exact. The integers
    are compared with those of the file, computed in float64.

    Parameters
    ----------
    source
        The file, or a model in memory.
    snap_scales
        Whether scales that are not powers of two are rounded to the nearest one, and constants that
        are not quantized to 16 bits. If not, they are refused. What it costs is in a warning and in
        the model's metadata.
    input_format
        Format of the inputs, or by name, where the file has no quantizer directly behind them.
    name
        Name of the graph; by default that in the file.

    Raises
    ------
    FrontendError
        If the file is damaged, is not quantized, or has a scale, a zero point or a constant that
        fixed point does not have; the message names the node.

    Warns
    -----
    PrecisionWarning
        If scales were rounded, or an average or a tabulated function makes the last bit differ from
        real arithmetic.

    References
    ----------
    Umuroglu et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022.
    """
    with naming_file(source), TRACING:
        model = read_model(source)
        if not is_quantized(model):
            raise FrontendError(
                "it has no quantizers; give it to fxp.quantize, with calibration data"
            )
        network = build_quantized(model, Scales("snap" if snap_scales else "exact"))
        try:
            graph, rounded = _integer_graph(network, input_format, name, snap_scales)
        except (GraphError, FormatError) as error:
            raise FrontendError(str(error)) from error
        fixed = FixedModel(graph)
        if network.zeros:
            fixed.metadata["zero points"] = json.dumps(network.zeros)
        if network.scales.snapped or rounded:
            original = build_quantized(model, Scales("keep"))
            cost = _cost(fixed, original, network.scales, rounded)
            _tell(fixed, cost)
        else:
            _compare(fixed, network)
    return fixed


def _integer_graph(
    network: QuantizedModule,
    input_format: Mapping[str, Format | str] | Format | str | None,
    name: str | None,
    snap: bool,
) -> tuple[Graph, list[str]]:
    module = network.module
    with warnings.catch_warnings():
        # Sizes that the network fixes are those of the file.
        warnings.filterwarnings("ignore", message="the image sizes are fixed")
        floats = from_torch(module, example_inputs(module), name=name)
    formats: dict[str, Format] = {}
    for value, own, given in zip(
        floats.inputs, network.input_formats, module.image_inputs, strict=True
    ):
        wanted = input_format
        if isinstance(input_format, Mapping):
            wanted = input_format.get(given.name, input_format.get(value.name))
        if wanted is not None:
            formats[value.name] = Format.of(wanted)  # type: ignore[arg-type]
        elif own is not None:
            formats[value.name] = own
    parts = dict(module.named_modules())
    quantizers = {
        node.name: part.quantizer
        for node in floats.nodes
        if node.op.name == "requantize"
        and isinstance(part := parts.get(node.origin), QuantizerModule)
    }
    places = {
        path: part.node
        for path, part in parts.items()
        if isinstance(part, Operator | QuantizerModule | Bipolar | ScaleAndShift)
    }
    given_formats = Given(quantizers, network.declared, network.tensors, formats, places, snap)
    return lower_given(floats, given_formats), given_formats.rounded


def _examples(fixed: FixedModel, module: QuantizedModule) -> list[NDArray[np.int64]]:
    """Return random raw integers of the inputs' formats."""
    generator = np.random.default_rng(0)
    found = []
    for value, example in zip(fixed.graph.inputs, example_inputs(module.module), strict=True):
        form = value.format
        assert form is not None
        found.append(generator.integers(form.min_raw, form.max_raw + 1, tuple(example.shape)[1:]))
    return found


def _both(
    fixed: FixedModel, network: QuantizedModule
) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Return for every output its name, what the file computes and what the model computes."""
    graph, raws = fixed.graph, _examples(fixed, network)
    formats = [value.format for value in fixed.graph.inputs]
    reals = [
        torch.from_numpy(np.ldexp(raw.astype(np.float64), -form.frac))[None]
        for raw, form in zip(raws, formats, strict=True)
        if form is not None
    ]
    network.set_rounding(True)
    with torch.no_grad():
        theirs = list(network.module(*reals).values())
    network.set_rounding(False)
    # PyTorch is quick on large images; its exact sums have at most 52 bits.
    if any(node.accumulator is not None and node.accumulator.bits > 52 for node in graph.nodes):
        formats = [graph.values[name].format for name in graph.outputs]
        found = oracle.run(graph, raws).outputs
        ours = [
            np.ldexp(integers.astype(np.float64), -form.frac)
            for integers, form in zip(found, formats, strict=True)
            if form is not None
        ]
    else:
        ours = [output.numpy()[0] for output in torch_forward.run(graph, reals).outputs]
    return [
        (name, real.numpy().reshape(own.shape), own)
        for name, own, real in zip(graph.outputs, ours, theirs, strict=True)
    ]


def _compare(fixed: FixedModel, network: QuantizedModule) -> None:
    """Compare a model with its file, computed in float64."""
    ops = {
        node.op.name
        for node in fixed.graph.nodes
        if node.op.name in APPROXIMATE or node.op.table_use is not None
    }
    lost = []
    for name, theirs, ours in _both(fixed, network):
        differing = int((theirs != ours).sum())
        if differing and not ops:
            raise FrontendError(
                f"output {name!r} differs from that of the file; please report this with the file"
            )
        if differing:
            lost.append(
                f"output {name!r} differs from real arithmetic at {differing} of {ours.size} "
                f"places, by {np.abs(theirs - ours).max():g} at most, because it is computed with "
                f"{', '.join(sorted(ops))}"
            )
    warn_of_precision(lost)


def _cost(
    fixed: FixedModel, original: QuantizedModule, scales: Scales, rounded: Sequence[str]
) -> SnappedScales:
    levels = {name: sqnr(theirs, ours) for name, theirs, ours in _both(fixed, original)}
    return SnappedScales(dict(scales.snapped), tuple(dict.fromkeys(rounded)), levels)


def _tell(fixed: FixedModel, cost: SnappedScales) -> None:
    fixed.metadata["snapped scales"] = json.dumps(
        {"scales": cost.scales, "constants": cost.constants, "sqnr": cost.sqnr}
    )
    levels = ", ".join(f"{level:.1f} dB at {name!r}" for name, level in cost.sqnr.items())
    text = (
        f"{len(cost.scales)} scales were rounded to powers of two, and the constants of "
        f"{len(cost.constants)} nodes to fixed point; on random inputs the SQNR against the file "
        f"is {levels}"
    )
    warn_of_precision([text])
