"""Float graphs written by hand, and their lowering on given data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fxp.formats import Format
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Op
from fxp.quantization.calibrate import observe
from fxp.quantization.lowering import lower
from fxp.quantization.settings import LoweringSettings

BYTE = Format(8, 8, signed=False)


def image(name: str = "x", channels: int = 1) -> Value:
    """Image of free size."""
    return Value(name, (channels, Extent("H"), Extent("W")))


def vector(name: str, features: int) -> Value:
    return Value(name, (features,))


def constant(name: str, data: ArrayLike) -> Constant:
    return Constant(name, np.asarray(data, np.float64))


def node(name: str, op: Op, *inputs: str) -> Node:
    return Node(name, op, inputs)


def graph(
    inputs: Sequence[Value] | Value,
    nodes: Sequence[Node],
    outputs: Sequence[str] | None = None,
    constants: Sequence[Constant] = (),
    states: Sequence[State] = (),
) -> Graph:
    """Graph whose last node is the output unless others are named."""
    inputs = (inputs,) if isinstance(inputs, Value) else tuple(inputs)
    outputs = (nodes[-1].name,) if outputs is None else tuple(outputs)
    return Graph("small", inputs, tuple(nodes), outputs, tuple(constants), tuple(states))


def random_image(channels: int = 1, size: int = 8, low: float = 0, high: float = 1, seed: int = 0):
    """Batch of one image of uniform values."""
    values = np.random.default_rng(seed).uniform(low, high, (1, channels, size, size))
    return torch.from_numpy(values)


def lowered(source: Graph, *data: torch.Tensor, **settings) -> Graph:
    """Lower with the statistics of one call."""
    return lower(source, observe(source, [data]), LoweringSettings(**settings))


def format_of(lowered_graph: Graph, name: str) -> Format:
    form = lowered_graph.values[name].format
    assert form is not None
    return form


def formats(lowered_graph: Graph) -> dict[str, str]:
    """Text of every value's format."""
    return {name: str(format_of(lowered_graph, name)) for name in lowered_graph.values}


def pointwise(rows: ArrayLike) -> NDArray[np.float64]:
    """Weight of a 1×1 convolution from a matrix."""
    return np.asarray(rows, np.float64)[:, :, None, None]
