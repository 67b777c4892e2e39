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

if TYPE_CHECKING:
    from fxp.extents import Extent
    from fxp.filters import filter2d, filter_graph, gamma_table, gaussian_pyramid
    from fxp.graph import Constant, Graph, Node, State, Value
    from fxp.model import FixedModel, load
    from fxp.ops.base import GraphError
    from fxp.qat import QatModel, convert, prepare_qat
    from fxp.quantization import quantize

_HOMES = {
    "Constant": "fxp.graph",
    "Extent": "fxp.extents",
    "FixedModel": "fxp.model",
    "Graph": "fxp.graph",
    "GraphError": "fxp.ops.base",
    "Node": "fxp.graph",
    "QatModel": "fxp.qat",
    "State": "fxp.graph",
    "Value": "fxp.graph",
    "convert": "fxp.qat",
    "filter2d": "fxp.filters",
    "filter_graph": "fxp.filters",
    "gamma_table": "fxp.filters",
    "gaussian_pyramid": "fxp.filters",
    "load": "fxp.model",
    "prepare_qat": "fxp.qat",
    "quantize": "fxp.quantization",
}

_MODULES = frozenset(
    {"calibrate", "engine", "export", "frontend", "imaging", "lowering", "metrics", "ops", "oracle"}
    | {"filters", "qat", "search", "store", "torch_forward"}
)

__all__ = [
    "Constant",
    "Extent",
    "FixedModel",
    "Format",
    "FormatError",
    "Graph",
    "GraphError",
    "Node",
    "Overflow",
    "QatModel",
    "Quantization",
    "Rounding",
    "State",
    "Value",
    "convert",
    "dequantize",
    "filter2d",
    "filter_graph",
    "gamma_table",
    "gaussian_pyramid",
    "load",
    "prepare_qat",
    "quantize",
    "requantize",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"fxp.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fxp' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
