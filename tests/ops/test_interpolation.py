"""Interpolation, pooling to a given size, sums and borders, with values worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from fxp.executors import oracle
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    ConstantPad,
    DilatedMaxPool,
    GraphError,
    Interpolate,
    Op,
    SumPool,
)
from fxp.graph.ops.base import Operand
from fxp.graph.ops.interpolation import Interpolation
from fxp.graph.strips import in_strips

MODES: tuple[Interpolation, ...] = ("nearest", "nearest_exact", "bilinear", "bicubic")


def row(op: Op, *pixels: int, frac: int = 0, columns: int = 0) -> list[int]:
    """Accumulator of an image of one row, or like one of so many columns."""
    image = np.array(pixels, np.int64).reshape(1, 1, -1)
    arrays = [image] + [np.zeros((1, 1, columns), np.int64)] * (columns > 0)
    operands = [Operand(array.shape, (Format(20, frac),)) for array in arrays]
    return op.oracle(operands, *arrays)[0, 0].tolist()


def test_nearest_at_three_halves():
    # Results 0…5 lie at 0, 2/3, 4/3, 2, 8/3, 10/3.
    op = Interpolate("nearest", (1, 3), (1, 2))
    assert row(op, 10, 20, 30, 40) == [10, 10, 20, 30, 30, 40]


def test_nearest_exact_at_three_halves():
    # Centres at 1/3, 1, 5/3, 7/3, 3, 11/3.
    op = Interpolate("nearest_exact", (1, 3), (1, 2))
    assert row(op, 10, 20, 30, 40) == [10, 20, 20, 30, 40, 40]


def test_nearest_downwards():
    # 5 // 2 results at 0 and 2; their centres at 1 and 3.
    assert row(Interpolate("nearest", (1, 1), (1, 2)), 1, 2, 3, 4, 5) == [1, 3]
    assert row(Interpolate("nearest_exact", (1, 1), (1, 2)), 1, 2, 3, 4, 5) == [2, 4]


def test_bilinear_by_four_has_exact_eighths():
    # Results at -3/8, -1/8, 1/8, 3/8, 5/8, 7/8, 9/8, 11/8, in eighths of the weights.
    op = Interpolate("bilinear", (1, 4))
    assert row(op, 0, 80) == [8 * v for v in (0, 0, 10, 30, 50, 70, 80, 80)]


def test_bilinear_by_three_rounds_thirds_to_16_bits():
    # Results at -1/3, 0, 1/3, 2/3, 1, 4/3; 2**16 / 3 = 21845.33.
    op = Interpolate("bilinear", (1, 3))
    assert row(op, 0, 1) == [0, 0, 21845, 43691, 65536, 65536]
    assert row(op, 1, 0) == [65536, 65536, 43691, 21845, 0, 0]


def test_bilinear_half_is_the_mean_of_two():
    # At 1/2 and 5/2, with weights of one bit.
    assert row(Interpolate("bilinear", (1, 1), (1, 2)), 1, 4, 6, 9, 7) == [5, 15]


def test_bilinear_third_takes_the_middle():
    assert row(Interpolate("bilinear", (1, 1), (1, 3)), 1, 4, 6, 9, 7, 2) == [4, 7]


def test_aligned_corners():
    # Five results of three pixels at 0, 1/2, 1, 3/2, 2, with weights of 16 bits in both axes.
    op = Interpolate("bilinear", size=(1, 5), align_corners=True)
    assert row(op, 2, 4, 8) == [v << 32 for v in (2, 3, 4, 6, 8)]
    # One result lies at the first pixel.
    assert row(Interpolate("bilinear", size=(1, 1), align_corners=True), 2, 4, 8) == [2 << 32]


def test_the_size_of_another_image():
    # Two pixels to three: at -1/6, 1/2, 7/6.
    assert row(Interpolate("bilinear"), 2, 5, columns=3) == [2 << 32, 7 << 31, 5 << 32]
    assert row(Interpolate("nearest"), 2, 5, columns=3) == [2, 2, 5]


def test_bicubic_by_two_has_the_taps_of_its_own_op():
    # Keys' kernel with -3/4 at 1/4: (-27, 225, 67, -9) / 256.
    op = Interpolate("bicubic", (1, 2))
    _, weights, _ = op.taps(1, 1, (3, 4), 4, 8)
    assert weights.tolist() == [[-27, 225, 67, -9]]
    _, weights, _ = op.taps(1, 1, (4, 5), 4, 8)
    assert weights.tolist() == [[-9, 67, 225, -27]]


def test_bicubic_by_three_in_16_bits():
    # At 1/3: -1/9, 43/54, 10/27 and -1/18 of 65536 are -7281.8, 52186.1, 24272.6 and -3640.9. The
    # position rounds to 21845/65536, where the third is 24272.1; the second makes the sum one.
    _, weights, _ = Interpolate("bicubic", (1, 3)).taps(1, 1, (5, 6), 4, 12)
    assert weights.tolist() == [[-7282, 52187, 24272, -3641]]


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_one_value_keeps_it(mode: Interpolation):
    ratios = [(2, 1), (3, 1), (7, 5), (5, 8), (1, 3), (64, 63), (1, 1)]
    for up, down in ratios:
        for align in (False,) if mode.startswith("nearest") else (False, True):
            op = Interpolate(mode, (1, up), (1, down), align_corners=align)
            operand = Operand((1, 9, 9), (Format(14, 0),))
            frac = op.accumulator(operand).fracs[0]
            found = row(op, *[-5001] * 70)
            assert set(found) == {-5001 << frac}, (up, down)


def test_bicubic_weights_stay_within_the_proved_range():
    """Extremes at every position: the largest and smallest sum of 16-bit weights."""
    op = Interpolate("bicubic", (1, 61), (1, 53))
    operand = Operand((1, 1, 530), (Format(8, 0),))
    _, weights, _ = op.taps(1, 1, (0, 610), 530, 610)
    positive = np.maximum(weights, 0).sum(axis=1).max()
    negative = np.minimum(weights, 0).sum(axis=1).min()
    accumulator = op.accumulator(operand)
    # 127 on the positive weights and -128 on the negative ones.
    assert 127 * positive - 128 * negative <= accumulator.high[0]
    assert -128 * positive + 127 * negative >= accumulator.low[0]
    assert accumulator.high[0] < (127 * positive - 128 * negative) * 1.001


def test_adaptive_windows_overlap():
    # Of 7 pixels, three windows: 0…2, 2…4, 4…6.
    assert row(AdaptiveMaxPool((1, 3)), 5, 1, 9, 2, 3, 8, 4) == [9, 9, 8]
    # The same means, of three pixels each; 2**34 / 3 rounds down.
    third = 5726623061
    found = row(AdaptiveAveragePool((1, 3)), 5, 1, 9, 2, 3, 8, 4)
    assert found == [15 * third, 14 * third, 15 * third]


def test_adaptive_windows_of_different_counts():
    # Of 5 pixels, two windows of three; of 4 pixels, three windows 0…1, 1…2, 2…3.
    assert row(AdaptiveMaxPool((1, 2)), 1, 2, 3, 4, 5) == [3, 5]
    assert row(AdaptiveMaxPool((1, 3)), 1, 4, 2, 3) == [4, 4, 3]
    # 2 pixels to 4 results: each is one pixel, twice.
    assert row(AdaptiveAveragePool((1, 4)), 6, 8) == [6 << 34, 6 << 34, 8 << 34, 8 << 34]


def test_sums():
    assert row(SumPool((1, 2), (1, 1)), 1, 2, 4) == [3, 6]
    # A power of two changes the fraction bits alone.
    assert SumPool(divisor=8).factor == (1, 3)
    # 2**19 / 5 = 104857.6
    assert SumPool(divisor=5).factor == (104858, 19)
    assert row(SumPool((1, 2), (1, 1), divisor=5), 1, 2, 4) == [3 * 104858, 6 * 104858]


def test_dilated_windows():
    op = DilatedMaxPool((1, 2), (1, 1), dilation=(1, 3))
    assert row(op, 5, 1, 2, 3, 9) == [5, 9]
    # With a pixel of padding at each side: pairs (-1, 2), (0, 3), (1, 4), (2, 5).
    op = DilatedMaxPool((1, 2), (1, 1), (0, 0, 1, 1), (1, 3))
    assert row(op, 5, 1, -2, 3, 9) == [-2, 5, 9, -2]


def test_a_constant_border_is_rounded_half_up():
    # 0.7 in steps of 1/8 is 5.6, and -0.3125 is -2.5.
    assert row(ConstantPad((0, 0, 1, 2), 0.7), 1, 2, frac=3) == [6, 1, 2, 6, 6]
    assert row(ConstantPad((0, 0, 1, 0), -0.3125), 1, frac=3) == [-2, 1]
    (low,), (high,) = (
        getattr(ConstantPad((1, 1, 1, 1), 100.0).accumulator(Operand((1, 2, 2), (Format(4, 0),))),
                name) for name in ("low", "high")
    )  # fmt: skip
    assert (low, high) == (-8, 100)


@pytest.mark.parametrize("mode", MODES)
def test_strips_of_an_enlarged_image_are_those_of_the_whole(mode: Interpolation):
    kind, shape = Format(12, 0), (1, Extent("H"), Extent("W"))
    node = Node("y", Interpolate(mode, (3, 2)), ("x",), Quantization(kind))
    graph = Graph("g", (Value("x", shape, kind),), (node,), ("y",))
    image = np.random.default_rng(4).integers(-2048, 2048, (1, 23, 9))
    heights = []

    def run(planes: np.ndarray) -> np.ndarray:
        heights.append(planes.shape[1])
        return oracle.run(graph, [planes]).outputs[0]

    found = in_strips(graph, image, run, strip_pixels=9 * 4, min_rows=4)
    assert np.array_equal(found, run(image))
    assert max(heights[:-1]) <= 4 + 4


def test_places_that_depend_on_the_size_are_told():
    assert Interpolate("bilinear", (2, 1)).keeps_place
    for op in (Interpolate(), Interpolate("nearest", (3, 3), (2, 2)), Interpolate(size=(3, 3)),
               Interpolate("bicubic", (2, 2), align_corners=True)):  # fmt: skip
        assert not op.keeps_place


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interpolate("linear"), "unknown mode 'linear'"),  # type: ignore[arg-type]
        (lambda: Interpolate("nearest", align_corners=True), "nearest cannot align corners"),
        (lambda: Interpolate("bilinear", (0, 1)), "numerators and denominators must be 1 to 65536"),
        (lambda: Interpolate("bilinear", size=(0, 3)), "size must be two numbers"),
        (lambda: Interpolate("bilinear", (2, 2), size=(3, 3)), "the size is given twice"),
        (
            lambda: Interpolate("bilinear", size=(3, 3)).shape((1, 2, 2), (1, 4, 4)),
            "the size is given twice: by the second input",
        ),
        (lambda: AdaptiveMaxPool((0, 1)), "size must be two numbers from 1 to 4096"),
        (lambda: AdaptiveAveragePool((1, 1)).shape((1, 1 << 14, 1 << 14)), "windows of .* pixels"),
        (lambda: SumPool(divisor=0), "divisor must be 1 to 65536, got 0"),
        (lambda: DilatedMaxPool(dilation=(0, 1)), "padding|dilation must be 1 to 65536"),
        (
            lambda: DilatedMaxPool(padding=(3, 0, 0, 0)),
            re.escape("padding (3, 0, 0, 0) must be smaller than the window (3, 3)"),
        ),
        (lambda: ConstantPad((1, 1, 1, 1), float("inf")), "the value must be finite, got inf"),
        (
            lambda: ConstantPad((1, 1, 1, 1), 1e30).accumulator(
                Operand((1, 2, 2), (Format(4, 0),))
            ),
            "too large for 0 fraction bits",
        ),
    ],
)
def test_refused(make: Callable[[], object], message: str):
    with pytest.raises(GraphError, match=message):
        make()
