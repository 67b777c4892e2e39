"""Bit-accurate fixed-point inference for image networks.

One integer graph, many executors, equal to the last bit. The names below load on first use, so that
``import fxp`` is quick and a saved model runs without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fxp.formats import (
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    dequantize,
    requantize,
)
from fxp.support.errors import ArgumentError, ArgumentTypeError, FxpError, PrecisionWarning
from fxp.support.lazy import naming_extra

if TYPE_CHECKING:
    from fxp.diagnosis.report import Report
    from fxp.executors.calls import Sequences
    from fxp.filters import filter2d, filter_graph, gamma_table, gaussian_pyramid
    from fxp.graph import Constant, Graph, Limits, Node, State, Value
    from fxp.graph.extents import Extent
    from fxp.graph.ops.base import GraphError
    from fxp.model import FixedModel, load
    from fxp.model.clipping import ClippingWarning
    from fxp.quantization.mixed import MixedPrecision, quantize_mixed
    from fxp.quantization.options import QuantizeOptions
    from fxp.quantization.qat import QatModel, convert, prepare_qat
    from fxp.quantization.quantize import quantize
    from fxp.quantization.quantized_onnx import from_quantized_onnx

_HOMES = {
    "ClippingWarning": "fxp.model.clipping",
    "Constant": "fxp.graph",
    "Extent": "fxp.graph.extents",
    "FixedModel": "fxp.model",
    "Graph": "fxp.graph",
    "GraphError": "fxp.graph.ops.base",
    "Limits": "fxp.graph",
    "MixedPrecision": "fxp.quantization.mixed",
    "Node": "fxp.graph",
    "QatModel": "fxp.quantization.qat",
    "QuantizeOptions": "fxp.quantization.options",
    "Sequences": "fxp.executors.calls",
    "Report": "fxp.diagnosis.report",
    "State": "fxp.graph",
    "Value": "fxp.graph",
    "convert": "fxp.quantization.qat",
    "filter2d": "fxp.filters",
    "filter_graph": "fxp.filters",
    "from_quantized_onnx": "fxp.quantization.quantized_onnx",
    "gamma_table": "fxp.filters",
    "gaussian_pyramid": "fxp.filters",
    "load": "fxp.model",
    "prepare_qat": "fxp.quantization.qat",
    "quantize": "fxp.quantization.quantize",
    "quantize_mixed": "fxp.quantization.mixed",
}

_ROOMS = frozenset(
    {
        "diagnosis",
        "engine",
        "executors",
        "export",
        "filters",
        "frontend",
        "graph",
        "hls",
        "imaging",
        "model",
    }
    | {"models", "quantization", "rtl_sim", "store"}
)

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ClippingWarning",
    "Constant",
    "Extent",
    "FixedModel",
    "Format",
    "FormatError",
    "FxpError",
    "Graph",
    "GraphError",
    "Limits",
    "MixedPrecision",
    "Node",
    "Overflow",
    "PrecisionWarning",
    "QatModel",
    "Quantization",
    "QuantizeOptions",
    "Report",
    "Rounding",
    "Sequences",
    "State",
    "Value",
    "convert",
    "dequantize",
    "filter2d",
    "filter_graph",
    "from_quantized_onnx",
    "gamma_table",
    "gaussian_pyramid",
    "load",
    "prepare_qat",
    "quantize",
    "quantize_mixed",
    "requantize",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from fxp.support.distribution import version

        return version()
    if name in _ROOMS:
        with naming_extra("torch", "torch"):
            return import_module(f"fxp.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fxp' has no attribute {name!r}")
    with naming_extra("torch", "torch"):
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
