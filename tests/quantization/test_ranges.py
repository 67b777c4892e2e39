"""Ranges that values keep by construction, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_graphs import constant, format_of, graph, image, lowered, node, random_image

from fxp.formats import Format
from fxp.graph import State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    GlobalAveragePool,
    MaxPool,
    Multiply,
    Pad,
    PixelUnshuffle,
    Relu,
    Sigmoid,
    Slice,
    Softmax,
    Softplus,
    Subtract,
    Tanh,
)
from fxp.quantization.ranges import known_ranges
from fxp.quantization.statistics import Statistics

INFINITE = (-math.inf, math.inf)


def input_range(*images) -> tuple[float, float]:
    """What is known of an input that these images were seen of."""
    statistics = Statistics()
    statistics.update(np.array(images, np.float64))
    source = graph(image(), [node("y", Relu(), "x")])
    return known_ranges(source, {"x": statistics, "y": statistics}, {})["x"]


@pytest.mark.parametrize(
    ("images", "known"),
    [
        ([[0.0, 0.6]], (0, 1)),
        ([[0.4, 0.8]], INFINITE),
        ([[-0.1, 0.9]], (-1, 1)),
        ([[-0.1, 0.3]], INFINITE),
        ([[0.0, 1.01]], INFINITE),
        ([[0.0, 130.0]], (0, 255)),
        ([[2.0, 120.0]], INFINITE),
        # White is 2.64 in both, black is seen once.
        ([[-2.1, 2.64], [-1.5, 2.64]], (-math.inf, 2.64)),
        ([[-2.1, 2.64], [-2.1, 2.5]], (-2.1, math.inf)),
    ],
)
def test_inputs(images, known):
    assert input_range(*images) == known


@pytest.mark.parametrize(
    ("op", "others", "known"),
    [
        (Relu(), [], (0, 3)),
        (Clamp(-1, 2), [], (-1, 2)),
        (Clamp(None, 2), [], (-2, 2)),
        (Clamp(5, 6), [], (5, 5)),
        (Sigmoid(), [], (0, 1)),
        (Tanh(), [], (-1, 1)),
        (Softmax(), [], (0, 1)),
        (Softplus(), [], (0, math.inf)),
        (Slice("row", 0, -1), [], (-2, 3)),
        (PixelUnshuffle(), [], (-2, 3)),
        (MaxPool(), [], (-2, 3)),
        (AveragePool(), [], (-2, 3)),
        (GlobalAveragePool(), [], (-2, 3)),
        (BilinearUpsample(), [], (-2, 3)),
        (BicubicUpsample(), [], INFINITE),
        (Concat(), ["x"], (-2, 3)),
        (Add(), ["x"], (-4, 6)),
        (Subtract(), ["x"], (-5, 5)),
        (Multiply(), ["x"], (-6, 9)),
        (Conv2d(), ["w"], INFINITE),
    ],
    ids=str,
)
def test_ops(op, others, known):
    constants = [constant("w", [[[[1.0]]]])] if "w" in others else []
    source = graph(image(), [node("y", op, "x", *others)], constants=constants)
    seen = Statistics.of(np.array([-2.0, 3.0]))
    statistics: dict[str, Statistics] = {"x": seen, "y": seen, "z": seen}
    ranges = known_ranges(source, statistics, {"x": Format(3, 0)})
    assert ranges["x"] == (-4, 3)
    # The tests' operand reaches from -2 to 3: clamp it first.
    nodes = [node("z", Clamp(-2, 3), "x"), node("y", op, "z", *("z" if o == "x" else o
             for o in others))]  # fmt: skip
    source = graph(image(), nodes, constants=constants)
    assert known_ranges(source, statistics, {})["y"] == known


def test_padding_adds_zeros_and_a_state_may_be_anything():
    state = State(Value("before", (1, Extent("H"), Extent("W"))), "now")
    nodes = [
        node("positive", Clamp(1, 2), "x"),
        node("padded", Pad((1, 1, 1, 1)), "positive"),
        node("now", Add(), "x", "before"),
    ]
    source = graph(image(), nodes, ["padded", "now"], states=[state])
    statistics = dict.fromkeys(source.values, Statistics.of(np.array([0.0, 1.0])))
    ranges = known_ranges(source, statistics, {"x": Format(8, 6, signed=False)})
    assert ranges["padded"] == (0, 2)
    assert ranges["before"] == ranges["now"] == INFINITE


def test_values_of_known_range_get_no_headroom():
    """Two bits of headroom move the format of what bicubic taps give, which may leave 0 to 1."""
    nodes = [
        node("clipped", Clamp(0, 1), "x"),
        node("pooled", MaxPool(), "clipped"),
        node("doubled", BicubicUpsample(), "pooled"),
    ]
    source = graph(image(), nodes, ["clipped", "pooled", "doubled"])
    plain, roomy = (
        lowered(source, random_image(low=0.02, high=0.9), headroom=bits, activation_bits=8)
        for bits in (0, 2)
    )
    moved = {
        name: format_of(plain, name).frac - format_of(roomy, name).frac for name in plain.values
    }
    assert moved == {"x": 0, "clipped": 0, "pooled": 0, "doubled": 2}
