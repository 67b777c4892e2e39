"""Rules of lowering that one format shows, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import constant, format_of, graph, image, lowered, node, random_image

from fxp.formats import Format
from fxp.graph.ops import Conv2d, MaxPoolIndices
from fxp.quantization.settings import LoweringSettings


@pytest.mark.parametrize(("method", "frac"), [("minmax", 3), ("mse", 4), ("percentile", 4)])
def test_weights_follow_the_method_and_percentile_means_mse(method: str, frac: int) -> None:
    # One weight is 1, two hundred are 0.06. With three fraction bits (up to 7/8) the small ones
    # round to 0, an error of 200 * 0.06^2 = 0.72 and 1/64; with four (up to 7/16) to 1/16, and
    # (9/16)^2 = 0.32 is the error of the large one; with five that is (25/32)^2 = 0.61.
    weights = np.full((1, 201, 1, 1), 0.06)
    weights[0, 0] = 1.0
    nodes = [node("y", Conv2d(), "x", "w")]
    source = graph(image(channels=201), nodes, constants=[constant("w", weights)])
    found = lowered(source, random_image(201), weight_bits=4, per_channel=False, method=method)
    assert found.constants_by_name["w"].formats == (Format(4, frac),)


def test_exact_results_of_up_to_32_bits_flow_on() -> None:
    assert LoweringSettings().wide_bits == 32


def test_indices_are_never_rounded() -> None:
    # 25 taps are counted from 0 to 24, five bits, though results have four.
    source = graph(image(), [node("where", MaxPoolIndices((5, 5), (5, 5)), "x")])
    found = lowered(source, random_image(size=10), activation_bits=4)
    assert format_of(found, "where") == Format(5, 0, signed=False)
