"""A network with every kind of layer that KimSR has, small enough to compile many times."""

from __future__ import annotations

import numpy as np

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Clamp, Conv2d, Nearest, PixelShuffle, Relu
from fxp.model import FixedModel

PIXEL = Format(8, 8, signed=False)


def tiny_kimsr() -> FixedModel:
    """Head, depthwise and pointwise layers, residual, shuffle and the enlarged input, 4 channels.

    Random weights; wide results between, rounding at the ReLUs, as quantization gives them.
    """
    generator = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> Constant:
        return Constant(name, generator.integers(-400, 401, shape), (Format(10, 8),))

    def wide(width: int, frac: int) -> Quantization:
        return Quantization(Format(width, frac), Rounding.FLOOR, Overflow.WRAP)

    relu = Quantization(Format(12, 9, signed=False))
    nodes = (
        Node("head", Conv2d(padding=(1, 1, 1, 1)), ("luma", "w1"), wide(22, 16)),
        Node("relu", Relu(), ("head",), relu),
        Node("depthwise", Conv2d(padding=(0, 0, 2, 2), groups=4), ("relu", "w2"),
             Quantization(Format(12, 8))),
        Node("pointwise", Conv2d(), ("depthwise", "w3"), wide(25, 16)),
        Node("residual", Add(), ("pointwise", "relu"), wide(26, 16)),
        Node("relu_1", Relu(), ("residual",), relu),
        Node("depthwise_1", Conv2d(padding=(1, 1, 1, 1), groups=4), ("relu_1", "w4"),
             Quantization(Format(12, 8))),
        Node("tail", Conv2d(), ("depthwise_1", "w5"), wide(25, 16)),
        Node("shuffle", PixelShuffle(2), ("tail",), wide(25, 16)),
        Node("copies", Nearest(2), ("luma",), Quantization(PIXEL)),
        Node("sum", Add(), ("shuffle", "copies"), wide(26, 16)),
        Node("clamp", Clamp(0.0, 1.0), ("sum",), Quantization(PIXEL)),
    )  # fmt: skip
    constants = (
        weights("w1", 4, 1, 3, 3),
        weights("w2", 4, 1, 1, 5),
        weights("w3", 4, 4, 1, 1),
        weights("w4", 4, 1, 3, 3),
        weights("w5", 4, 4, 1, 1),
    )
    luma = Value("luma", (1, Extent("H"), Extent("W")), PIXEL)
    return FixedModel(Graph("tiny_kimsr", (luma,), nodes, ("clamp",), constants))
