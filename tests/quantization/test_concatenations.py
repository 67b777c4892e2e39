"""Concatenations of parts whose ranges are far apart."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from small_graphs import constant, format_of, graph, image, lowered, node, pointwise, random_image

import fxp
from fxp.executors import oracle
from fxp.formats import Format, dequantize, quantize
from fxp.graph.ops import Add, Clamp, Concat, Conv2d, Multiply, Sigmoid, Subtract
from fxp.quantization.concatenations import NarrowedPart, bits_left, is_uneven, narrowed_parts

SCALE = constant("scale", [[[1000.0]]])
BRANCHES = [
    node("large", Multiply(), "x", "scale"),
    node("clipped", Clamp(0, 1000), "large"),
    node("scores", Sigmoid(), "x"),
    node("both", Concat(), "clipped", "scores"),
]


@pytest.mark.parametrize(
    ("part", "whole", "left"),
    [
        (Format(14, 14, signed=False), Format(14, 4, signed=False), 4),
        (Format(14, 4), Format(14, 4), 14),
        (Format(14, 2), Format(20, 4), 14),
        (Format(6, 40), Format(14, 4), 0),
    ],
)
def test_bits_left(part, whole, left):
    assert bits_left(part, whole) == left


@pytest.mark.parametrize(
    ("part", "whole", "uneven"),
    # 8 bits are enough, or all that there were.
    [
        (Format(14, 4), Format(14, -2), False),
        (Format(14, 4), Format(14, -3), True),
        (Format(6, 4), Format(14, 4), False),
        (Format(6, 4), Format(14, 3), True),
    ],
)
def test_uneven_parts(part, whole, uneven):
    assert is_uneven([Format(14, 2), part], whole) == uneven
    assert is_uneven([part, Format(14, -3)], whole) == uneven


def test_an_output_keeps_all_bits_of_its_parts():
    """Up to 1000 in steps of 2^-4, and scores in steps of 2^-14: 24 bits hold both."""
    source = graph(image(), BRANCHES, constants=[SCALE])
    data = random_image()
    integer = lowered(source, data)
    assert format_of(integer, "clipped") == Format(14, 4, signed=False)
    assert format_of(integer, "scores") == Format(14, 14, signed=False)
    assert format_of(integer, "both") == Format(24, 14, signed=False)
    assert not list(narrowed_parts(integer))
    raw = quantize(data[0].numpy(), format_of(integer, "x"))
    found = dequantize(oracle.run(integer, [raw]).outputs[0], format_of(integer, "both"))
    scores = 1 / (1 + np.exp(-data[0, 0].numpy()))
    assert np.abs(found[1] - scores).max() < 2**-14
    narrow = lowered(source, data, bits={"both": 14})
    assert format_of(narrow, "both") == Format(14, 4, signed=False)
    assert format_of(lowered(source, data, wide_bits=23), "both").width == 14


def test_parts_of_similar_range_share_a_format():
    nodes = [node("scores", Sigmoid(), "x"), node("both", Concat(), "x", "scores")]
    integer = lowered(graph(image(), nodes), random_image(high=3.9), headroom=0)
    # The scores keep 12 of 14 bits.
    assert format_of(integer, "both") == Format(14, 12, signed=False)


def test_a_concatenation_that_is_read_inside_is_told():
    nodes = [*BRANCHES, node("y", Conv2d(), "both", "w")]
    weight = constant("w", pointwise([[0.001, 1.0]]))
    source = graph(image(), nodes, constants=[SCALE, weight])
    part = NarrowedPart(
        "both", "scores", Format(14, 14, signed=False), Format(14, 4, signed=False), 4
    )
    assert list(narrowed_parts(lowered(source, random_image()))) == [part]
    words = r"'both' concatenates.*14 bits of 'scores'.* 4 are left"
    with pytest.warns(fxp.PrecisionWarning, match=words) as told:
        fxp.quantize(source, [random_image()], equalization=False)
    assert {Path(item.filename).name for item in told} == {Path(__file__).name}


def test_usual_concatenations_are_not_told():
    network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, torch.relu(self.inner(x))], 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fxp.quantize(Dense().eval(), [torch.rand(1, 1, 8, 8)])


@pytest.mark.parametrize("op", [Concat(), Add(), Subtract()], ids=lambda op: op.name)
@pytest.mark.parametrize("small", [1e-15, 1e-30])
def test_what_is_far_too_small_beside_others_is_zero(op, small):
    """As a mean that is zero but for rounding errors; 63 bits hold both no more."""
    nodes = [node("tiny", Multiply(), "x", "small"), node("y", op, "x", "tiny")]
    source = graph(image(), nodes, constants=[constant("small", [[[small]]])])
    given = random_image(high=3.9)
    model = fxp.quantize(source, [given], effort="fast")
    expected = model(given)
    assert np.array_equal(expected, model.oracle(given))
    assert np.abs(expected[:, :1] - given).max() < 2**-8
    assert not expected[:, 1:].any()
